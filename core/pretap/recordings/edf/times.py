"""When the samples of an EDF or BDF file were taken: the onsets of its records, and the pauses between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pretap.recordings.edf.header import Header

_MAX_ERROR_SAMPLES = 0.5  # onsets are decimal texts; a record that starts off by more follows a pause


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
    """Return when the records begin; one without an onset follows the record before it directly."""
    start_s = next((onset for onset in onsets[:1] if onset is not None), 0.0)
    regular_s = np.arange(len(onsets)) * np.float64(header.record_s)  # (n_records,)
    times_s: list[float] = []
    for onset in onsets:
        after = times_s[-1] + header.record_s if times_s else 0.0
        times_s.append(after if onset is None else onset - start_s)
    onsets_s = np.array(times_s)  # (n_records,)
    pauses_s = np.diff(onsets_s) - header.record_s  # (n_records - 1,), negative if records overlap
    is_pause = pauses_s * sfreq_hz > _MAX_ERROR_SAMPLES
    is_overlap = pauses_s * sfreq_hz < -_MAX_ERROR_SAMPLES
    name = header.path.name
    if is_overlap.sum() > len(onsets) // 2:  # such as 0 throughout
        note = f"The onsets of the records in {name} are no times. It is read as if it had no pauses."
        return RecordTimes(regular_s, start_s, note=note)
    if np.abs(onsets_s - regular_s).max() * sfreq_hz <= _MAX_ERROR_SAMPLES:
        return RecordTimes(regular_s, start_s)
    notes = []
    if n_pauses := int(is_pause.sum()):
        noun = "pause" if n_pauses == 1 else "pauses"
        notes.append(f"{name} has {n_pauses} {noun}, {pauses_s[is_pause].sum():g} s in all. No trial crosses one.")
    if n_overlaps := int(is_overlap.sum()):
        noun = "record starts" if n_overlaps == 1 else "records start"
        notes.append(f"In {name}, {n_overlaps} {noun} before the end of the one before, as if its clock was set back.")
    pauses = tuple((np.flatnonzero(is_pause | is_overlap) + 1).tolist())
    return RecordTimes(onsets_s, start_s, is_regular=False, pauses=pauses, note=" ".join(notes))
