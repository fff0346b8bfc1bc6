"""Torch modules of the networks: training uses them, and every engine must reproduce their results.

One file per kind that torch trains. `pretap.networks` computes the same in numpy.

A module is built from the struct of its kind, ``module_of(spec)(spec, n_steps=..., n_inputs=..., n_classes=...)``, and
maps scaled windows (batch, n_steps, n_inputs) float64 to logits (batch, n_classes). ``export`` returns copies of its
weights under the names of the kind's `tensors`, and ``from_tensors`` builds a module with such weights for inference.

A module in `STACKED` holds all members of an ensemble, one for each of the `seeds` that it is built with, and its
``export`` returns a list. It has three more methods. ``condense`` computes what the networks need of the windows before
their first weight, and ``logits`` continues from there, with windows for each member: training calls ``condense`` once.
``initialise_from`` sets initial weights that depend on the condensed training windows and their labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pretap.networks import EegNetSpec, LrpErdLstmSpec, LstmSpec, Network
from pretap.torch_networks.eegnet import EegNetwork
from pretap.torch_networks.lrp_erd_lstm import LrpErdLstmNetwork
from pretap.torch_networks.lstm import LstmNetwork

__all__ = ["STACKED", "EegNetwork", "LrpErdLstmNetwork", "LstmNetwork", "module_of", "one_thread"]

STACKED = (LrpErdLstmNetwork,)

_MODULES: dict[type[Network], Any] = {
    LstmSpec: LstmNetwork,
    LrpErdLstmSpec: LrpErdLstmNetwork,
    EegNetSpec: EegNetwork,
}


def module_of(spec: Network) -> Any:
    """Return the torch module of a kind that has the engine torch."""
    return _MODULES[type(spec)]


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread inside the block.

    Matrices this small gain nothing from a second core: a window of the tutorial takes 1.2 ms on one thread and 3.5 ms
    on two, and up to seconds if the cores are busy. More threads would also change the order of summation.
    """
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
