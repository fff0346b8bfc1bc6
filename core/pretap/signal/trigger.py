"""The codes of a trigger channel, and where they change. Used for recordings and for live streams."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ALL_BITS = 0xFFFF
LOW_BITS = 0xFF
HIGH_BITS = ALL_BITS ^ LOW_BITS


def is_event(before: NDArray[np.int64], codes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each code is an event: it differs from the code before it, and it is not 0.

    These are the events of ``mne.find_events(raw, consecutive=True)``.
    """
    found: NDArray[np.bool_] = (codes != before) & (codes != 0)
    return found


def is_status(name: str) -> bool:
    """Whether a trigger channel is BioSemi's. Its trigger lines without a cable float at 1."""
    return name.lower() == "status"


class TriggerChannel:
    """Finds the events of a trigger channel, chunk by chunk.

    A code has 16 bits. On BioSemi's channel Status, the upper 8 count only once one of them has changed.

    Parameters
    ----------
    name
        The label of the channel.
    """

    def __init__(self, name: str) -> None:
        self._has_all_bits = not is_status(name)
        self._first: int | None = None
        self._last = 0

    def process(self, values: NDArray[np.float64]) -> list[tuple[int, str]]:
        """Return the index and the code, as text, of each event among the next values (n_new,).

        The first value is never an event, because the code before it is not known. Values that are not finite are
        ignored.
        """
        known = np.flatnonzero(np.isfinite(values))  # (n_known,)
        if not len(known):
            return []
        with np.errstate(invalid="ignore"):  # a value beyond 64 bits is no code, but no error either
            bits = values[known].astype(np.int64) & ALL_BITS  # (n_known,)
        if self._first is None:
            self._first = self._last = int(bits[0])
        before: NDArray[np.int64] = np.concatenate([np.array([self._last]), bits[:-1]])  # (n_known,)
        has_all_bits = np.logical_or.accumulate(((bits ^ self._first) & HIGH_BITS) != 0) | self._has_all_bits
        mask: NDArray[np.int64] = np.where(has_all_bits, ALL_BITS, LOW_BITS)  # (n_known,)
        codes = bits & mask
        events = np.flatnonzero(is_event(before & mask, codes))
        self._last, self._has_all_bits = int(bits[-1]), bool(has_all_bits[-1])
        return [(int(known[i]), str(codes[i])) for i in events]
