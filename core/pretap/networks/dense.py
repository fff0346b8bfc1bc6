"""The output layer of the kinds that map a few features linearly to logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.networks.kind import Engine, Layout, Tensors


def dense_layout(*, n_features: int, n_classes: int) -> Layout:
    """Return the layout of the tensors of `dense`."""
    return {"dense.weight": ("F64", (n_classes, n_features)), "dense.bias": ("F64", (n_classes,))}


def dense(tensors: Tensors, features: Callable[[NDArray[np.float64]], NDArray[Any]]) -> Engine:
    """Build the engine that maps the `features` (n_features,) of a window to logits (n_classes,)."""
    weight, bias = tensors["dense.weight"], tensors["dense.bias"]
    return lambda x: np.asarray(weight @ features(x) + bias)
