"""Check that lanes stay exact for hours: compare the last decisions of a long stream with a float64 reference.

    python studies/drift.py [--samples 10000000] [--hop 50] [--engine auto]

The reference decodes each window alone. The networks are the shipped ensemble, and one like the tutorial's with random
weights at their initial scale. Both run at 1000 Hz, at which ten million samples are 2.8 hours. The signal is noise of
20 uV on electrode offsets of up to 100 mV.
"""

from __future__ import annotations

import datetime
import platform
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from pretap.bundle.file import load
from pretap.decoder.decoder import Decoder
from pretap.signal.scaling import Scaling

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from factories import make_decoder

N_CHUNK = 1000
N_LAST = 200  # number of decisions to compare


def tutorial_like(*, engine: str) -> Decoder:
    return make_decoder(
        sfreq_hz=1000.0,
        n_window=500,
        channels=tuple(f"E{k}" for k in range(28)),
        hidden=(10, 10, 5),
        scaling=Scaling(reference="average", n_baseline=50, divide_uv=20.0),
        spread=0.3,
        engine=engine,
    )


def drift(
    decoder: Decoder,
    *,
    n_samples: int,
    hop: int,
    n_last: int = N_LAST,
    advance: Callable[[int], object] = int,
) -> tuple[float, int, float]:
    """Stream noise; return the largest difference of the last decisions, the number of decisions, and the seconds.

    `advance` is called with the number of samples in each chunk.
    """
    manifest = decoder.manifest
    n_window, n_channels = manifest.n_window, len(manifest.channels)
    rng = np.random.default_rng(1)
    offset_uv = rng.uniform(-1e5, 1e5, n_channels).astype(np.float32)
    stream = decoder.stream(hop)
    assert "each advanced sample by sample" in stream.describe(), stream.describe()
    chunks: deque[np.ndarray] = deque(maxlen=-(-(n_window + n_last * hop) // N_CHUNK) + 1)
    outputs: deque = deque(maxlen=n_last)
    n_outputs, streaming_s = 0, 0.0
    for start in range(0, n_samples, N_CHUNK):
        n_new = min(N_CHUNK, n_samples - start)
        x_uv = rng.standard_normal((n_new, n_channels), np.float32) * np.float32(20) + offset_uv
        since_s = time.perf_counter()
        found = stream.process(x_uv)
        stream.catch_up()
        streaming_s += time.perf_counter() - since_s
        chunks.append(x_uv)
        outputs.extend(found)
        n_outputs += len(found)
        advance(n_new)
    assert n_outputs == (n_samples - n_window) // hop + 1
    held = np.concatenate(chunks)
    first = n_samples - len(held)
    exact = decoder.exact()
    expected = [exact.decode(held[o.n_end - n_window - first : o.n_end - first]) for o in outputs]
    return float(np.abs(np.subtract([o.probs for o in outputs], expected)).max()), n_outputs, streaming_s


@click.command()
@click.option("--samples", "n_samples", type=click.IntRange(1000), default=10_000_000, show_default=True)
@click.option("--hop", type=click.IntRange(1), default=50, show_default=True, help="Samples between decisions.")
@click.option("--engine", default="auto", show_default=True)
def main(n_samples: int, hop: int, engine: str) -> None:
    """Print the largest difference of each network's last 200 decisions."""
    networks = {"ensemble-1000hz": load("ensemble-1000hz", engine=engine), "tutorial": tutorial_like(engine=engine)}
    print(f"{platform.processor() or platform.machine()}, {datetime.datetime.now(datetime.UTC).date()}")
    for name, decoder in networks.items():
        with click.progressbar(length=n_samples, label=f"{name:<16}", file=sys.stderr) as bar:
            greatest, n_outputs, seconds = drift(decoder, n_samples=n_samples, hop=hop, advance=bar.update)
        cost = f"{seconds:.1f} s ({1e6 * seconds / n_samples:.2f} us a sample)"
        print(f"{name}, engine {decoder.engine}, hop {hop}: {n_samples} samples, {n_outputs} decisions in {cost}")
        print(f"    the last {N_LAST} differ from the reference by at most {greatest:.1e}")


if __name__ == "__main__":
    main()
