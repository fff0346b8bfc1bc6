"""One stream of an XDF file, as its recorder described it. Used by all modules of this package that choose streams."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from pretap.recordings.events import is_marker_stream, marker_text

OUR_MESSAGE = '{"v":'  # the first field of our messages


class RecordedStream:
    """One stream of the file: values (n_samples, n_channels) and timestamps in seconds, as pyxdf returns them."""

    def __init__(self, loaded: dict[str, Any]) -> None:
        self._info = info = loaded["info"]
        self.id = str(info["stream_id"])
        self.name = first_text(info, "name")
        self.type = first_text(info, "type")
        self.source_id = first_text(info, "source_id")
        self.format = first_text(info, "channel_format")
        self.sfreq_hz = float(first_text(info, "nominal_srate") or 0)
        self.n_channels = int(first_text(info, "channel_count") or 0)
        self.t_s = np.asarray(loaded["time_stamps"], np.float64)
        self.values = loaded["time_series"]

    @property
    def channel_info(self) -> list[dict[str, str]]:
        node = _child(_child(self._info, "desc"), "channels")
        channels = node.get("channel", []) if isinstance(node, dict) else []
        return [{key: first_text(each, key) for key in ("label", "unit", "type")} for each in channels]

    @property
    def subject(self) -> str:
        return first_text(_child(_child(self._info, "desc"), "subject"), "id")

    @property
    def is_text(self) -> bool:
        return self.format == "string"

    @property
    def can_be_eeg(self) -> bool:
        return not self.is_text and self.sfreq_hz > 0 and len(self.t_s) > 0

    @property
    def is_ours(self) -> bool:
        """Whether `pretap serve` has sent it: its description names the bundle."""
        return bool(_child(_child(self._info, "desc"), "bundle"))

    @property
    def has_markers(self) -> bool:
        is_one = is_marker_stream(format=self.format, type=self.type, sfreq_hz=self.sfreq_hz)
        return is_one and not self.is_ours and bool(self.texts)

    @cached_property
    def texts(self) -> list[tuple[float, str]]:
        """The markers (time, text) that are not empty."""
        found = ((t_s, marker_text(values)) for t_s, values in zip(self.t_s.tolist(), self._rows(), strict=True))
        return [(t_s, text) for t_s, text in found if text and not text.startswith(OUR_MESSAGE)]

    def is_called(self, name: str) -> bool:
        return name in {self.name, self.id, self.source_id}

    def _rows(self) -> list[Any]:
        return self.values if isinstance(self.values, list) else np.asarray(self.values).tolist()

    def __str__(self) -> str:
        rate = f"{self.sfreq_hz:g} Hz" if self.sfreq_hz else "irregular"
        return (
            f"{self.name!r} (id {self.id}, type {self.type or 'none'}, {self.n_channels} x {self.format}, {rate}, "
            f"{len(self.t_s)} samples)"
        )


def first_text(node: Any, key: str) -> str:
    """Return the text of an XML child, which pyxdf stores as ``{key: [text]}``; empty if there is none."""
    values = node.get(key) if isinstance(node, dict) else None
    return values[0].strip() if isinstance(values, list) and values and isinstance(values[0], str) else ""


def _child(node: Any, key: str) -> Any:
    """Return the XML child with that name, or None."""
    found = node.get(key) if isinstance(node, dict) else None
    return found[0] if isinstance(found, list) and found else None
