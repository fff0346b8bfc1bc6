"""Export the decoder for the peers as TorchScript and as ONNX, checked against the bundle."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from peer_bench.noise import CHANNELS, N_WINDOW, SFREQ_HZ, noise_uv
from pretap.bundle.file import Bundle, load, read_bundle
from pretap.decoder.decoder import Decoder
from pretap.signal.scaling import FIR
from pretap.torch_networks import module_of

__all__ = ["export_onnx", "export_torch"]

_N_CHECKS = 8
_TORCH_TOLERANCE = 1e-6


class WholeDecoder(nn.Module):
    """Maps windows (1, n_window, n_channels) float32 in raw microvolts to probabilities (1, n_classes) float32.

    The same as `Decoder.decode`: the scaling in float64, the network, the mean of the members, the temperature.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.manifest = manifest = bundle.manifest
        prefixes = [f"members.{i}." if manifest.n_members > 1 else "" for i in range(manifest.n_members)]
        self.members = nn.ModuleList(
            module_of(manifest.network).from_tensors(
                manifest.network,
                {name.removeprefix(prefix): each for name, each in bundle.tensors.items() if name.startswith(prefix)},
            )
            for prefix in prefixes
        )
        fir = bundle.tensors.get(FIR)
        decimation = np.eye(1) if fir is None else manifest.scaling.decimation(fir, n_window=manifest.n_window)
        self.register_buffer("decimation", torch.from_numpy(decimation))  # (n_kept, n_window) float64

    def forward(self, x_uv: Tensor) -> Tensor:
        x = self._scaled(x_uv.double())  # (1, n_steps, n_channels)
        logits = torch.stack([member(x) for member in self.members]).double().mean(dim=0)  # (1, n_classes)
        return torch.softmax(logits / self.manifest.temperature, dim=1).float()

    def _scaled(self, x: Tensor) -> Tensor:
        """Scale as `Scaling.apply` does."""
        scaling = self.manifest.scaling
        if scaling.reference == "average":
            x = x - x.mean(dim=2, keepdim=True)
        if scaling.n_taps:
            x = self.decimation @ x  # (1, n_kept, n_channels)
        if scaling.n_baseline:
            x = x - x[:, : scaling.n_baseline].mean(dim=1, keepdim=True)
        if scaling.n_block > 1:
            n_steps = self.manifest.n_steps
            x = x[:, x.shape[1] - n_steps * scaling.n_block :]
            x = x.reshape(1, n_steps, scaling.n_block, len(CHANNELS)).mean(dim=2)
        return x / scaling.divide_uv


def _check_windows(decoder: Decoder) -> tuple[np.ndarray, np.ndarray]:
    """Return windows of noise (n, n_window, n_channels) and the bundle's probabilities for them (n, n_classes)."""
    windows = noise_uv()[: _N_CHECKS * N_WINDOW].reshape(_N_CHECKS, N_WINDOW, len(CHANNELS))
    return windows, decoder.decode(windows)


def export_torch(bundle_file: Path, folder: Path) -> Path:
    """Write the decoder as TorchScript, traced and frozen, into `folder`, unless it exists."""
    bundle = read_bundle(bundle_file)
    manifest = bundle.manifest
    if (manifest.channels, manifest.n_window, manifest.sfreq_hz) != (CHANNELS, N_WINDOW, SFREQ_HZ):
        raise SystemExit(f"{bundle_file}: expected {N_WINDOW} samples of the data's 28 electrodes at {SFREQ_HZ} Hz")
    file = folder / f"{bundle.sha256[:16]}.pt"
    if file.exists():
        return file
    windows, expected = _check_windows(load(bundle_file))
    torch.set_num_threads(1)
    with torch.no_grad():
        example = torch.from_numpy(windows[:1])
        module = torch.jit.freeze(torch.jit.trace(WholeDecoder(bundle).eval(), example, check_trace=False))
        error = max(
            float(np.abs(module(torch.from_numpy(x[None]))[0].numpy() - p).max())
            for x, p in zip(windows, expected, strict=True)
        )
    if not error <= _TORCH_TOLERANCE:
        raise SystemExit(f"TorchScript differs from the bundle by {error:.2g}: {_TORCH_TOLERANCE:g} is allowed")
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(file.with_suffix(".npz"), windows_uv=windows, probabilities=expected)
    module.save(file)
    return file


def export_onnx(torch_file: Path, onnx_file: Path, python: Path) -> None:
    """Convert `torch_file` to ONNX in the venv of `python`, which checks it too, unless it exists."""
    if not onnx_file.exists():
        script = Path(__file__).parent / "workers" / "convert_to_onnx.py"
        subprocess.run([python, script, torch_file, onnx_file], check=True, timeout=300)
