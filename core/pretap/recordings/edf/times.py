"""When the samples of an EDF or BDF file were taken: the onsets of its records, and the pauses between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pretap.recordings.edf.header import Header
from pretap.spelling import counted

_MAX_ERROR_SAMPLES = 0.5  # a record that starts off by more follows a pause
_MAX_ERROR_S = 1.0  # of the onsets in a file without pauses; more is worth a note
_DECIMALS = range(3, 7)  # of rounded onsets; coarser ones are not usable as times


@dataclass(frozen=True, eq=False)
class RecordTimes:
    """The onsets of the records.

    Attributes
    ----------
    onsets_s
        Onset of each record, (n_records,), in seconds after the first one.
    start_s
        Onset of the first record in seconds after the start of the file, which counts annotations.
    is_regular
        Whether each record directly follows the one before it.
    pauses
        The records that follow a pause.
    note
        A sentence for the user, or nothing.
    """

    onsets_s: NDArray[np.float64]
    start_s: float
    is_regular: bool = True
    pauses: tuple[int, ...] = ()
    note: str = ""

    def sample_times_s(self, n_per_record: int, record_s: float) -> NDArray[np.float64]:
        """Return the time of each sample, (n_samples,), of a signal with this many samples per record."""
        steps_s = np.arange(n_per_record) * (record_s / n_per_record)
        return (self.onsets_s[:, None] + steps_s).reshape(-1)  # (n_records * n_per_record,)


def record_times(header: Header, onsets: Sequence[float | None], *, sfreq_hz: float) -> RecordTimes:
    """Return when the records begin; one without an onset follows the record before it directly.

    Only EDF+D and BDF+D files have pauses. The records of all others follow each other, whatever their onsets say.
    """
    start_s = next((onset for onset in onsets[:1] if onset is not None), 0.0)
    regular_s = np.arange(len(onsets)) * np.float64(header.record_s)  # (n_records,)
    times_s: list[float] = []
    for onset in onsets:
        after = times_s[-1] + header.record_s if times_s else 0.0
        times_s.append(after if onset is None else onset - start_s)
    onsets_s = np.array(times_s)  # (n_records,)
    pauses_s = np.diff(onsets_s) - header.record_s  # (n_records - 1,), negative if records overlap
    tolerance_s = max(_MAX_ERROR_SAMPLES / sfreq_hz, _rounding_s(onsets_s + start_s, header.record_s))
    is_pause, is_overlap = pauses_s > tolerance_s, pauses_s < -tolerance_s
    name = header.path.name
    if not header.has_pauses:
        error_s = float(np.abs(onsets_s - regular_s).max())
        note = ""
        if error_s > _MAX_ERROR_S:
            note = (
                f"The header of {name} says that it has no pauses, but the onsets of its records differ by up to "
                f"{error_s:.3g} s from that. It is read without pauses."
            )
        return RecordTimes(regular_s, start_s, note=note)
    if 4 * is_overlap.sum() >= len(onsets):  # such as 0 throughout, or whole seconds for records of half a second
        note = f"The record onsets in {name} are not usable times, so the file is read without pauses."
        return RecordTimes(regular_s, start_s, note=note)
    pauses = (np.flatnonzero(is_pause | is_overlap) + 1).tolist()
    for first, last in pairwise((0, *pauses, len(onsets))):
        unrounded_s = onsets_s[first] + regular_s[: last - first]
        if np.abs(onsets_s[first:last] - unrounded_s).max() <= tolerance_s:  # else the device's clock drifts
            onsets_s[first:last] = unrounded_s
    notes = []
    if n_pauses := int(is_pause.sum()):
        notes.append(
            f"{name} has {counted(n_pauses, 'pause')}, {pauses_s[is_pause].sum():g} s in all. No trial crosses one."
        )
    if n_overlaps := int(is_overlap.sum()):
        records = counted(n_overlaps, "record starts", "records start")
        notes.append(f"In {name}, {records} before the end of the one before, as if its clock had been set back.")
    is_regular = np.array_equal(onsets_s, regular_s)
    return RecordTimes(onsets_s, start_s, is_regular=is_regular, pauses=tuple(pauses), note=" ".join(notes))


def _rounding_s(onsets_s: NDArray[np.float64], record_s: float) -> float:
    """Return the largest error of the distance of two onsets that are rounded to a number of decimals."""
    for n_decimals in _DECIMALS:
        scaled = onsets_s * 10**n_decimals
        if np.abs(scaled - np.rint(scaled)).max() < 1e-3:
            is_exact = abs(record_s * 10**n_decimals - round(record_s * 10**n_decimals)) < 1e-6
            return 0.0 if is_exact else 10.0**-n_decimals
    return 0.0
