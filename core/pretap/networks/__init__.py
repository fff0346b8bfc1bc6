"""The networks as data and as plain numpy: what a bundle's tensors are called, and what they compute.

One file per kind. The torch modules that training uses compute the same and stand in `pretap.torch_networks`.
"""

from __future__ import annotations

from pretap.networks.closed_form import ClosedFormSpec
from pretap.networks.csp import CspSpec
from pretap.networks.eegnet import EegNetSpec
from pretap.networks.kind import Cells, Engine, Kind, Layout, RecomputeError, Tensors, softmax
from pretap.networks.lda import LdaSpec
from pretap.networks.lrp_erd_lstm import LrpErdLstmSpec
from pretap.networks.lstm import LstmSpec
from pretap.networks.tangent_space import TangentSpaceSpec

__all__ = [
    "Cells",
    "ClosedFormSpec",
    "CspSpec",
    "EegNetSpec",
    "Engine",
    "Kind",
    "Layout",
    "LdaSpec",
    "LrpErdLstmSpec",
    "LstmSpec",
    "Network",
    "RecomputeError",
    "TangentSpaceSpec",
    "Tensors",
    "softmax",
]

Network = LstmSpec | LrpErdLstmSpec | EegNetSpec | LdaSpec | CspSpec | TangentSpaceSpec | ClosedFormSpec
"""Any of the kinds; in TOML and JSON the key ``kind`` says which."""
