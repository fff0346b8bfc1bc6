"""Simulated heads with faults, for the tests of signal quality."""

from __future__ import annotations

import functools

import numpy as np

from pretap.config.serve import QualityConfig
from pretap.signal.statistics import Statistics, gather_statistics
from pretap_realtime.signal.quality import QualityCheck

FS = 200.0
NAMES = ("F3", "Fz", "F4", "FC3", "FCz", "FC4", "C3", "C1", "Cz", "C2", "C4", "CP3", "CPz", "CP4", "O1", "O2")
N = len(NAMES)
X = {"3": -1.0, "1": -0.5, "z": 0.0, "2": 0.5, "4": 1.0}  # from left to right
Y = {"F": 2.0, "FC": 1.0, "C": 0.0, "CP": -1.0, "O": -3.0}  # from back to front
PLACES = np.array([(X[name[-1]], Y[name[:-1]]) for name in NAMES])
PAIR_WORDS = "swapped cap: C3 with C4 swapped. Check the plugs and the stream's labels"


def eeg(seconds: float, *, seed: int = 0, head: int = 0, uv: float = 10.0) -> np.ndarray:
    """A head of 40 sources that each spread over their neighbourhood; 1/f in time; (n_samples, 16) in uV."""
    sources = np.random.default_rng([head, 99]).uniform((-1.5, -3.5), (1.5, 2.5), (40, 2))
    strength = np.random.default_rng([head, 98]).uniform(0.5, 1.5, 40)
    distance2 = ((PLACES[:, None] - sources) ** 2).sum(axis=2)  # (16, 40)
    gain = strength * np.exp(-distance2 / 2)
    n = round(seconds * FS)
    rng = np.random.default_rng([seed, head])
    f_hz = np.fft.rfftfreq(n, 1 / FS)
    spectrum = (rng.standard_normal((len(f_hz), 40)) + 1j * rng.standard_normal((len(f_hz), 40))) / np.maximum(f_hz, 1)[
        :, None
    ]
    x = np.fft.irfft(spectrum, n, axis=0) @ gain.T
    x += 0.05 * x.std() * rng.standard_normal(x.shape)
    return (x * (uv / x.std())).astype(np.float32)


@functools.cache
def known() -> Statistics:
    return gather_statistics(eeg(100, seed=50).reshape(-1, 100, N), sfreq_hz=FS)


def stamps(n: int, *, rate_hz: float = FS) -> np.ndarray:
    return 500 + np.arange(n) / rate_hz


def words_of(x: np.ndarray, *, t_s=None, statistics=known, **changes) -> list[str]:
    """All that is said of a signal, in order."""
    quality = QualityCheck(
        NAMES, statistics() if statistics else None, QualityConfig(**changes), sfreq_hz=FS, n_window=100
    )
    quality.update(x, stamps(len(x)) if t_s is None else t_s)
    said = []
    while quality.next_change < 2**60:
        said.append(quality.take_change().describe(NAMES))
    return said


def hurt(x: np.ndarray, name: str, change) -> np.ndarray:
    x = x.copy()
    x[:, NAMES.index(name)] = change(x[:, NAMES.index(name)])
    return x


def wave(n: int, hz: float, uv: float) -> np.ndarray:
    return (uv * np.sin(2 * np.pi * hz * np.arange(n) / FS)).astype(np.float32)


def reordered(x: np.ndarray, order) -> np.ndarray:
    return x[:, list(order)]


def exchanged(*pairs: tuple[int, int]) -> list[int]:
    order = list(range(N))
    for i, j in pairs:
        order[i], order[j] = order[j], order[i]
    return order
