"""A continuous recording with its events, from a file of any format. Used by `replay`, `score` and `train`."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pretap.errors import DataError
from pretap.recordings.epochs import TIE_SAMPLES, Epochs
from pretap.signal.channels import electrode_names, match_channels
from pretap.spelling import counted


@dataclass(frozen=True, order=True)
class Event:
    """A marker in a recording: the nearest sample, the text, and how much later than that sample it is."""

    sample: int
    text: str
    late_s: float = 0.0


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording whose samples are read on demand, time first, in microvolts.

    Attributes
    ----------
    channels
        Channel names in the order of the last axis.
    sfreq_hz
        Sampling rate in hertz.
    n_samples
        Length in samples.
    events
        Sorted by sample. An event whose ``|late_s|`` is more than a sample is in a break or outside the recording. It
        is replayed, but no window may be cut around it.
    segments
        First samples of the unbroken segments; the first one is 0. No window may cross the start of a segment.
    connections
        First samples that the live service read after each time it connected, if this is the recording of a session.
    bad
        Spans ``(start, stop)``, in samples, that are marked as bad (MNE's ``BAD_...`` annotations).
    t_s
        When the samples were taken, on the recorder's clock, (n_samples,); None if that is ``n / sfreq_hz``.
    recorded_s
        The timestamps as they were recorded, with their jitter, (n_samples,); None if they are `t_s`.
    read
        ``read(start, stop)`` returns float32 (stop - start, n_channels) in microvolts.
    source
        A description of the recording.
    subject
        An identifier of the subject; empty if unknown.
    left_out
        Channels of the file that are not used, as (name, reason).
    notes
        Sentences for the user about how the file was read, such as an assumed unit.
    trials
        The trials that were joined to this recording (`from_epochs`), otherwise None.
    """

    channels: tuple[str, ...]
    sfreq_hz: float
    n_samples: int
    events: tuple[Event, ...]
    read: Callable[[int, int], NDArray[np.float32]]
    source: str
    subject: str = ""
    left_out: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    trials: Epochs | None = None
    segments: tuple[int, ...] = (0,)
    connections: tuple[int, ...] = (0,)
    bad: tuple[tuple[int, int], ...] = ()
    t_s: NDArray[np.float64] | None = None
    recorded_s: NDArray[np.float64] | None = None

    def times_s(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return when these samples were taken, (stop - start,), on the recorder's clock."""
        return np.arange(start, stop) / self.sfreq_hz if self.t_s is None else self.t_s[start:stop]

    def timestamps_s(self, start: int, stop: int) -> NDArray[np.float64]:
        """Return the timestamps (stop - start,) of these samples as they were recorded, with their jitter."""
        return self.times_s(start, stop) if self.recorded_s is None else self.recorded_s[start:stop]

    def event_s(self, event: Event) -> float:
        """Return the time of an event on the recorder's clock."""
        return float(self.times_s(event.sample, event.sample + 1)[0]) + event.late_s


def sample_at(recording: Recording, event: Event, *, offset_s: float) -> int:
    """Find the sample nearest to `offset_s` after an event, by the timestamps of the event's segment.

    Halfway between two samples it is the later one, as in the live service (`CueLocked`). Outside the segment, samples
    are counted at the nominal rate.
    """
    t_s = recording.t_s
    if t_s is None:
        return _nearest(event.sample + (event.late_s + offset_s) * recording.sfreq_hz)
    k = bisect_right(recording.segments, event.sample)
    start = recording.segments[k - 1]
    stop = recording.segments[k] if k < len(recording.segments) else recording.n_samples
    wanted_s = float(t_s[event.sample]) + event.late_s + offset_s
    after = start + int(np.searchsorted(t_s[start:stop], wanted_s))
    if after == start:
        return _nearest(start + (wanted_s - float(t_s[start])) * recording.sfreq_hz)
    if after == stop:
        return _nearest(stop - 1 + (wanted_s - float(t_s[stop - 1])) * recording.sfreq_hz)
    tie_s = 2 * TIE_SAMPLES / recording.sfreq_hz
    return after - 1 if wanted_s - t_s[after - 1] + tie_s < t_s[after] - wanted_s else after


def _nearest(position: float) -> int:
    return math.floor(position + 0.5 + TIE_SAMPLES)


def pick(recording: Recording, channels: Sequence[str]) -> Recording:
    """Return the recording with only these channels, in this order, matched by name."""
    order = match_channels(channels, recording.channels, stream=recording.source, error=DataError)
    return replace(
        recording,
        channels=tuple(recording.channels[i] for i in order),
        read=lambda start, stop: recording.read(start, stop)[:, order],
    )


def describe_channels(recording: Recording, *, wanted: Sequence[str] = ()) -> list[str]:
    """Return lines for the user: the channels used and missing, those left out with the reason, and the notes.

    `wanted` are the channels of a bundle; without them all channels of the recording are used.
    """
    found = set(electrode_names(recording.channels))
    electrodes = dict(zip(wanted or recording.channels, electrode_names(wanted or recording.channels), strict=True))
    used = [name for name, electrode in electrodes.items() if electrode in found]
    missing = [name for name in electrodes if name not in used]
    lines = [f"uses {counted(len(used), 'channel')}: {', '.join(used)}"]
    if missing:
        lines.append(f"missing: {', '.join(missing)}")
    return [*lines, *describe_left_out(recording.left_out), *recording.notes]


def describe_left_out(left_out: Sequence[tuple[str, str]]) -> list[str]:
    """Return a line for each reason, with the channels that are left out for it."""
    names: dict[str, list[str]] = {}
    for name, why in left_out:
        names.setdefault(why, []).append(name)
    return [f"left out ({why}): {', '.join(each)}" for why, each in names.items()]


def from_epochs(epochs: Epochs) -> Recording:
    """Join trials end to end, with the markers ``trial/<n>/start`` and ``trial/<n>/end`` (and ``/<label>`` if known).

    The start marker is at the first sample of a trial, the end marker at the last one. The signal is discontinuous
    between trials, so only windows within one trial are meaningful.
    """
    n = epochs.n_samples
    flat = np.ascontiguousarray(epochs.x_uv.reshape(-1, len(epochs.channels)))  # (n_epochs * n_samples, n_channels)
    events = []
    for trial in range(len(epochs)):
        label = "" if epochs.labels is None else "/" + epochs.classes[int(epochs.labels[trial])]
        events.append(Event(trial * n, f"trial/{trial}/start{label}"))
        events.append(Event(trial * n + n - 1, f"trial/{trial}/end{label}"))
    return Recording(
        channels=epochs.channels,
        sfreq_hz=epochs.sfreq_hz,
        n_samples=len(flat),
        events=tuple(events),
        read=lambda start, stop: flat[start:stop],
        source=epochs.source,
        subject=epochs.subject,
        trials=epochs,
    )
