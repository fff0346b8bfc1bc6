"""TorchScript to ONNX, checked against the bundle's probabilities beside it (.npz).

python convert_to_onnx.py MODEL.pt MODEL.onnx
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from options import N_CHANNELS, N_WINDOW

_TOLERANCE = 1e-5


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    warnings.filterwarnings("ignore")  # of the exporter: an LSTM's batch size is fixed, as it should be
    part = target.with_suffix(".part")
    x_uv = torch.zeros(1, N_WINDOW, N_CHANNELS)
    module = torch.jit.load(source).eval()
    torch.onnx.export(module, (x_uv,), part, dynamo=False, opset_version=17, input_names=["x_uv"], output_names=["p"])
    session = onnxruntime.InferenceSession(part, providers=["CPUExecutionProvider"])
    check = np.load(source.with_suffix(".npz"))
    error = max(
        float(np.abs(session.run(None, {"x_uv": window[None]})[0][0] - p).max())
        for window, p in zip(check["windows_uv"], check["probabilities"], strict=True)
    )
    if not error <= _TOLERANCE:
        raise SystemExit(f"ONNX differs from the bundle by {error:.2g}: {_TOLERANCE:g} is allowed")
    part.replace(target)


if __name__ == "__main__":
    main()
