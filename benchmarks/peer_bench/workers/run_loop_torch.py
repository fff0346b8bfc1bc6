"""A loop with a blocking pull; torch on the full window at each hop."""

from __future__ import annotations

from loop import open_outlet, pulled
from network import torch_network
from options import N_CHANNELS, N_WINDOW, read_options
from windows import Windows


def main() -> None:
    options = read_options()
    outlet, decide = open_outlet(options.out), torch_network(options.model)
    windows = Windows(n_window=N_WINDOW, n_channels=N_CHANNELS, hop=options.hop)
    for x, t_s in pulled(options.stream):
        for last, window in windows.process(x):
            outlet.push_sample([*decide(window), 1.0], t_s[last])


if __name__ == "__main__":
    main()
