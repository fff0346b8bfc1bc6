"""Recordings of a simulated photodiode whose delay and jitter are known, in files of two independent writers."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pretap_realtime.record import xdf_writer

T0_S = 5000.0
TASK_AHEAD_S = 90_000.0  # of the task's clock


@dataclass
class Diode:
    """A square that flips 60 times, as the channel DIODE of an amplifier sees it.

    Attributes
    ----------
    markers
        (time, text) of each flip.
    delays_s
        From each marker to its light; NaN if the light did not change.
    x
        (n_samples, 3): C3, DIODE and C4.
    """

    sfreq_hz: float = 500.0
    delay_s: float = 0.040
    jitter_s: float = 0.0
    polarity: float = 1.0
    baseline: str = "flat"
    share_missed: float = 0.0
    noise: float = 0.01
    words: tuple[str, str] = ("flash/on", "flash/off")
    markers: list[tuple[float, str]] = field(default_factory=list)
    delays_s: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(1)
        flips_s = 5 + np.cumsum(rng.uniform(0.5, 1.0, 60))
        changes_s = []
        for k in range(0, 60, 2):  # on and off: a missed flash misses both
            is_missed = rng.random() < self.share_missed
            for t_s, text in zip(flips_s[k : k + 2], self.words, strict=True):
                late_s = self.delay_s + rng.normal(0, self.jitter_s) if self.jitter_s else self.delay_s
                self.markers.append((float(t_s), text))
                self.delays_s.append(np.nan if is_missed else float(late_s))
                if not is_missed:
                    changes_s.append(t_s + late_s)
        n = round((flips_s[-1] + 5) * self.sfreq_hz)
        self.t_s = np.arange(n) / self.sfreq_hz
        light = self._light(np.array(changes_s))
        diode = 1000 * (self.polarity * light + self._baseline(light) + rng.normal(0, self.noise, n))
        self.x = np.column_stack([rng.normal(0, 20, n), diode, rng.normal(0, 20, n)]).astype(np.float32)

    def _light(self, changes_s):
        """The light, averaged over the time of each sample as an amplifier does: (n_samples,)."""
        edges_s = np.append(self.t_s, self.t_s[-1] + 1 / self.sfreq_hz) - 0.5 / self.sfreq_hz
        lit_s = np.zeros(len(edges_s))  # for how long the square has been lit
        for on_s, off_s in changes_s.reshape(-1, 2):
            lit_s += np.clip(edges_s, on_s, off_s) - on_s
        return np.diff(lit_s) * self.sfreq_hz

    def _baseline(self, light):
        if self.baseline == "drift":
            return 5 * self.t_s / self.t_s[-1]
        if self.baseline == "sway":
            return np.sin(2 * np.pi * 0.1 * self.t_s)
        if self.baseline == "highpass":  # of 0.5 Hz, first order
            slow, keep = np.zeros(len(light)), np.exp(-2 * np.pi * 0.5 / self.sfreq_hz)
            for k in range(1, len(light)):
                slow[k] = keep * slow[k - 1] + (1 - keep) * light[k]
            return -self.polarity * slow
        return np.zeros(len(light))


def header(name: str, kind: str, n: int, fmt: str, sfreq_hz: float, channels: str = "") -> str:
    return (
        f"<?xml version='1.0'?><info><name>{name}</name><type>{kind}</type><channel_count>{n}</channel_count>"
        f"<channel_format>{fmt}</channel_format><source_id>{name}</source_id><nominal_srate>{sfreq_hz}</nominal_srate>"
        f"<desc>{channels}</desc></info>"
    )


CHANNELS = "<channels>{}</channels>".format(
    "".join(
        f"<channel><label>{label}</label><unit>{unit}</unit><type>{kind}</type></channel>"
        for label, unit, kind in (("C3", "microvolts", "EEG"), ("DIODE", "lux", "AUX"), ("C4", "microvolts", "EEG"))
    )
)


def write_ours(path: Path, diode: Diode) -> Path:
    """Write a file with the recorder's own writer."""
    w = xdf_writer
    texts = np.array([[text.encode()] for _, text in diode.markers], object)
    times_s = np.array([t_s for t_s, _ in diode.markers]) + T0_S + TASK_AHEAD_S
    file = w.XdfFile(path)
    file.write(
        [
            w.stream_header(1, header("amp", "EEG", 3, "float32", diode.sfreq_hz, CHANNELS)),
            w.stream_header(2, header("task", "Markers", 1, "string", 0)),
        ]
    )
    for measured_s in (T0_S, T0_S + 60):
        offset = w.clock_offset(2, measured_s=measured_s + TASK_AHEAD_S, offset_s=-TASK_AHEAD_S)
        file.write([w.clock_offset(1, measured_s=measured_s, offset_s=0.0), offset])
    file.write([w.samples(1, diode.x, T0_S + diode.t_s), w.samples(2, texts, times_s)])
    file.close()
    return path


def write_by_hand(path: Path, diode: Diode) -> Path:
    """Write the same file from the specification of XDF alone."""

    def chunk(tag: int, body: bytes) -> bytes:
        return b"\x04" + struct.pack("<IH", len(body) + 2, tag) + body

    def count(n: int) -> bytes:
        return b"\x04" + struct.pack("<I", n)

    rows = b"".join(
        b"\x08" + struct.pack("<d", t_s) + row.tobytes()
        for t_s, row in zip((T0_S + diode.t_s).tolist(), diode.x.astype("<f4"), strict=True)
    )
    texts = b"".join(
        b"\x08" + struct.pack("<d", t_s + T0_S + TASK_AHEAD_S) + count(len(text)) + text.encode()
        for t_s, text in diode.markers
    )
    path.write_bytes(
        b"XDF:"
        + chunk(1, b'<?xml version="1.0"?><info><version>1.0</version></info>')
        + chunk(2, struct.pack("<I", 1) + header("amp", "EEG", 3, "float32", diode.sfreq_hz, CHANNELS).encode())
        + chunk(2, struct.pack("<I", 2) + header("task", "Markers", 1, "string", 0).encode())
        + b"".join(
            chunk(4, struct.pack("<Idd", 2, T0_S + TASK_AHEAD_S + later_s, -TASK_AHEAD_S)) for later_s in (0, 60)
        )
        + chunk(3, struct.pack("<I", 1) + count(len(diode.x)) + rows)
        + chunk(3, struct.pack("<I", 2) + count(len(diode.markers)) + texts)
    )
    return path
