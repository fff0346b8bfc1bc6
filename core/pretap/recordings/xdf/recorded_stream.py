"""One stream of an XDF file, as its recorder described it. Used by all modules of this package that choose streams."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from pretap.recordings.events import is_marker_stream, marker_text
from pretap.recordings.xdf.description import channels_of, text_of
from pretap.recordings.xdf.samples import Values

OUR_MESSAGE = '{"v":'  # the first field of our messages
_BLOCK = 1 << 14  # samples that are read at a time


class RecordedStream:
    """One stream of the file: timestamps (n_samples,) in seconds, and its values, texts or numbers.

    Attributes
    ----------
    sfreq_hz
        The nominal rate; 0 if it is irregular.
    channel_info
        Label, unit and type of each channel, as far as the description has them.
    parts
        The streams of the file that were joined to this one, by their ids, each with its first sample.
    """

    def __init__(self, info: Element, id: int, t_s: NDArray[np.float64], values: Values | list[list[str]]) -> None:  # noqa: A002
        self.info = info
        self.id = str(id)
        self.name = text_of(info, "name")
        self.type = text_of(info, "type")
        self.format = text_of(info, "channel_format")
        self.sfreq_hz = rate_of(info)
        self.t_s = t_s
        self.values = values
        self.channel_info = channels_of(info)
        self.parts = {self.id: 0}

    @property
    def source_id(self) -> str:
        return text_of(self.info, "source_id")

    @property
    def n_channels(self) -> int:
        return int(text_of(self.info, "channel_count"))

    @property
    def subject(self) -> str:
        return text_of(self.info.find("desc/subject"), "id")

    @property
    def is_text(self) -> bool:
        return self.format == "string"

    @property
    def can_be_eeg(self) -> bool:
        return not self.is_text and self.sfreq_hz > 0 and len(self.t_s) > 0

    @property
    def is_ours(self) -> bool:
        """Whether `pretap serve` has sent it: its description names the bundle."""
        return self.info.find("desc/bundle") is not None

    @property
    def can_have_markers(self) -> bool:
        """Whether it is a marker stream of another program, even if that sent nothing."""
        return is_marker_stream(format=self.format, type=self.type, sfreq_hz=self.sfreq_hz) and not self.is_ours

    @property
    def has_markers(self) -> bool:
        return self.can_have_markers and bool(self.texts)

    @cached_property
    def texts(self) -> list[tuple[float, str]]:
        """The markers (time, text) that are not empty."""
        found = ((t_s, marker_text(values)) for t_s, values in zip(self.t_s.tolist(), self._rows(), strict=True))
        return [(t_s, text) for t_s, text in found if text and not text.startswith(OUR_MESSAGE)]

    def is_called(self, name: str) -> bool:
        return name in {self.name, self.id, self.source_id}

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Read the numbers of samples ``start`` to ``stop``, (stop - start, n_channels)."""
        assert not isinstance(self.values, list)
        return self.values.read(start, stop)

    def column(self, index: int) -> NDArray[np.float64]:
        """Read one channel, (n_samples,)."""
        n = len(self.t_s)
        out = np.empty(n)
        for start in range(0, n, _BLOCK):
            out[start : start + _BLOCK] = self.read(start, min(start + _BLOCK, n))[:, index]
        return out

    def _rows(self) -> list[Any]:
        return self.values if isinstance(self.values, list) else self.values.read(0, len(self.values)).tolist()

    def __str__(self) -> str:
        rate = f"{self.sfreq_hz:g} Hz" if self.sfreq_hz else "irregular"
        return (
            f"{self.name!r} (id {self.id}, type {self.type or 'none'}, {self.n_channels} x {self.format}, {rate}, "
            f"{len(self.t_s)} samples)"
        )


def rate_of(info: Element) -> float:
    """Return the nominal rate of a stream; 0 if it is irregular or none."""
    try:
        rate_hz = float(text_of(info, "nominal_srate") or 0)
    except ValueError:
        return 0.0
    return rate_hz if 0 < rate_hz < math.inf else 0.0
