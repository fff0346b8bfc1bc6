"""The kinds of networks, one file each: their settings, the layout of their tensors, and inference in numpy.

`pretap.torch_networks` has the torch modules for training, which compute the same.
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
"""Any kind of network; the key ``kind`` tells them apart in TOML and JSON."""
