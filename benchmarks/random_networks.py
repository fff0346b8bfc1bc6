"""Networks of any size with random weights, which cost the same as trained ones. Used by the other benchmarks."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap.bundle.file import read_bundle
from pretap.bundle.manifest import Manifest
from pretap.config.reading import find_config, load_config
from pretap.config.train import TrainConfig
from pretap.decoder.decoder import Decoder
from pretap.networks import LrpErdLstmSpec, LstmSpec, Network
from pretap.networks.bandpass import BANDPASS
from pretap.signal.scaling import FIR
from pretap_offline.fit.bandpass import bandpass_impulse
from pretap_offline.fit.estimator import make_fir, make_scaling

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from factories import make_decoder, make_manifest

__all__ = ["Bundle", "find", "make_decoder", "random_lrp_erd", "random_tutorial"]

_CLASSES = ("left", "right")
_SPREAD = 0.3  # of the random weights: the gates move but do not saturate


@dataclass(frozen=True, eq=False)
class Bundle:
    """A network under test."""

    name: str
    manifest: Manifest
    tensors: Mapping[str, NDArray[Any]]

    def decoder(self, engine: str) -> Decoder:
        return Decoder(self.manifest, self.tensors, engine=engine)

    def member_tensors(self) -> list[dict[str, NDArray[Any]]]:
        """Return the tensors of each member, under the names of its kind."""
        n = self.manifest.n_members
        prefixes = [f"members.{i}." for i in range(n)] if n > 1 else [""]
        return [
            {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}
            for prefix in prefixes
        ]


def find(name: str) -> Bundle:
    """Load a bundle: a file, the name of a shipped one, or ``tutorial``, whose weights are random."""
    if name == "tutorial":
        return random_tutorial()
    read = read_bundle(name)
    return Bundle(name, read.manifest, read.tensors)


def random_tutorial(
    *,
    n_channels: int = 28,
    sfreq_hz: float = 1000.0,
    n_window: int = 500,
    hidden: tuple[int, ...] = (10, 10, 5),
    n_members: int = 1,
) -> Bundle:
    """Build a network like the tutorial's: an LSTM that reads every sample."""
    config = load_config(TrainConfig, find_config("tutorial"), ())
    sizes = {"n_channels": n_channels, "sfreq_hz": sfreq_hz, "n_window": n_window, "n_members": n_members}
    return _random("tutorial", config, LstmSpec(hidden=hidden), **sizes)


def random_lrp_erd(
    *,
    n_channels: int = 28,
    sfreq_hz: float = 1000.0,
    n_window: int = 500,
    hidden: int = 16,
    n_members: int = 1,
) -> Bundle:
    """Build a network like those of the shipped bundles: decimated to 100 Hz, then blocks of 50 ms."""
    config = load_config(TrainConfig, find_config("single-1000hz"), ())
    spec = config.network
    assert isinstance(spec, LrpErdLstmSpec)
    blocks = max(2, round(n_window / sfreq_hz / 0.05))
    sizes = {"n_channels": n_channels, "sfreq_hz": sfreq_hz, "n_window": n_window, "n_members": n_members}
    return _random("lrp-erd", config, replace(spec, blocks=blocks, hidden=hidden), **sizes)


def _random(
    name: str,
    config: TrainConfig,
    spec: Network,
    *,
    n_channels: int,
    sfreq_hz: float,
    n_window: int,
    n_members: int,
) -> Bundle:
    rng = np.random.default_rng(0)
    scaling = make_scaling(config, sfreq_hz=sfreq_hz, n_window=n_window, n_channels=n_channels)
    manifest = make_manifest(
        spec,
        scaling=scaling,
        channels=tuple(f"E{k}" for k in range(n_channels)),
        sfreq_hz=sfreq_hz,
        n_window=n_window,
        classes=_CLASSES,
        config=replace(config, network=spec),
        window_end_ms=0.0,
        n_members=n_members,
    )
    tensors: dict[str, NDArray[Any]] = {}
    layout = spec.tensors(n_steps=manifest.n_steps, n_inputs=n_channels, n_classes=len(_CLASSES))
    for prefix in [f"members.{i}." for i in range(n_members)] if n_members > 1 else [""]:
        for tensor, (_, shape) in layout.items():
            weights = rng.normal(0, _SPREAD, shape).astype(np.float32)
            tensors[prefix + tensor] = weights
        if isinstance(spec, LrpErdLstmSpec):
            kept_hz = sfreq_hz / scaling.decimate
            tensors[prefix + BANDPASS] = bandpass_impulse(
                spec.band_hz, order=spec.order, sfreq_hz=kept_hz, n_steps=manifest.n_steps
            )
    fir = make_fir(config, scaling, sfreq_hz=sfreq_hz, n_window=n_window)
    if fir is not None:
        tensors[FIR] = fir
    return Bundle(name, manifest, tensors)
