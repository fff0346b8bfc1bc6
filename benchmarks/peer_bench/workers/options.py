"""Options of all workers. The workers run in venvs of their own and import nothing from the project."""

from __future__ import annotations

import argparse

__all__ = ["N_CHANNELS", "N_WINDOW", "SFREQ_HZ", "read_options"]

N_CHANNELS, N_WINDOW, SFREQ_HZ = 28, 500, 1000


def read_options() -> argparse.Namespace:
    """Read the stream to read, the stream to publish, the hop in samples and the network's file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stream", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--hop", type=int, required=True)
    parser.add_argument("--model")
    return parser.parse_args()
