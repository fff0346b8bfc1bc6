"""Cuts trials from continuous recordings through MNE: events, windows, bad channels, rejection. Used by `train`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.config.serve import StreamConfig
from pretap.config.train import TrainConfig
from pretap.errors import DataError, UsageError
from pretap.recordings.epochs import Epochs
from pretap.recordings.events import matches
from pretap.recordings.mne_epochs import make_info
from pretap.recordings.recording import Event, Recording, sample_at
from pretap.recordings.resample import resample_recording
from pretap.signal.channels import MISSING, match_channels, standard_names
from pretap.signal.interpolation import can_interpolate, interpolating_matrix, max_interpolated
from pretap.signal.resampler import Resampler
from pretap_offline.trials.amplitude import is_flat, is_too_large, swings_uv
from pretap_offline.trials.channels import bad_channels, common_channels
from pretap_offline.trials.report import FileReport, TrialReport, first_names, list_markers
from pretap_offline.trials.warnings import loss_warnings

_UV_PER_V = 1e6
_MAX_MS = 60_000.0


@dataclass(frozen=True, eq=False)
class _Windows:
    """The valid windows of one recording as `rows` (n_epochs, 2) of last sample and class, and the dropped events.

    `at_s` (n_epochs,) holds the times of the last samples, in seconds from the first sample of the file.
    """

    recording: Recording
    rows: NDArray[np.int64]
    at_s: NDArray[np.float64]
    n_events: tuple[int, ...]
    dropped: Counter[str]


def cut_trials(
    recordings: Sequence[Recording],
    config: TrainConfig,
    *,
    channels: tuple[str, ...] | None = None,
    interpolation: NDArray[np.float64] | None = None,
) -> tuple[Epochs, TrialReport]:
    """Cut the trials that `config.events` and `config.trials` describe, and report what happened to every event.

    The last sample of a window is the one nearest to ``event + end``, as in the live service. A window is dropped if it
    exceeds the recording, crosses the start of a segment or a bad span, or holds values that are not finite, and if its
    event lies more than a sample from the nearest one. Channels that are flat or too large in more than half of the
    trials are dropped first, then trials by their amplitude, see `pretap_offline.trials.amplitude`.

    Parameters
    ----------
    recordings
        In the order of recording. If a rate differs from `config.signal.sfreq_hz` (by default the rate of the first
        recording), that recording is resampled like live data.
    config
        Events, windows, limits and rate.
    channels
        The channels of a bundle: exactly these are cut, and none is dropped.
    interpolation
        The weights of the bundle: missing or bad channels are replaced, up to as many as the live service replaces.

    Raises
    ------
    UsageError
        If [events] is missing, or an event fits two classes.
    DataError
        If a class has no events or no trials, or channels are missing.
    """
    _check_events(recordings, config)
    sfreq_hz = config.signal.sfreq_hz or recordings[0].sfreq_hz
    recorded_hz = tuple(recording.sfreq_hz for recording in recordings)
    starts_s = [0.0 if recording.t_s is None else float(recording.t_s[0]) for recording in recordings]
    slacks_s = [_slack_s(recording, sfreq_hz) for recording in recordings]
    recordings = [
        replace(resample_recording(each, sfreq_hz=sfreq_hz), source=each.source, channels=standard_names(each.channels))
        for each in recordings
    ]
    names, unused = (channels, []) if channels is not None else common_channels(recordings, config)
    n_window = _n_window(config, sfreq_hz)
    windows = [
        _find_windows(recording, config, n_window=n_window, start_s=start_s, slack_s=slack_s)
        for recording, start_s, slack_s in zip(recordings, starts_s, slacks_s, strict=True)
    ]
    file = np.repeat(np.arange(len(windows)), [len(each.rows) for each in windows])  # (n_epochs,) of all windows
    keep = np.zeros(len(file), bool)
    bad: list[tuple[str, str]] = []
    replaced: list[tuple[str, str]] = []
    if len(file):
        orders = np.array([_match(names, each.recording, interpolation) for each in windows])  # (n_files, n_channels)
        epochs = _mne_epochs(windows, names, orders, n_window=n_window, sfreq_hz=sfreq_hz)
        lacks = orders == MISSING
        bad = bad_channels(epochs, config, is_missing=lacks[file])
        if channels is not None:
            replaced, bad = _replace(epochs, bad, lacks[file], interpolation), []
            for name, here in zip(names, lacks.T, strict=True):
                if here.any():
                    sources = [recording.source for recording, each in zip(recordings, here, strict=True) if each]
                    replaced.append((name, f"missing from {', '.join(sources)}"))
        epochs.drop_channels([name for name, _ in bad])
        keep = _reject(epochs, config, windows, file)
    files = tuple(
        FileReport(
            source=each.recording.source,
            n_events=each.n_events,
            n_trials=_counts(each.rows[keep[file == i], 1], len(config.events)),
            dropped=tuple(each.dropped.items()),
            left_out=each.recording.left_out,
            notes=each.recording.notes,
        )
        for i, each in enumerate(windows)
    )
    kept = tuple(name for name in names if name not in dict(bad))
    report = TrialReport(
        classes=tuple(config.events),
        window_ms=config.trials.window,
        n_window=n_window,
        sfreq_hz=sfreq_hz,
        recorded_hz=recorded_hz,
        channels=kept,
        dropped_channels=tuple(unused + bad),
        replaced_channels=tuple(replaced),
        files=files,
        warnings=loss_warnings(kept, unused + bad, files),
    )
    if 0 in report.n_trials:
        raise DataError(
            f"A class has no trial left:\n{report.describe()}\nCheck reject_uv, flat_uv and window_ms in [trials]."
        )
    return _collect(epochs, windows, keep, file[keep], report), report


# -- events --------------------------------------------------------------------------------------------------------


def _check_events(recordings: Sequence[Recording], config: TrainConfig) -> None:
    found = list_markers(recordings)
    if len(config.events) < 2:
        raise UsageError(
            "Recordings need at least two classes of events in the configuration, such as\n"
            '  [events]\n  left = ["tap/left"]\n  right = ["tap/right"]\n'
            f"The recordings have the markers {found}."
        )
    texts = {event.text for recording in recordings for event in recording.events}
    remedy = "Change [events] in the configuration; a bundle keeps the events it was trained with."
    if not texts:
        remedy = "Was the marker stream recorded? Run `pretap streams` during the task to see it."
        triggers = [name for each in recordings for name, why in each.left_out if why.startswith("trigger")]
        if triggers:
            remedy = f"If the events are codes of a trigger channel, name it: --cue-channel {triggers[0]}."
    for text in sorted(texts):
        fits = [name for name, patterns in config.events.items() if matches(text, patterns)]
        if len(fits) > 1:
            raise UsageError(
                f"[events]: the marker {text!r} fits both {fits[0]!r} and {fits[1]!r}. Make one pattern narrower."
            )
    for name, patterns in config.events.items():
        if not any(matches(text, patterns) for text in texts):
            raise DataError(
                f"No event of class {name!r}: expected markers like {', '.join(map(repr, patterns)) or 'nothing'}; "
                f"the recordings have {found}. {remedy}"
            )


def _class_events(recording: Recording, config: TrainConfig) -> list[tuple[Event, int]]:
    """Return the events of the classes with their class, by sample; the nearest to its sample comes first."""
    texts = {event.text for event in recording.events}
    classes = enumerate(config.events.values())
    label_of = {text: label for label, patterns in classes for text in texts if matches(text, patterns)}
    found = [(event, label_of[event.text]) for event in recording.events if event.text in label_of]
    return sorted(found, key=lambda row: (row[0].sample, abs(row[0].late_s), row[0], row[1]))


def _n_window(config: TrainConfig, sfreq_hz: float) -> int:
    """Return the number of samples in a window."""
    start_ms, end_ms = config.trials.window
    if not (abs(start_ms) <= _MAX_MS and abs(end_ms) <= _MAX_MS):  # also refuses NaN
        raise UsageError(f"trials.window_ms = [{start_ms:g}, {end_ms:g}]: expected at most {_MAX_MS:g} ms each.")
    n = round((end_ms - start_ms) / 1000 * sfreq_hz)
    if n < 1:
        raise UsageError(f"trials.window_ms = [{start_ms:g}, {end_ms:g}] holds no sample at {sfreq_hz:g} Hz.")
    return n


# -- windows -------------------------------------------------------------------------------------------------------


def _slack_s(recording: Recording, sfreq_hz: float) -> float:
    """Return how far an event may lie from the nearest sample: one sample, plus what resampling loses at a break."""
    if recording.sfreq_hz == sfreq_hz:
        return 1 / sfreq_hz
    return 1 / sfreq_hz + Resampler(from_hz=recording.sfreq_hz, to_hz=sfreq_hz, n_channels=1).delay_s


def _find_windows(
    recording: Recording, config: TrainConfig, *, n_window: int, start_s: float, slack_s: float
) -> _Windows:
    """Find the events whose windows lie completely in the recording, without breaks and bad spans."""
    dropped: Counter[str] = Counter()
    events = _class_events(recording, config)
    rows: list[tuple[int, int]] = []
    labels_at: dict[int, list[int]] = {}  # of the events that are at a sample, and not in a break beside it
    for event, label in events:
        if abs(event.late_s) <= slack_s:
            labels_at.setdefault(event.sample, []).append(label)
    seen: set[int] = set()
    for event, label in events:
        last = sample_at(recording, event, offset_s=config.trials.window[1] / 1000)
        if abs(event.late_s) > slack_s:
            why = "in a pause or outside the recording"
        elif len(set(labels_at[event.sample])) > 1:
            why = "at the same sample as an event of another class"
        elif event.sample in seen:
            why = "at the same sample as an event of the same class"
        else:
            seen.add(event.sample)
            why = _obstacle(recording, event, last, n_window)
        if why:
            dropped[why] += 1
        else:
            rows.append((last, label))
    n_events = _counts([label for _, label in events], len(config.events))
    found = np.array(rows, np.int64).reshape(-1, 2)
    at_s = _times_s(recording, found[:, 0], start_s=start_s)
    return _Windows(recording, found, at_s, n_events, dropped)


def _obstacle(recording: Recording, event: Event, last: int, n: int) -> str:
    """Return why the window of `n` samples that ends with `last` is not valid for the event, or an empty text."""
    first = last - n + 1
    if first < 0 or last >= recording.n_samples:
        return "too close to an end of the recording"
    # The event counts too: if a break lies between, 130 samples before it are not 130 ms before it.
    if any(min(first, event.sample) < start <= max(last, event.sample) for start in recording.segments):
        return "across a break"
    if any(start <= last and first < stop for start, stop in recording.bad):
        return "in a span marked bad"
    return ""


def _mne_epochs(
    windows: Sequence[_Windows],
    names: tuple[str, ...],
    orders: NDArray[np.int64],
    *,
    n_window: int,
    sfreq_hz: float,
) -> Any:
    """Read the windows of all files as MNE epochs, in volts; a missing channel is zero.

    `orders` (n_files, n_channels) holds the indices of the channels in each file.
    Windows are read one by one, because an `mne.io.RawArray` of an hour of 64 channels at 2048 Hz takes 3.8 GB.
    """
    import mne

    labels = np.concatenate([each.rows[:, 1] for each in windows])
    x_v = np.empty((len(labels), len(names), n_window))  # (n_epochs, n_channels, n_window)
    free = iter(x_v)
    for each, order in zip(windows, orders, strict=True):
        for last, row in zip(each.rows[:, 0].tolist(), free, strict=False):
            x_uv = each.recording.read(last - n_window + 1, last + 1)  # (n_window, n_channels)
            row[:] = np.where(order == MISSING, 0.0, x_uv[:, order].astype(np.float64) / _UV_PER_V).T
    index = np.arange(len(labels))
    return mne.EpochsArray(
        x_v,
        make_info(names, sfreq_hz=sfreq_hz),
        events=np.column_stack([index, np.zeros_like(index), labels + 1]),
        tmin=(1 - n_window) / sfreq_hz,
        proj=False,
        verbose="error",
    )


def _match(names: tuple[str, ...], recording: Recording, interpolation: NDArray[np.float64] | None) -> list[int]:
    """Find the channels in a recording; up to as many as the live service replaces may be `MISSING`."""
    known = [name for k, name in enumerate(names) if interpolation is not None and can_interpolate(interpolation, k)]
    match = partial(match_channels, names, recording.channels, stream=recording.source, error=DataError)
    found = match(replaceable=known)
    if found.count(MISSING) > max_interpolated(len(names), StreamConfig().max_interpolated):
        match()  # raises an error that names them
    return found


def _replace(
    epochs: Any,
    bad: list[tuple[str, str]],
    is_missing: NDArray[np.bool_],
    interpolation: NDArray[np.float64] | None,
) -> list[tuple[str, str]]:
    """Replace missing and bad channels in place as the live service does, and return the bad ones that are replaced.

    If the live service would not replace all of them, only the missing ones are replaced. Bad ones then cost trials.
    `is_missing` is (n_epochs, n_channels).
    """
    if interpolation is None:
        return []
    is_bad = np.isin(epochs.ch_names, [name for name, _ in bad])
    n_max = max_interpolated(len(epochs.ch_names), StreamConfig().max_interpolated)
    patterns = np.unique(is_missing, axis=0)  # (n_patterns, n_channels)
    if (patterns | is_bad).sum(axis=1).max() > n_max or not all(
        can_interpolate(interpolation, k) for k in np.flatnonzero(is_bad).tolist()
    ):
        is_bad, bad = np.zeros_like(is_bad), []
    x_v = epochs.get_data(copy=False, verbose="error")  # (n_epochs, n_channels, n_window)
    for pattern in patterns:
        lost = np.flatnonzero(pattern | is_bad)
        if lost.size:
            rows = np.flatnonzero((is_missing == pattern).all(axis=1))
            x_v[np.ix_(rows, lost)] = 0.0  # no NaN may enter the sum
            x_v[np.ix_(rows, lost)] = interpolating_matrix(interpolation, lost.tolist())[lost] @ x_v[rows]
    return list(bad)


def _reject(
    epochs: Any, config: TrainConfig, windows: Sequence[_Windows], file: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Drop trials by amplitude, and count the reasons per file; return which are kept, (n_epochs,)."""
    swings = swings_uv(epochs, np.mean if config.scaling.reference == "average" else None)  # (n_epochs, n_channels)
    finite = np.isfinite(swings)
    reasons = {
        "with values that are not finite": ~finite,
        f"flat (below {config.trials.flat_uv:g} uV)": is_flat(epochs, config.trials),
        "of unusual amplitude": is_too_large(swings, config.trials, file),
    }
    keep = np.ones(len(file), bool)
    for why, faults in reasons.items():
        for number, each in enumerate(windows):
            here = keep & (file == number) & faults.any(axis=1)
            if n := int(here.sum()):
                blamed = Counter(epochs.ch_names[k] for k in np.nonzero(faults[here])[1].tolist())
                each.dropped[f"{why} ({_worst(blamed)})"] += n
        keep &= ~faults.any(axis=1)
    epochs.drop(np.flatnonzero(~keep), reason="amplitude", verbose="error")
    return keep


def _worst(blamed: Counter[str]) -> str:
    return first_names([f"{name} {count}" for name, count in blamed.most_common()])


# -- results -------------------------------------------------------------------------------------------------------


def _counts(labels: Any, n_classes: int) -> tuple[int, ...]:
    return tuple(int(n) for n in np.bincount(np.asarray(labels, np.int64), minlength=n_classes))


def _times_s(recording: Recording, samples: NDArray[np.int64], *, start_s: float) -> NDArray[np.float64]:
    """Return the times of samples in seconds from the timestamp `start_s`; a clock set back is taken to run on."""
    if recording.t_s is None:
        return samples / recording.sfreq_hz - start_s
    starts = np.array(recording.segments[1:], np.int64)
    step_s = recording.t_s[starts] - recording.t_s[starts - 1]  # (n_breaks,)
    added_s = np.cumsum(np.where(step_s < 0, 1 / recording.sfreq_hz - step_s, 0.0))
    n_before = np.searchsorted(starts, samples, side="right")  # (n_samples,) breaks before each sample
    return np.asarray(recording.t_s[samples] - start_s + np.append(0.0, added_s)[n_before])


def _collect(
    epochs: Any, windows: Sequence[_Windows], keep: NDArray[np.bool_], files: NDArray[np.int64], report: TrialReport
) -> Epochs:
    x_v = epochs.get_data(copy=False, verbose="error")  # (n_epochs, n_channels, n_window)
    rows = np.concatenate([each.rows for each in windows])[keep]
    at_s = np.concatenate([each.at_s for each in windows])[keep]
    subjects = {each.recording.subject for each in windows}
    recorded_hz = set(report.recorded_hz) - {report.sfreq_hz}
    return Epochs(
        x_uv=np.ascontiguousarray((x_v * _UV_PER_V).transpose(0, 2, 1), dtype=np.float32),
        labels=rows[:, 1],
        classes=report.classes,
        channels=report.channels,
        sfreq_hz=report.sfreq_hz,
        window_end_ms=report.window_ms[1],
        source=", ".join(each.recording.source for each in windows),
        subject=subjects.pop() if len(subjects) == 1 else "",
        resampled_from_hz=min(recorded_hz) if recorded_hz else None,
        at_s=at_s,
        files=files,
    )
