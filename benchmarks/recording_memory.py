"""Measure the memory and the time that `train` and `score` need for a long XDF file.

    python benchmarks/recording_memory.py [--minutes 20] [--channels 64] [--sfreq-hz 1000]

Writes a recording with a tap every three seconds to a temporary folder, and runs both commands on it in processes of
their own. The memory is the peak minus that after the imports, as a multiple of the size of the samples in float32;
the limit is 1.5. Two hours of 64 channels at 1000 Hz need 2 GB of disk (PRETAP_BENCH_DIR chooses the folder).
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pretap_realtime.record import xdf_writer

LIMIT = 1.5
RECIPE = """
[events]
left = ["tap/left"]
right = ["tap/right"]
[trials]
window_ms = [-630.0, -130.0]
[scaling]
baseline_ms = 50.0
block_ms = 100.0
divide_uv = 10.0
[network]
kind = "lda"
shrinkage = "auto"
"""
CHILD = """
import resource, sys
import mne, sklearn.discriminant_analysis, torch, skorch, matplotlib.pyplot, scipy.signal  # what the commands import
import pretap_offline.command, pretap_offline.training, pretap_realtime.score.command, pretap.cli
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    pretap.cli.main()
finally:
    print("peak_kb", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def write_recording(path: Path, *, minutes: float, n_channels: int, sfreq_hz: int) -> None:
    """Write EEG of noise in chunks of a second, with taps of alternating hands."""
    names = ("C3", "C4", "Cz", "FC1", "FC2", "CP1", "CP2", "Fz", *(f"E{i}x" for i in range(8, n_channels)))[:n_channels]
    labels = "".join(f"<channel><label>{name}</label><unit>microvolts</unit></channel>" for name in names)
    head = "<info><name>{}</name><type>{}</type><channel_count>{}</channel_count><channel_format>{}</channel_format>"
    eeg = head.format("cap", "EEG", n_channels, "float32") + (
        f"<nominal_srate>{sfreq_hz}</nominal_srate><desc><channels>{labels}</channels></desc></info>"
    )
    task = head.format("task", "Markers", 1, "string") + "<nominal_srate>0</nominal_srate></info>"
    values = np.random.default_rng(0).normal(0, 10, (sfreq_hz, n_channels)).astype(np.float32)
    file = xdf_writer.XdfFile(path)
    file.write([xdf_writer.stream_header(1, eeg), xdf_writer.stream_header(2, task)])
    for second in range(round(minutes * 60)):
        file.write([xdf_writer.samples(1, values, 1000 + second + np.arange(sfreq_hz) / sfreq_hz)])
        if second % 3 == 1:
            text = np.array([[(b"tap/left", b"tap/right")[second // 3 % 2]]], object)
            file.write([xdf_writer.samples(2, text, np.array([1000.5 + second]))])
    file.close()


def measure(arguments: list[str]) -> tuple[float, float]:
    """Return the megabytes beyond the imports, and the seconds, that a command takes."""
    began_s = time.monotonic()
    child = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=False)
    if child.returncode:
        sys.exit(f"pretap {' '.join(arguments)} failed ({child.returncode}):\n{child.stdout}{child.stderr}")
    return float(child.stdout.split("peak_kb")[1]) / 1024, time.monotonic() - began_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--sfreq-hz", type=int, default=1000)
    options = parser.parse_args()
    size_mb = options.minutes * 60 * options.sfreq_hz * options.channels * 4 / 2**20
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs, load {os.getloadavg()}")
    print(
        f"{options.minutes:g} minutes, {options.channels} channels, {options.sfreq_hz} Hz: {size_mb:.0f} MB of samples"
    )
    with tempfile.TemporaryDirectory(dir=os.environ.get("PRETAP_BENCH_DIR")) as name:
        folder = Path(name)
        recording, recipe, bundle = folder / "long.xdf", folder / "recipe.toml", folder / "x.safetensors"
        write_recording(recording, minutes=options.minutes, n_channels=options.channels, sfreq_hz=options.sfreq_hz)
        recipe.write_text(RECIPE, encoding="utf-8")
        ratios = []
        for arguments in (
            ["train", str(recipe), "--recording", str(recording), "--out", str(bundle)],
            ["score", str(bundle), str(recording)],
        ):
            peak_mb, seconds = measure(arguments)
            ratios.append(peak_mb / size_mb)
            print(f"{arguments[0]}: {peak_mb:.0f} MB, {ratios[-1]:.2f} times the samples, {seconds:.0f} s", flush=True)
    if max(ratios) > LIMIT:
        sys.exit(f"More than {LIMIT} times the samples.")


if __name__ == "__main__":
    main()
