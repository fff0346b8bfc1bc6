"""GDF, EEGLAB and OpenBCI files that tests write, so that each value in them is known."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import savemat

LABELS = ("C3", "Cz", "C4")
_GDF_CODES = {"V": 4256, "mV": 4274, "uV": 4275, "nV": 4276, "": 0}


def eeg_uv(n: int = 1000) -> np.ndarray:
    """Return noise of 10 uV, (n_samples, 3), in steps of 0.1 uV."""
    return np.random.default_rng(0).normal(0, 10, (n, 3)).round(1)


def write_gdf(
    path: Path,
    x: np.ndarray,
    labels: Sequence[str],
    *,
    version: float,
    unit: str = "uV",
    events: Sequence[tuple[int, int]] = (),
    n_per_record: Sequence[int] | None = None,
) -> Path:
    """Write values (n_samples, n_channels) at 100 Hz as float32, and events as (sample, code)."""
    n = len(labels)
    counts = [100] * n if n_per_record is None else list(n_per_record)
    n_records = len(x) // 100
    if version < 2:
        head = f"GDF {version:.2f}".encode().ljust(8)[:8] + b"X X".ljust(80) + b" " * 80 + b"2020010100000000"
        head += struct.pack("<q", 256 * (n + 1)) + bytes(8 * 3 + 20)
        head += struct.pack("<q", n_records) + struct.pack("<III", 1, 1, n)
    else:
        head = f"GDF {version:.2f}".encode().ljust(8)[:8] + b"X X".ljust(66) + bytes(10 + 4) + b" " * 64 + bytes(16)
        head += bytes(16) + struct.pack("<H", n + 1) + bytes(6 + 8 + 6 + 6 + 12 + 12)
        head += struct.pack("<q", n_records) + struct.pack("<IIHH", 1, 1, n, 0)
    head += b"".join(label.encode().ljust(16) for label in labels) + b" " * 80 * n
    limits = struct.pack(f"<{n}d", *[-1e6] * n) + struct.pack(f"<{n}d", *[1e6] * n)
    if version < 2:
        head += unit.encode().ljust(8) * n + limits
        head += struct.pack(f"<{n}q", *[-1000000] * n) + struct.pack(f"<{n}q", *[1000000] * n) + b" " * 80 * n
        head += struct.pack(f"<{n}i", *counts) + struct.pack(f"<{n}i", *[16] * n) + bytes(32 * n)
    else:
        head += bytes(6 * n) + struct.pack(f"<{n}H", *[_GDF_CODES[unit]] * n) + limits + limits
        head += bytes((68 + 12) * n) + struct.pack(f"<{n}i", *counts) + struct.pack(f"<{n}i", *[16] * n)
        head += bytes((12 + 20) * n)
    body = b"".join(
        x[k * 100 : k * 100 + count, i].astype("<f4").tobytes()
        for k in range(n_records)
        for i, count in enumerate(counts)
    )
    if version < 2:
        table = bytes([1, 100, 0, 0]) + struct.pack("<I", len(events))
    else:
        table = bytes([1, len(events), 0, 0]) + struct.pack("<f", 100.0)
    table += struct.pack(f"<{len(events)}I", *[sample + 1 for sample, _ in events])
    table += struct.pack(f"<{len(events)}H", *[code for _, code in events])
    path.write_bytes(head + body + table)
    return path


def write_set(
    path: Path,
    x_uv: np.ndarray,
    labels: Sequence[str],
    *,
    events: Sequence[tuple[float, str]] = (),
    fdt: bool = False,
    trials: int = 1,
) -> Path:
    """Write microvolts (n_samples, n_channels) at 100 Hz, and events as (latency in samples from 1, type)."""
    data: object = x_uv.T.astype(np.float32)  # (n_channels, n_samples)
    if fdt:
        path.with_suffix(".fdt").write_bytes(x_uv.astype("<f4").tobytes())
        data = path.with_suffix(".fdt").name
    rows = np.array(
        [(kind, at, 0.0) for at, kind in events], dtype=[("type", "O"), ("latency", "O"), ("duration", "O")]
    )
    places = np.array([(label,) for label in labels], dtype=[("labels", "O")])
    eeg = {
        "setname": "x",
        "nbchan": float(len(labels)),
        "trials": float(trials),
        "pnts": float(len(x_uv) // trials),
        "srate": 100.0,
        "xmin": 0.0,
        "xmax": len(x_uv) / 100,
        "data": data,
        "chanlocs": places,
        "event": rows,
        "epoch": np.zeros(0),
        "icawinv": np.zeros((0, 0)),
        "icasphere": np.zeros((0, 0)),
        "icaweights": np.zeros((0, 0)),
        "icachansind": np.zeros(0),
    }
    savemat(path, {"EEG": eeg}, appendmat=False)
    return path


def openbci_text(
    x_uv: np.ndarray, *, first: int = 0, markers: dict[int, int] | None = None, titles: bool = True
) -> str:
    """Return microvolts (n_samples, n_channels) at 200 Hz as the GUI writes them; the index counts to 255."""
    n = x_uv.shape[1]
    lines = ["%OpenBCI Raw EXG Data", f"%Number of channels = {n}", "%Sample Rate = 200 Hz", "%Board = Cyton"]
    if titles:
        columns = [
            *(f"EXG Channel {i}" for i in range(n)),
            "Accel Channel 0",
            "Marker Channel 0",
            "Timestamp (Formatted)",
        ]
        lines.append(", ".join(["Sample Index", *columns]))
    for i, row in enumerate(x_uv.tolist(), start=first):
        values = [f"{each:.4f}" for each in row] + ["0.1", f"{(markers or {}).get(i - first, 0)}.0"]
        lines.append(", ".join([str(i % 256), *values, "2026-11-30 12:00:00.000"]))
    return "\n".join(lines) + "\n"
