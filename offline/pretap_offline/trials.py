"""From continuous recordings to trials, through MNE's objects: events, windows, bad channels, rejection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pretap.channels import canonical, match_channels
from pretap.config import TrainConfig
from pretap.errors import DataError, StreamRefusedError, UsageError
from pretap.events import matches
from pretap.recordings.epochs import Epochs
from pretap.recordings.mne_epochs import raw_from_recording
from pretap.recordings.recording import Recording
from pretap_offline.trial_report import FileReport, TrialReport, list_markers, named

__all__ = ["cut_trials"]

_UV_PER_V = 1e6
_LONGEST_MS = 60_000.0


@dataclass(frozen=True, eq=False)
class _Cut:
    """One recording on its way: the events that have a whole window, and MNE's epochs of these."""

    recording: Recording
    samples: NDArray[np.int64]  # (n_epochs,) of the events
    labels: NDArray[np.int64]  # (n_epochs,)
    n_events: tuple[int, ...]
    dropped: Counter[str]
    epochs: Any  # mne.Epochs


def cut_trials(
    recordings: Sequence[Recording], config: TrainConfig, *, channels: tuple[str, ...] | None = None
) -> tuple[Epochs, TrialReport]:
    """Cut the trials that `config.events` and `config.trials` describe, and say what became of every event.

    A window is n samples whose last one lies ``round(end * rate)`` from the event. It is dropped where it leaves the
    recording, crosses the start of a segment or a bad span, or holds values that are not finite, and where its event
    lies more than a sample from the nearest one. Channels that are flat or too large in more than half of the trials
    are dropped first, then trials by their peak-to-peak amplitude.

    Parameters
    ----------
    recordings
        In the order of recording. Of other rates than `config.signal.sfreq_hz` (the first one's, where that is not
        given) they are resampled as live data are.
    config
        What to cut.
    channels
        Take exactly these, and drop none: those of a bundle.

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
    recordings = [_at_rate(recording, sfreq_hz) for recording in recordings]
    names, unused = (channels, []) if channels is not None else _common_channels(recordings, config)
    window = _window(config, sfreq_hz)
    cuts = [_cut(recording, config, names, window=window) for recording in recordings]
    bad = [] if channels is not None else _bad_channels(cuts, config)
    for cut in cuts:
        cut.epochs.drop_channels([name for name, _ in bad])
    kept = [_reject(cut, config) for cut in cuts]  # (n_epochs,) bool each
    report = TrialReport(
        classes=tuple(config.events),
        window_ms=config.trials.window_ms,
        n_window=window[1],
        sfreq_hz=sfreq_hz,
        recorded_hz=recorded_hz,
        channels=tuple(name for name in names if name not in dict(bad)),
        dropped_channels=tuple(unused + bad),
        files=tuple(_file_report(cut, keep, len(config.events)) for cut, keep in zip(cuts, kept, strict=True)),
    )
    if 0 in report.n_trials:
        raise DataError(f"A class has no trial left:\n{report.words()}\nSee reject_uv, flat_uv, window_ms in [trials].")
    return _collect(cuts, kept, report, config=config), report


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
    for text in sorted(texts):
        fits = [name for name, patterns in config.events.items() if matches(text, patterns)]
        if len(fits) > 1:
            raise UsageError(f"[events]: the marker {text!r} fits both {fits[0]!r} and {fits[1]!r}. Make one narrower.")
    for name, patterns in config.events.items():
        if not any(matches(text, patterns) for text in texts):
            raise DataError(
                f"No event of class {name!r}: expected markers like {', '.join(map(repr, patterns)) or 'nothing'}; "
                f"the recordings have {found}. Change [events] in the configuration."
            )


def _class_events(recording: Recording, config: TrainConfig) -> list[tuple[int, int, float]]:
    """Give (sample, class, late_s) of each event of a class, each once."""
    label_of: dict[str, int | None] = {}
    for event in recording.events:
        if event.text not in label_of:
            fits = [index for index, patterns in enumerate(config.events.values()) if matches(event.text, patterns)]
            label_of[event.text] = fits[0] if fits else None
    rows = {
        (event.sample, label): event.late_s for event in recording.events if (label := label_of[event.text]) is not None
    }
    return [(sample, label, late_s) for (sample, label), late_s in rows.items()]


def _window(config: TrainConfig, sfreq_hz: float) -> tuple[int, int]:
    """Give (last, n): where the last sample lies from the event, and how many samples a window has."""
    start_ms, end_ms = config.trials.window_ms
    if not (abs(start_ms) <= _LONGEST_MS and abs(end_ms) <= _LONGEST_MS):  # NaN too
        raise UsageError(f"trials.window_ms = [{start_ms:g}, {end_ms:g}]: expected at most {_LONGEST_MS:g} ms each.")
    n = round((end_ms - start_ms) / 1000 * sfreq_hz)
    if n < 1:
        raise UsageError(f"trials.window_ms = [{start_ms:g}, {end_ms:g}] holds no sample at {sfreq_hz:g} Hz.")
    return round(end_ms / 1000 * sfreq_hz), n


# -- channels ------------------------------------------------------------------------------------------------------


def _common_channels(
    recordings: Sequence[Recording], config: TrainConfig
) -> tuple[tuple[str, ...], list[tuple[str, str]]]:
    """Give the channels to cut, in the first file's order, and those that not every file has."""
    wanted, first = config.trials, recordings[0]
    names = wanted.channels or first.channels
    try:
        if wanted.channels:
            names = tuple(first.channels[i] for i in match_channels(names, first.channels, stream=first.source))
    except StreamRefusedError as error:
        raise DataError(f"trials.channels: {error}") from None
    excluded = {canonical(name) for name in wanted.exclude}
    known = {canonical(name) for recording in recordings for name in recording.channels}
    if not excluded <= known:
        raise DataError(f"trials.exclude names channels that no recording has: {', '.join(sorted(excluded - known))}.")
    names = tuple(name for name in names if canonical(name) not in excluded)
    everywhere = [{canonical(name) for name in recording.channels} for recording in recordings]
    common = tuple(name for name in names if all(canonical(name) in each for each in everywhere))
    if not common:
        raise DataError("No channel is left that all recordings have. See channels and exclude in [trials].")
    union = {canonical(name): name for recording in reversed(recordings) for name in recording.channels}
    missing = [] if wanted.channels else [k for k in union if k not in excluded and not all(k in e for e in everywhere)]
    missing += [canonical(name) for name in names if wanted.channels and name not in common]
    return common, [(union[key], "not in every recording") for key in missing]


def _bad_channels(cuts: Sequence[_Cut], config: TrainConfig) -> list[tuple[str, str]]:
    """Find channels that are flat, or too large, in more than half of the trials."""
    names = cuts[0].epochs.ch_names
    swing_uv = np.concatenate([_peak_to_peak_uv(cut.epochs) for cut in cuts])  # (n_epochs, n_channels)
    n = len(swing_uv)
    flat = (swing_uv < config.trials.flat_uv).sum(axis=0)
    loud = (swing_uv > (config.trials.reject_uv or np.inf)).sum(axis=0)
    bad = []
    for name, n_flat, n_loud in zip(names, flat, loud, strict=True):
        if 2 * n_flat > n:
            bad.append((name, f"flat (below {config.trials.flat_uv:g} uV) in {n_flat} of {n} trials"))
        elif 2 * n_loud > n:
            bad.append((name, f"above {config.trials.reject_uv:g} uV peak to peak in {n_loud} of {n} trials"))
    if n and len(bad) == len(names):
        raise DataError(
            f"Every channel is bad, such as {bad[0][0]}: {bad[0][1]}. Expected EEG in volts, as MNE keeps it, or with "
            "its unit in the file; see reject_uv and flat_uv in [trials]."
        )
    return bad


def _peak_to_peak_uv(epochs: Any) -> NDArray[np.float64]:
    x_v = epochs.get_data(copy=False, verbose="error")  # (n_epochs, n_channels, n_samples)
    return np.asarray(np.ptp(x_v, axis=2) * _UV_PER_V) if len(x_v) else np.zeros((0, len(epochs.ch_names)))


# -- windows -------------------------------------------------------------------------------------------------------


def _at_rate(recording: Recording, sfreq_hz: float) -> Recording:
    if recording.sfreq_hz == sfreq_hz:
        return recording
    from pretap.recordings.resample import resample_recording

    return resample_recording(recording, sfreq_hz=sfreq_hz)


def _cut(recording: Recording, config: TrainConfig, names: tuple[str, ...], *, window: tuple[int, int]) -> _Cut:
    """Cut the windows that lie whole in unbroken, unmarked samples."""
    import mne

    last, n = window
    dropped: Counter[str] = Counter()
    events = sorted(_class_events(recording, config))
    placed: list[tuple[int, int]] = []
    twice = {sample for sample, count in Counter(sample for sample, *_ in events).items() if count > 1}
    for sample, label, late_s in events:
        why = "on one sample with another class" if sample in twice else _obstacle(recording, sample + last, n)
        if abs(late_s) * recording.sfreq_hz > 1:
            why = "more than a sample from the nearest one"
        if why:
            dropped[why] += 1
        else:
            placed.append((sample, label))
    rows = np.array(placed, np.int64).reshape(-1, 2)
    try:
        order = match_channels(names, recording.channels, stream=recording.source)
    except StreamRefusedError as error:
        raise DataError(str(error)) from None
    raw = raw_from_recording(recording, channels=tuple(recording.channels[i] for i in order))
    raw.rename_channels(dict(zip(raw.ch_names, names, strict=True)), verbose="error")
    epochs = mne.Epochs(
        raw,
        np.column_stack([rows[:, 0], np.zeros(len(rows), np.int64), rows[:, 1] + 1]),
        tmin=(last - n + 1) / recording.sfreq_hz,
        tmax=last / recording.sfreq_hz,
        baseline=None,
        proj=False,
        preload=True,
        reject_by_annotation=False,  # done above, to the sample
        on_missing="ignore",
        verbose="error",
    )
    assert len(epochs) == len(rows)
    labels = [label for _, label, _ in events]
    return _Cut(recording, rows[:, 0], rows[:, 1], _counts(labels, len(config.events)), dropped, epochs)


def _obstacle(recording: Recording, last: int, n: int) -> str:
    """Say what keeps the window of `n` samples that ends with sample `last` from being one; empty: nothing."""
    first = last - n + 1
    if first < 0 or last >= recording.n_samples:
        return "too close to an end of the recording"
    if any(first < start <= last for start in recording.segments):
        return "across a break"
    if any(start <= last and first < stop for start, stop in recording.bad):
        return "in a span marked bad"
    return ""


def _reject(cut: _Cut, config: TrainConfig) -> NDArray[np.bool_]:
    """Let MNE drop trials by amplitude, and count why; gives which of the cut's trials are kept, (n_epochs,)."""
    epochs, limits = cut.epochs, config.trials
    swing_uv = _peak_to_peak_uv(epochs)  # (n_epochs, n_channels)
    keep = np.array([np.isfinite(row).all() for row in swing_uv], bool)  # (n_epochs,)
    if not keep.all():
        cut.dropped["with values that are not finite"] += int((~keep).sum())
    index = np.flatnonzero(keep)
    epochs.drop(np.flatnonzero(~keep), reason="not finite", verbose="error")
    before = epochs.selection
    epochs.drop_bad(
        reject={"eeg": limits.reject_uv / _UV_PER_V} if limits.reject_uv else None,
        flat={"eeg": limits.flat_uv / _UV_PER_V} if limits.flat_uv else None,
        verbose="error",
    )
    by_amplitude = ~np.isin(before, epochs.selection)
    keep[index[by_amplitude]] = False
    guilty = Counter(name for i in before[by_amplitude] for name in epochs.drop_log[i])
    if guilty:
        worst = named([f"{name} {n}" for name, n in guilty.most_common()])
        cut.dropped[f"of amplitude outside {limits.flat_uv:g} to {limits.reject_uv or np.inf:g} uV ({worst})"] += int(
            by_amplitude.sum()
        )
    return keep


# -- what comes out ------------------------------------------------------------------------------------------------


def _counts(labels: Any, n_classes: int) -> tuple[int, ...]:
    return tuple(int(n) for n in np.bincount(np.asarray(labels, np.int64), minlength=n_classes))


def _file_report(cut: _Cut, keep: NDArray[np.bool_], n_classes: int) -> FileReport:
    return FileReport(
        source=cut.recording.source,
        n_events=cut.n_events,
        n_trials=_counts(cut.labels[keep], n_classes),
        dropped=tuple(cut.dropped.items()),
    )


def _collect(
    cuts: Sequence[_Cut], kept: Sequence[NDArray[np.bool_]], report: TrialReport, *, config: TrainConfig
) -> Epochs:
    last, _ = _window(config, report.sfreq_hz)
    x_v = np.concatenate([cut.epochs.get_data(copy=False, verbose="error") for cut in cuts])
    subjects = {cut.recording.subject for cut in cuts}
    recorded_hz = set(report.recorded_hz) - {report.sfreq_hz}
    return Epochs(
        x_uv=np.ascontiguousarray((x_v * _UV_PER_V).transpose(0, 2, 1), dtype=np.float32),
        labels=np.concatenate([cut.labels[keep] for cut, keep in zip(cuts, kept, strict=True)]),
        classes=report.classes,
        channels=report.channels,
        sfreq_hz=report.sfreq_hz,
        window_end_ms=config.trials.window_ms[1],
        source=", ".join(cut.recording.source for cut in cuts),
        subject=subjects.pop() if len(subjects) == 1 else "",
        resampled_from_hz=min(recorded_hz) if recorded_hz else None,
        at_s=np.concatenate([cut.samples[keep] + last for cut, keep in zip(cuts, kept, strict=True)]) / report.sfreq_hz,
        files=np.concatenate([np.full(int(keep.sum()), i) for i, keep in enumerate(kept)]).astype(np.int64),
    )
