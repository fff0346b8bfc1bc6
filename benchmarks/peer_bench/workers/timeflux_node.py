"""The node that decides: see timeflux.yaml."""

from __future__ import annotations

import os
import signal

import numpy as np
from network import torch_network
from options import N_CHANNELS, N_WINDOW
from timeflux.core.node import Node
from windows import Windows


class Decode(Node):
    """Takes samples in microvolts; gives a row for each window, stamped with its last sample."""

    def __init__(self, model: str, hop: int) -> None:
        signal.alarm(int(os.environ["BENCH_LIMIT_S"]))  # a fork does not inherit it
        self._decide = torch_network(model)
        self._windows = Windows(n_window=N_WINDOW, n_channels=N_CHANNELS, hop=hop)

    def update(self) -> None:
        if not self.i.ready():
            return
        x_uv = self.i.data.to_numpy(np.float32)  # (n_new, n_channels)
        rows, at = [], []
        for last, window in self._windows.process(x_uv):
            rows.append([*self._decide(window), 1.0])
            at.append(last)
        if rows:
            self.o.set(rows, self.i.data.index[at], ["p_left", "p_right", "quality"])
