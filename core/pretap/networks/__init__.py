"""The networks as data and as plain numpy: what a bundle's tensors are called, and what they compute.

One file per kind. The torch modules that training uses compute the same and stand in `pretap.torch_networks`.
"""

from __future__ import annotations

from pretap.networks.kind import Engine, Kind, Layout, Tensors, softmax
from pretap.networks.lstm import LstmSpec

__all__ = ["Engine", "Kind", "Layout", "LstmSpec", "Network", "Tensors", "softmax"]

Network = LstmSpec
"""Any of the kinds; in TOML and JSON the key ``kind`` says which."""
