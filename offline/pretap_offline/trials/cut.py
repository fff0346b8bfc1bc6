"""From continuous recordings to trials, through MNE's objects: events, windows, bad channels, rejection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.config.serve import StreamConfig
from pretap.config.train import TrainConfig
from pretap.errors import DataError, StreamRefusedError, UsageError
from pretap.recordings.epochs import Epochs
from pretap.recordings.events import matches
from pretap.recordings.mne_epochs import make_info
from pretap.recordings.recording import Event, Recording, sample_at
from pretap.signal.channels import MISSING, match_channels, standard_names
from pretap.signal.interpolation import can_interpolate, interpolating_matrix, max_interpolated
from pretap.signal.resampler import Resampler
from pretap_offline.trials.channels import bad_channels, common_channels, peak_to_peak_uv
from pretap_offline.trials.report import FileReport, TrialReport, list_markers, named

__all__ = ["cut_trials"]

_UV_PER_V = 1e6
_LONGEST_MS = 60_000.0


@dataclass(frozen=True, eq=False)
class _Placed:
    """One recording's whole windows (n_epochs, 2), last sample and class; events without one are counted.

    `at_s`, (n_epochs,), is when the last samples were recorded, in seconds from the first sample of the file.
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
    """Cut the trials that `config.events` and `config.trials` describe, and say what became of every event.

    A window is n samples, the last one nearest to ``event + end``: the one that the live service decodes. It is
    dropped where it leaves the recording, crosses the start of a segment or a bad span, or holds values that are not
    finite, and where its event lies more than a sample from the nearest one. Channels that are flat or too large in
    more than half of the trials are dropped first, then trials by their peak-to-peak amplitude.

    Parameters
    ----------
    recordings
        In the order of recording. Of other rates than `config.signal.sfreq_hz` (the first one's, where that is not
        given) they are resampled as live data are.
    config
        What to cut.
    channels
        Take exactly these, and drop none: those of a bundle.
    interpolation
        The bundle's: as many missing or bad channels as the live service would replace are replaced here.

    Raises
    ------
    UsageError
        No [events], or an event that fits two classes.
    DataError
        A class without events, or without trials; channels that are missing.
    """
    _check_events(recordings, config)
    sfreq_hz = config.signal.sfreq_hz or recordings[0].sfreq_hz
    recorded_hz = tuple(recording.sfreq_hz for recording in recordings)
    starts_s = [0.0 if recording.t_s is None else float(recording.t_s[0]) for recording in recordings]
    slacks_s = [_slack_s(recording, sfreq_hz) for recording in recordings]
    recordings = [_at_rate(recording, sfreq_hz) for recording in recordings]
    recordings = [replace(each, channels=standard_names(each.channels)) for each in recordings]
    names, unused = (channels, []) if channels is not None else common_channels(recordings, config)
    n_window = _n_window(config, sfreq_hz)
    placed = [
        _place(recording, config, n_window=n_window, start_s=start_s, slack_s=slack_s)
        for recording, start_s, slack_s in zip(recordings, starts_s, slacks_s, strict=True)
    ]
    file = np.repeat(np.arange(len(placed)), [len(each.rows) for each in placed])  # (n_epochs,) of all windows
    keep = np.zeros(len(file), bool)
    bad: list[tuple[str, str]] = []
    replaced: list[tuple[str, str]] = []
    if len(file):
        epochs = _mne_epochs(placed, names, n_window=n_window, sfreq_hz=sfreq_hz, interpolation=interpolation)
        bad = bad_channels(epochs, config)
        if channels is not None:
            replaced, bad = _replace(epochs, bad, interpolation), []
        epochs.drop_channels([name for name, _ in bad])
        keep = _reject(epochs, config, placed, file)
    report = TrialReport(
        classes=tuple(config.events),
        window_ms=config.trials.window_ms,
        n_window=n_window,
        sfreq_hz=sfreq_hz,
        recorded_hz=recorded_hz,
        channels=tuple(name for name in names if name not in dict(bad)),
        dropped_channels=tuple(unused + bad),
        replaced_channels=tuple(replaced),
        files=tuple(_file_report(each, keep[file == i], len(config.events)) for i, each in enumerate(placed)),
    )
    if 0 in report.n_trials:
        raise DataError(f"A class has no trial left:\n{report.words()}\nSee reject_uv, flat_uv, window_ms in [trials].")
    return _collect(epochs, placed, keep, report), report


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
    remedy = "Change [events] in the configuration; a bundle keeps those that it was trained with."
    if not texts:
        remedy = "Was the marker stream recorded? See `pretap streams` while the task runs."
    for text in sorted(texts):
        fits = [name for name, patterns in config.events.items() if matches(text, patterns)]
        if len(fits) > 1:
            raise UsageError(f"[events]: the marker {text!r} fits both {fits[0]!r} and {fits[1]!r}. Make one narrower.")
    for name, patterns in config.events.items():
        if not any(matches(text, patterns) for text in texts):
            raise DataError(
                f"No event of class {name!r}: expected markers like {', '.join(map(repr, patterns)) or 'nothing'}; "
                f"the recordings have {found}. {remedy}"
            )


def _class_events(recording: Recording, config: TrainConfig) -> list[tuple[Event, int]]:
    """Give each event of a class, with the class, each once."""
    label_of: dict[str, int | None] = {}
    for event in recording.events:
        if event.text not in label_of:
            fits = [index for index, patterns in enumerate(config.events.values()) if matches(event.text, patterns)]
            label_of[event.text] = fits[0] if fits else None
    rows = {(event.sample, label): event for event in recording.events if (label := label_of[event.text]) is not None}
    return sorted((event, label) for (_, label), event in rows.items())


def _n_window(config: TrainConfig, sfreq_hz: float) -> int:
    """Give the number of samples of a window."""
    start_ms, end_ms = config.trials.window_ms
    if not (abs(start_ms) <= _LONGEST_MS and abs(end_ms) <= _LONGEST_MS):  # NaN too
        raise UsageError(f"trials.window_ms = [{start_ms:g}, {end_ms:g}]: expected at most {_LONGEST_MS:g} ms each.")
    n = round((end_ms - start_ms) / 1000 * sfreq_hz)
    if n < 1:
        raise UsageError(f"trials.window_ms = [{start_ms:g}, {end_ms:g}] holds no sample at {sfreq_hz:g} Hz.")
    return n


# -- windows -------------------------------------------------------------------------------------------------------


def _at_rate(recording: Recording, sfreq_hz: float) -> Recording:
    if recording.sfreq_hz == sfreq_hz:
        return recording
    from pretap.recordings.resample import resample_recording

    return replace(resample_recording(recording, sfreq_hz=sfreq_hz), source=recording.source)


def _slack_s(recording: Recording, sfreq_hz: float) -> float:
    """Give how far an event may lie from the nearest sample: one sample, and what resampling takes at a break."""
    if recording.sfreq_hz == sfreq_hz:
        return 1 / sfreq_hz
    return 1 / sfreq_hz + Resampler(from_hz=recording.sfreq_hz, to_hz=sfreq_hz, n_channels=1).delay_s


def _place(recording: Recording, config: TrainConfig, *, n_window: int, start_s: float, slack_s: float) -> _Placed:
    """Find the events whose windows lie whole in unbroken, unmarked samples."""
    dropped: Counter[str] = Counter()
    events = _class_events(recording, config)
    rows: list[tuple[int, int]] = []
    twice = {sample for sample, count in Counter(event.sample for event, _ in events).items() if count > 1}
    for event, label in events:
        last = sample_at(recording, event, offset_s=config.trials.window_ms[1] / 1000)
        why = (
            "on one sample with another class" if event.sample in twice else _obstacle(recording, event, last, n_window)
        )
        if abs(event.late_s) > slack_s:
            why = "more than a sample from the nearest one"
        if why:
            dropped[why] += 1
        else:
            rows.append((last, label))
    n_events = _counts([label for _, label in events], len(config.events))
    windows = np.array(rows, np.int64).reshape(-1, 2)
    at_s = _times_s(recording, windows[:, 0], start_s=start_s)
    return _Placed(recording, windows, at_s, n_events, dropped)


def _obstacle(recording: Recording, event: Event, last: int, n: int) -> str:
    """Say what keeps an event's window of `n` samples that ends with `last` from being one; empty: nothing."""
    first = last - n + 1
    if first < 0 or last >= recording.n_samples:
        return "too close to an end of the recording"
    # The event is one of them: behind a break, 130 samples before it are not 130 ms before it.
    if any(min(first, event.sample) < start <= max(last, event.sample) for start in recording.segments):
        return "across a break"
    if any(start <= last and first < stop for start, stop in recording.bad):
        return "in a span marked bad"
    return ""


def _mne_epochs(
    placed: Sequence[_Placed],
    names: tuple[str, ...],
    *,
    n_window: int,
    sfreq_hz: float,
    interpolation: NDArray[np.float64] | None,
) -> Any:
    """Read the windows of all files as MNE's epochs, in volts; a missing channel that can be replaced is zero.

    Window by window, not through an `mne.io.RawArray` of the whole: an hour of 64 channels at 2048 Hz takes 3.8 GB.
    """
    import mne

    labels = np.concatenate([each.rows[:, 1] for each in placed])
    x_v = np.empty((len(labels), len(names), n_window))  # (n_epochs, n_channels, n_window)
    free = iter(x_v)
    for each in placed:
        try:
            found = _match(names, each.recording, interpolation)
        except StreamRefusedError as error:
            raise DataError(str(error)) from None
        order = np.array(found)
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
    """Find the channels in a recording; as few as the live service would replace may be `MISSING`."""
    known = [name for k, name in enumerate(names) if interpolation is not None and can_interpolate(interpolation, k)]
    found = match_channels(names, recording.channels, stream=recording.source, replaceable=known)
    if found.count(MISSING) > max_interpolated(len(names), StreamConfig().max_interpolated):
        match_channels(names, recording.channels, stream=recording.source)  # says which
    return found


def _replace(
    epochs: Any, bad: list[tuple[str, str]], interpolation: NDArray[np.float64] | None
) -> list[tuple[str, str]]:
    """Replace bad channels in place, as the live service would; where it would not, they stay and cost the trials."""
    lost = [epochs.ch_names.index(name) for name, _ in bad]
    n_most = max_interpolated(len(epochs.ch_names), StreamConfig().max_interpolated)
    if interpolation is None or len(lost) > n_most or not all(can_interpolate(interpolation, k) for k in lost):
        return []
    x_v = epochs.get_data(copy=False, verbose="error")  # (n_epochs, n_channels, n_window)
    x_v[:, lost] = interpolating_matrix(interpolation, lost)[lost] @ x_v
    return bad


def _reject(epochs: Any, config: TrainConfig, placed: Sequence[_Placed], file: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Let MNE drop trials by amplitude, and count why, file by file; gives which trials are kept, (n_epochs,)."""
    limits, n = config.trials, len(file)
    finite = np.array([np.isfinite(row).all() for row in peak_to_peak_uv(epochs)], bool)
    epochs.drop(np.flatnonzero(~finite), reason="not finite", verbose="error")
    epochs.drop_bad(
        reject={"eeg": limits.reject_uv / _UV_PER_V} if limits.reject_uv else None,
        flat={"eeg": limits.flat_uv / _UV_PER_V} if limits.flat_uv else None,
        verbose="error",
    )
    keep = np.isin(np.arange(n), epochs.selection)
    for number, each in enumerate(placed):
        here = file == number
        if n_odd := int((here & ~finite).sum()):
            each.dropped["with values that are not finite"] += n_odd
        guilty = Counter(name for i in np.flatnonzero(here & finite & ~keep) for name in epochs.drop_log[i])
        if guilty:
            limit = f"{limits.flat_uv:g} to {limits.reject_uv or np.inf:g} uV"
            worst = named([f"{name} {count}" for name, count in guilty.most_common()])
            each.dropped[f"of amplitude outside {limit} ({worst})"] += int((here & finite & ~keep).sum())
    return keep


# -- what comes out ------------------------------------------------------------------------------------------------


def _counts(labels: Any, n_classes: int) -> tuple[int, ...]:
    return tuple(int(n) for n in np.bincount(np.asarray(labels, np.int64), minlength=n_classes))


def _file_report(placed: _Placed, keep: NDArray[np.bool_], n_classes: int) -> FileReport:
    return FileReport(
        source=placed.recording.source,
        n_events=placed.n_events,
        n_trials=_counts(placed.rows[keep, 1], n_classes),
        dropped=tuple(placed.dropped.items()),
    )


def _times_s(recording: Recording, samples: NDArray[np.int64], *, start_s: float) -> NDArray[np.float64]:
    """Give when samples are, in seconds from the stamp `start_s`; where the clock was set back, it runs on."""
    if recording.t_s is None:
        return samples / recording.sfreq_hz - start_s
    starts = np.array(recording.segments[1:], np.int64)
    step_s = recording.t_s[starts] - recording.t_s[starts - 1]  # (n_breaks,)
    added_s = np.cumsum(np.where(step_s < 0, 1 / recording.sfreq_hz - step_s, 0.0))
    n_before = np.searchsorted(starts, samples, side="right")  # (n_samples,) breaks before each
    return np.asarray(recording.t_s[samples] - start_s + np.append(0.0, added_s)[n_before])


def _collect(epochs: Any, placed: Sequence[_Placed], keep: NDArray[np.bool_], report: TrialReport) -> Epochs:
    x_v = epochs.get_data(copy=False, verbose="error")  # (n_epochs, n_channels, n_window)
    rows = np.concatenate([each.rows for each in placed])[keep]
    at_s = np.concatenate([each.at_s for each in placed])[keep]
    files = np.repeat(np.arange(len(placed)), [len(each.rows) for each in placed])[keep]
    subjects = {each.recording.subject for each in placed}
    recorded_hz = set(report.recorded_hz) - {report.sfreq_hz}
    return Epochs(
        x_uv=np.ascontiguousarray((x_v * _UV_PER_V).transpose(0, 2, 1), dtype=np.float32),
        labels=rows[:, 1],
        classes=report.classes,
        channels=report.channels,
        sfreq_hz=report.sfreq_hz,
        window_end_ms=report.window_ms[1],
        source=", ".join(each.recording.source for each in placed),
        subject=subjects.pop() if len(subjects) == 1 else "",
        resampled_from_hz=min(recorded_hz) if recorded_hz else None,
        at_s=at_s,
        files=files.astype(np.int64),
    )
