"""Loads the streams of an XDF file with pyxdf, and repairs invalid timestamps on the way. Used by `open_xdf`."""

from __future__ import annotations

import io
import logging
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.errors import DataError
from pretap.extras import import_extra
from pretap.recordings.xdf.chunks import complete_chunks
from pretap.recordings.xdf.recorded_stream import RecordedStream, first_text
from pretap.recordings.xdf.sample_times import fill_timestamps

_MAX_TIMESTAMP_S = 1e12  # 30 000 years; beyond that, floats do not even resolve 0.1 ms


@dataclass(frozen=True, eq=False)
class LoadedFile:
    """The streams of an XDF file, and what is wrong with it.

    Attributes
    ----------
    streams
        All streams of the file.
    n_invalid
        Invalid timestamps, by the id of their stream: extrapolated at a regular rate, otherwise left out.
    ending
        A note if the file is truncated or was not closed; empty otherwise.
    """

    streams: list[RecordedStream]
    n_invalid: Counter[str]
    ending: str


def load_streams(path: Path, *, synchronize: bool) -> LoadedFile:
    """Load all streams of a file, with `synchronize` on the recorder's clock, otherwise each on its own.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    pyxdf = import_extra("pyxdf", needed_by=f"Reading {path.name}")
    content, truncation = complete_chunks(path)
    repairs = _Repairs()
    damaged = f"{path} is not a complete XDF file"
    with _collect_errors(logging.getLogger("pyxdf.pyxdf")) as errors:
        try:
            # `sample_times` removes jitter: pyxdf finds only breaks of more than a second, and blurs shorter ones.
            loaded, _ = pyxdf.load_xdf(
                io.BytesIO(content), on_chunk=repairs, dejitter_timestamps=False, synchronize_clocks=synchronize
            )
        except Exception as error:
            # on damaged bytes, a parser raises anything
            raise DataError(f"{damaged} ({type(error).__name__}: {error}). Copy it again.") from error
    if errors:
        raise DataError(f"{damaged}: {errors[0].getMessage()}. Copy it again.")
    is_closed = all("footer" in each for each in loaded)
    ending = truncation or ("" if is_closed else "not closed by its recorder, so it may have ended early")
    return LoadedFile([RecordedStream(each) for each in loaded], repairs.n_by_stream, ending)


class _Repairs:
    """Replaces or drops invalid timestamps in the chunks that pyxdf reads, before pyxdf fits clocks to them.

    pyxdf would take the first NaN for a reset of the clock.
    """

    def __init__(self) -> None:
        self.n_by_stream: Counter[str] = Counter()
        self._last_s: dict[int, float] = {}  # by stream

    def __call__(
        self, values: Any, t_s: NDArray[np.float64], info: dict[str, Any], stream_id: int
    ) -> tuple[Any, NDArray[np.float64], dict[str, Any]]:
        """Repair one chunk: values (n_new, n_channels), or a list of texts, and timestamps (n_new,)."""
        is_valid = np.abs(t_s) < _MAX_TIMESTAMP_S  # (n_new,), False for NaN
        if not is_valid.all():
            self.n_by_stream[str(stream_id)] += int(np.count_nonzero(~is_valid))
            sfreq_hz = float(first_text(info["info"], "nominal_srate") or 0)
            if sfreq_hz > 0 and (is_valid.any() or stream_id in self._last_s):
                t_s = fill_timestamps(t_s, is_valid, before_s=self._last_s.get(stream_id), step_s=1 / sfreq_hz)
            else:  # there is nothing to extrapolate from
                kept = np.flatnonzero(is_valid)
                values = [values[i] for i in kept.tolist()] if isinstance(values, list) else values[kept]
                t_s = t_s[kept]
        if t_s.size:
            self._last_s[stream_id] = float(t_s[-1])
        return values, t_s, info


@contextmanager
def _collect_errors(logger: logging.Logger) -> Iterator[list[logging.LogRecord]]:
    """Collect the errors of pyxdf, which only logs that a part of the file is damaged."""
    errors = BufferingHandler(capacity=sys.maxsize)
    errors.setLevel(logging.ERROR)
    before = logger.propagate
    logger.addHandler(errors)
    logger.propagate = False
    try:
        yield errors.buffer
    finally:
        logger.removeHandler(errors)
        logger.propagate = before
