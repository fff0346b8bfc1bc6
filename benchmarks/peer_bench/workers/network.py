"""The exported decoder in torch: one window of raw microvolts -> probabilities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["torch_network"]


def torch_network(file: str) -> Callable[[NDArray[np.float32]], list[float]]:
    """Load the network; gives a function from a window (n_window, n_channels) to [p_left, p_right].

    One thread: matrices this small gain nothing from a second core, and lose milliseconds where it is busy.
    """
    torch.set_num_threads(1)
    module = torch.jit.load(file).eval()

    def probabilities(window_uv: NDArray[np.float32]) -> list[float]:
        with torch.inference_mode():
            return module(torch.from_numpy(window_uv)[None])[0].tolist()

    return probabilities
