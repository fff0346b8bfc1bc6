"""A loop with a blocking pull; onnxruntime on the full window at each hop."""

from __future__ import annotations

import onnxruntime
from loop import open_outlet, pulled
from options import N_CHANNELS, N_WINDOW, read_options
from windows import Windows


def session(file: str) -> onnxruntime.InferenceSession:
    """Load the network on one thread: a second one would spin while it waits, and gains nothing here."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(file, settings, providers=["CPUExecutionProvider"])


def main() -> None:
    options = read_options()
    outlet, network = open_outlet(options.out), session(options.model)
    windows = Windows(n_window=N_WINDOW, n_channels=N_CHANNELS, hop=options.hop)
    for x, t_s in pulled(options.stream):
        for last, window in windows.process(x):
            (probs,) = network.run(None, {"x_uv": window[None]})  # (1, 2)
            outlet.push_sample([*probs[0].tolist(), 1.0], t_s[last])


if __name__ == "__main__":
    main()
