"""The kinds of networks, one file each: their settings, the layout of their tensors, and inference in numpy.

Each kind is a frozen struct of hyper-parameters (`pretap.networks.kind.Kind`) with the same methods:

- ``refusal``: why `n_members` networks cannot read windows of `n_steps` steps; empty if they can;
- ``tensors``: the dtype and shape of each tensor in a bundle, by name;
- ``engine``: the numpy computation of a window, in the dtype of the tensors;
- ``adaptive``: the same computation with a state that follows the signal; None if the kind does not adapt;
- ``cells``: the same computation step by step, with `sfreq_hz` the rate of the steps; raises `RecomputeError` if the
  network cannot be advanced;
- ``multiply_adds``: the multiply-adds of one window; tanh and similar functions count as one;
- ``describe``: kind and size in one line.

`pretap.torch_networks` has the torch modules for training, which compute the same.
"""

from __future__ import annotations

from pretap.networks.average import AverageSpec, SingleNetwork, WeightedNetwork
from pretap.networks.closed_form import ClosedFormSpec
from pretap.networks.csp import CspSpec
from pretap.networks.eegnet import EegNetSpec
from pretap.networks.kind import Cells, Engine, Layout, RecomputeError, Tensors, softmax
from pretap.networks.lda import LdaSpec
from pretap.networks.lrp_erd_lstm import LrpErdLstmSpec
from pretap.networks.lstm import LstmSpec
from pretap.networks.tangent_space import TangentSpaceSpec

__all__ = [
    "AverageSpec",
    "Cells",
    "ClosedFormSpec",
    "CspSpec",
    "EegNetSpec",
    "Engine",
    "Layout",
    "LdaSpec",
    "LrpErdLstmSpec",
    "LstmSpec",
    "Network",
    "RecomputeError",
    "SingleNetwork",
    "TangentSpaceSpec",
    "Tensors",
    "WeightedNetwork",
    "softmax",
]

Network = SingleNetwork | AverageSpec
"""Any kind of network; the key ``kind`` tells them apart in TOML and JSON."""
