"""Trials: the data structure that training, evaluation and replay share."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pretap.errors import DataError, UsageError
from pretap.signal.channels import match_channels

TIE_SAMPLES = 1e-3
"""Two samples are equally near if their distances differ by less than twice this, to ignore rounding errors."""


@dataclass(frozen=True, eq=False)
class Epochs:
    """Labelled or unlabelled trials, time first, in microvolts.

    Attributes
    ----------
    x_uv
        float32, (n_epochs, n_samples, n_channels), microvolts.
    labels
        int64, (n_epochs,), the index into `classes` of each trial; None if the labels are not known.
    classes, channels
        Names of the classes, in the order of the labels, and of the channels, in the order of the last axis.
    sfreq_hz
        Sampling rate in hertz.
    window_end_ms
        Time of the last sample relative to the event, in milliseconds: -130 is 130 ms before it.
    source
        A description of the trials, for reports and manifests.
    subject
        An identifier of the subject (``bci2-iv-aa``, ``synthetic-0``); empty if unknown.
    resampled_from_hz
        The rate of the file if the trials were resampled after reading, otherwise None.
    trial_ids
        sha256 of each trial as it was read, before any resampling, see `trial_sha256`.
    at_s, files
        float64 and int64, (n_epochs,), the order of recording: the time of the last sample in seconds on the clock of
        its file, and the number of that file. None if the order is not known.
    """

    x_uv: NDArray[np.float32]
    labels: NDArray[np.int64] | None
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    sfreq_hz: float
    window_end_ms: float
    source: str
    subject: str = ""
    resampled_from_hz: float | None = None
    trial_ids: tuple[str, ...] = ()
    at_s: NDArray[np.float64] | None = None
    files: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if self.at_s is not None and self.files is None:
            object.__setattr__(self, "files", np.zeros(len(self.x_uv), np.int64))
        if not np.isfinite(self.x_uv).all():
            bad = np.unique(np.argwhere(~np.isfinite(self.x_uv))[:, 0])
            raise DataError(
                f"{self.source}: {len(bad)} of {len(self.x_uv)} trials have NaN or infinite values, "
                f"the first one is trial {bad[0]}. Drop them, or read the original file again."
            )
        if not self.trial_ids:
            object.__setattr__(self, "trial_ids", tuple(trial_sha256(x) for x in self.x_uv))

    def __len__(self) -> int:
        return len(self.x_uv)

    @property
    def is_in_order(self) -> bool:
        """Whether the trials are known to be in the order of recording."""
        if self.at_s is None or self.files is None:
            return False
        same = np.diff(self.files) == 0
        return bool((np.diff(self.files) >= 0).all() and (np.diff(self.at_s)[same] >= 0).all())

    @property
    def n_samples(self) -> int:
        """Samples per trial."""
        return int(self.x_uv.shape[1])

    def select(self, index: NDArray[np.int64] | slice) -> Epochs:
        """Return the trials that `index` selects, with their labels and ids."""
        rows = np.arange(len(self))[index]
        return replace(
            self,
            x_uv=self.x_uv[rows],
            labels=None if self.labels is None else self.labels[rows],
            trial_ids=tuple(self.trial_ids[i] for i in rows),
            at_s=None if self.at_s is None else self.at_s[rows],
            files=None if self.files is None else self.files[rows],
        )

    def pick(self, channels: tuple[str, ...]) -> Epochs:
        """Return the trials with these channels in this order, matched by name; their ids change accordingly."""
        order = match_channels(channels, self.channels, stream=self.source, error=DataError)
        if order == list(range(len(self.channels))):
            return self
        return replace(self, x_uv=self.x_uv[:, :, order], channels=channels, trial_ids=())

    def crop(self, start_ms: float, end_ms: float) -> Epochs:
        """Return the trials from `start_ms` to `end_ms` relative to their events; their ids change accordingly.

        The window has the samples that `pretap_offline.trials.cut` gives it in a recording: its last one is the nearest
        to `end_ms`, the later of two that are equally near.

        Raises
        ------
        UsageError
            If the window holds no sample.
        DataError
            If it is not inside the trials.
        """
        per_ms = self.sfreq_hz / 1000
        n = round((end_ms - start_ms) * per_ms)
        if n < 1:
            raise UsageError(f"window_ms = [{start_ms:g}, {end_ms:g}] holds no sample at {self.sfreq_hz:g} Hz.")
        stop = self.n_samples + math.floor((end_ms - self.window_end_ms) * per_ms + 0.5 + TIE_SAMPLES)
        if stop - n < 0 or stop > self.n_samples:
            first_ms = self.window_end_ms - (self.n_samples - 1) / per_ms
            raise DataError(
                f"{self.source}: expected trials from {start_ms:g} to {end_ms:g} ms, but they have {first_ms:g} to "
                f"{self.window_end_ms:g} ms relative to the event. Set a window inside that in trials.window_ms."
            )
        cut_s = (self.n_samples - stop) / self.sfreq_hz
        return replace(
            self,
            x_uv=self.x_uv[:, stop - n : stop],  # (n_epochs, n, n_channels)
            window_end_ms=end_ms,
            trial_ids=(),
            at_s=None if self.at_s is None else self.at_s - cut_s,
        )

    def select_range(self, text: str) -> Epochs:
        """Return the trials that ``A:B`` selects like a Python slice (``:256``, ``256:``, ``-40:``)."""
        start, colon, stop = text.partition(":")
        try:
            picked = self.select(slice(int(start) if start else None, int(stop) if stop else None))
        except ValueError:
            colon = ""
        if not colon or not len(picked):
            raise UsageError(f"--trials {text!r}: expected A:B with at least one of the {len(self)} trials.")
        return picked


def join(parts: Sequence[Epochs]) -> Epochs:
    """Join the trials of several sessions, in the order of recording; their `files` count on from part to part.

    The channels are those of the first part, matched by name.

    Raises
    ------
    DataError
        If classes, rate or window differ, or channels are missing.
    """
    first = parts[0]
    wanted = (first.classes, first.sfreq_hz, first.n_samples, first.window_end_ms)
    for each in parts[1:]:
        found = (each.classes, each.sfreq_hz, each.n_samples, each.window_end_ms)
        if found != wanted:
            raise DataError(
                f"{each.source}: expected trials as in {first.source}, with classes, rate, samples and end of the "
                f"window {wanted}, but found {found}. Join only trials that were cut alike."
            )
    parts = [each.pick(first.channels) for each in parts]
    files, n_files = [], 0
    for each in parts:
        own = np.zeros(len(each), np.int64) if each.files is None else each.files
        files.append(own + n_files)
        n_files += int(own.max(initial=-1)) + 1
    orders = [each.at_s for each in parts if each.at_s is not None]
    return replace(
        first,
        x_uv=np.concatenate([each.x_uv for each in parts]),
        labels=None if any(each.labels is None for each in parts) else np.concatenate([_labels(e) for e in parts]),
        source=", ".join(each.source for each in parts),
        subject=first.subject if len({each.subject for each in parts}) == 1 else "",
        trial_ids=tuple(trial for each in parts for trial in each.trial_ids),
        at_s=np.concatenate(orders) if len(orders) == len(parts) else None,
        files=np.concatenate(files),
    )


def _labels(epochs: Epochs) -> NDArray[np.int64]:
    assert epochs.labels is not None
    return epochs.labels


def trial_sha256(x_uv: NDArray[np.float32]) -> str:
    """Compute the id of a trial (n_samples, n_channels) from its values, rounded to 0.1 uV.

    That is the resolution of the competition. Rounding gives a trial the same id in a .mat file, a text file and a
    float32 copy.
    """
    steps = np.rint(np.asarray(x_uv, np.float64) * 10).astype("<i4")
    return hashlib.sha256(repr(steps.shape).encode() + np.ascontiguousarray(steps).tobytes()).hexdigest()
