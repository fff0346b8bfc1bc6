"""run_over: runs the live pipeline over a recording. Used by `score` and `tune`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np

from pretap.bundle.manifest import Manifest
from pretap.config.serve import ServeConfig, StreamConfig
from pretap.decoder.decoder import Decoder
from pretap.errors import DataError, StreamRefusedError
from pretap.recordings.epochs import trial_sha256
from pretap.recordings.events import matches
from pretap.recordings.recording import Recording, sample_at
from pretap.recordings.resample import resample_recording
from pretap.signal.channels import MISSING, match_channels
from pretap_realtime.decide.cues import bundle_cues
from pretap_realtime.decide.modes import CueLocked, Mode
from pretap_realtime.decide.pipeline import Pipeline
from pretap_realtime.signal.chunk import Chunk, Cue, Decision
from pretap_realtime.signal.compatibility import Description, Mapping, check_stream

PATIENCE_S = 3.0  # progress is not reported for shorter runs


@dataclass(frozen=True)
class RunCounts:
    """Samples of a recording, and how many of its trials the bundle was trained on (None if that is unknown)."""

    n_received: int
    n_lost: int
    n_trained_on: int | None


def run_over(
    recording: Recording,
    decoder: Decoder,
    mode: Mode,
    *,
    n_chunk: int,
    on_decisions: Callable[[Sequence[Decision]], None],
    advance: Callable[[int], None] = lambda _: None,
    settings: ServeConfig = ServeConfig(),  # noqa: B008 - frozen
) -> RunCounts:
    """Run a recording, with its events as cues, through the live pipeline.

    The recording is treated as `pretap serve` treats a stream: other rates are resampled, and a few missing channels
    interpolated. Timestamps are those of the recording's clock.

    Parameters
    ----------
    on_decisions
        Called with the decisions as they are made; a list of all decisions at every sample of an hour would take 1 GB.
    advance
        Called with the number of samples of each chunk that is done.
    settings
        Only `stream`, `quality` and `cue.channel` are used. If there is a channel, all events are its codes. The
        recording is read with the channels, the unit and the rate of `stream` already.

    Raises
    ------
    DataError
        If the recording does not fit the bundle.
    """
    mapping = _check_recording(recording, decoder, settings.stream)
    order = np.array(mapping.order)
    present = order != MISSING
    pipeline = Pipeline(decoder, mode, max_interpolated=settings.stream.max_interpolated, quality=settings.quality)
    pipeline.reset(sfreq_hz=mapping.sfreq_hz, missing=mapping.missing, order=mapping.order)

    is_cued = isinstance(mode, CueLocked)
    events = recording.events if is_cued else ()
    codes = deque(events if settings.cue.channel else ())  # each is at its sample
    cues = deque(Cue(recording.event_s(event), event.text) for event in events if not settings.cue.channel)
    for start, stop in _chunks(recording, n_chunk):
        if start in recording.connections[1:]:  # the live service lost the stream before
            lost_s = float(recording.timestamps_s(start, stop)[0])
            on_decisions(pipeline.interrupt(lost_s, "the stream was lost"))
            pipeline.reset(sfreq_hz=mapping.sfreq_hz, missing=mapping.missing, order=mapping.order)
        t_s = recording.timestamps_s(start, stop)
        while cues and cues[0].t_s <= t_s[-1]:
            cue = cues.popleft()
            on_decisions(pipeline.ask(cue, arrived_s=cue.t_s))
        x_uv = np.where(present, recording.read(start, stop)[:, order], np.float32(0))  # (n_new, n_channels)
        here: list[Cue] = []
        while codes and codes[0].sample < stop:
            event = codes.popleft()
            here.append(Cue(recording.event_s(event), event.text, row=event.sample - start))
        on_decisions(pipeline.process(Chunk(x_uv, t_s, cues=tuple(here))))
        advance(stop - start)
    on_decisions(pipeline.close())
    for cue in cues:  # after the last sample
        on_decisions(pipeline.ask(cue, arrived_s=cue.t_s))
    if is_cued:
        on_decisions(pipeline.expire(np.inf))
    counts = pipeline.front_end.losses.counts
    return RunCounts(counts.n_received, counts.n_lost, _n_trained_on(recording, decoder.manifest))


def _chunks(recording: Recording, n_chunk: int) -> Iterator[tuple[int, int]]:
    """Yield the first and last samples of the chunks: from the first connection on, and none across another one."""
    for first, last in pairwise([*recording.connections, recording.n_samples]):
        for start in range(first, last, n_chunk):
            yield start, min(start + n_chunk, last)


def _check_recording(recording: Recording, decoder: Decoder, stream: StreamConfig) -> Mapping:
    description = Description(
        name=recording.source,
        hostname="",
        format="float32",
        n_channels=len(recording.channels),
        sfreq_hz=recording.sfreq_hz,
        labels=recording.channels,
        units=("uV",) * len(recording.channels),
    )
    stream = msgspec.structs.replace(stream, channels=(), unit="", sfreq_hz=None)
    try:
        return check_stream(description, decoder.manifest, stream, interpolation=decoder.interpolation)
    except StreamRefusedError as error:
        raise DataError(str(error)) from None


def _n_trained_on(recording: Recording, manifest: Manifest) -> int | None:
    """Count the trials of a recording that the bundle was trained on: cut as `pretap train` cuts them, and hashed.

    None if a channel is missing, because the hashes cannot be compared then.
    """
    if recording.trials is not None:
        return manifest.training.count_known(recording.trials.trial_ids)
    patterns, _ = bundle_cues(manifest)
    try:
        order = match_channels(manifest.channels, recording.channels, stream=recording.source)
    except StreamRefusedError:  # a channel is missing and interpolated
        return None
    if not any(matches(event.text, patterns) for event in recording.events):
        return 0
    at_rate = resample_recording(recording, sfreq_hz=manifest.sfreq_hz)
    ends = {
        sample_at(at_rate, event, offset_s=manifest.window_end_ms / 1000) + 1
        for event in at_rate.events
        if matches(event.text, patterns)
    }
    complete = (end for end in ends if manifest.n_window <= end <= at_rate.n_samples)
    return manifest.training.count_known(
        trial_sha256(at_rate.read(end - manifest.n_window, end)[:, order]) for end in complete
    )
