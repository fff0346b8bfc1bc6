"""Resampling of trials and recordings. It preserves the end of the window, which is the most informative part."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pretap.errors import DataError, UsageError
from pretap.extras import import_extra
from pretap.recordings.blocks import BlockReader
from pretap.recordings.epochs import Epochs
from pretap.recordings.recording import Event, Recording
from pretap.signal.resampler import Resampler

__all__ = ["resample_epochs", "resample_recording"]


def resample_epochs(epochs: Epochs, *, sfreq_hz: float) -> Epochs:
    """Resample trials to `sfreq_hz` and keep the time of the last sample of each window.

    This is ``scipy.signal.resample_poly(..., padtype="line")`` of the time-reversed window, reversed back. From 100 to
    1000 Hz, sample k moves to index 10 k + 9: the last sample stays the last one, and only the first nine are
    extrapolated. Without the reversal and with zero padding, the last ten samples would fade out. To a lower rate, the
    last sample and every `down`-th one before it are kept, after the anti-alias filter.

    Parameters
    ----------
    epochs
        Trials at any rate; they are returned as they are if it is `sfreq_hz`.
    sfreq_hz
        The new rate in hertz. The ratio of the rates is rounded to a fraction with a denominator of at most 10 000.

    Returns
    -------
    Epochs
        float32, (n_epochs, ceil(n_samples * ratio), n_channels). Labels and `trial_ids` (of the trials as read) do not
        change; `resampled_from_hz` is the rate of the file.
    """
    if not (math.isfinite(sfreq_hz) and sfreq_hz > 0):
        raise UsageError(f"Cannot resample to {sfreq_hz} Hz: expected a positive rate.")
    if sfreq_hz == epochs.sfreq_hz:
        return epochs
    resample_poly = import_extra("scipy.signal", needed_by="Resampling").resample_poly
    ratio = (Fraction(sfreq_hz) / Fraction(epochs.sfreq_hz)).limit_denominator(10_000)
    if ratio == 0:
        raise UsageError(
            f"Cannot resample from {epochs.sfreq_hz:g} to {sfreq_hz:g} Hz: less than one sample in 10 000."
        )
    reversed_uv = epochs.x_uv[:, ::-1].astype(np.float64)  # (n_epochs, n_samples, n_channels)
    out_uv = resample_poly(reversed_uv, ratio.numerator, ratio.denominator, axis=1, padtype="line")
    return replace(
        epochs,
        x_uv=np.ascontiguousarray(out_uv[:, ::-1], dtype=np.float32),  # (n_epochs, n_samples * ratio, n_channels)
        sfreq_hz=float(sfreq_hz),
        resampled_from_hz=epochs.sfreq_hz if epochs.resampled_from_hz is None else epochs.resampled_from_hz,
        trial_ids=epochs.trial_ids,
    )


_PIECE_S = 10.0  # length of the pieces that are read


def resample_recording(recording: Recording, *, sfreq_hz: float) -> Recording:
    """Resample a continuous recording to exactly the samples that the live service would get from a stream.

    The filter is reset for each unbroken segment. Samples that fill the filter have no output, so a segment loses
    ``2 * delay_s`` of its length. Events keep their times (`late_s` has the difference to the new sample), bad spans
    grow by the reach of the filter, and `t_s` has the time of each sample.

    Returns
    -------
    Recording
        At `sfreq_hz`, resampled when it is read; it is returned as it is if that is its rate.
    """
    if sfreq_hz == recording.sfreq_hz:
        return recording
    rates = {"from_hz": recording.sfreq_hz, "to_hz": sfreq_hz}
    resampler = Resampler(**rates, n_channels=len(recording.channels))
    edges = [*recording.segments, recording.n_samples]
    n_outputs = [resampler.n_outputs(stop - start) for start, stop in pairwise(edges)]
    starts: list[int] = [0, *np.cumsum(n_outputs).tolist()]
    n_out = starts.pop()
    if not n_out:
        raise DataError(f"{recording.source}: too short to be resampled to {sfreq_hz:g} Hz.")
    t_s = np.empty(n_out)
    timing = Resampler(**rates, n_channels=0)
    n_piece = max(1, round(_PIECE_S * recording.sfreq_hz))
    for k, (start, stop) in enumerate(pairwise(edges)):
        timing.reset()
        n_done = starts[k]
        for first in range(start, stop, n_piece):
            last = min(first + n_piece, stop)
            _, out_s = timing.process(np.empty((last - first, 0), np.float32), recording.times_s(first, last))
            t_s[n_done : n_done + len(out_s)] = out_s
            n_done += len(out_s)

    def read(start: int, stop: int) -> NDArray[np.float32]:
        x_uv = np.empty((stop - start, len(recording.channels)), np.float32)
        for k, (first, last) in enumerate(pairwise([*starts, n_out])):
            begin, end = max(start, first), min(stop, last)
            if begin < end:
                source = edges[k] + resampler.reset(output=begin - first)
                source_end = edges[k] + resampler.input_end(end - 1 - first)
                samples = recording.read(source, source_end)
                x_uv[begin - start : end - start], _ = resampler.process(samples, np.zeros(len(samples)))
        return x_uv

    def nearest(sample: float, k: int) -> int:
        """Return the output sample nearest to an input sample of segment `k`, within that segment."""
        last = (starts[k + 1] if k + 1 < len(starts) else n_out) - 1
        m = round((sample - recording.segments[k] - resampler.lead) / resampler.step)
        return min(max(starts[k] + m, starts[k], 0), max(last, starts[k], 0), n_out - 1)

    def event(each: Event) -> Event:
        k = bisect_right(recording.segments, each.sample) - 1  # of the sample: the event itself may be in a break
        sample = nearest(each.sample + each.late_s * recording.sfreq_hz, k)
        return Event(sample, each.text, recording.event_s(each) - float(t_s[sample]))

    def spans(start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Return a bad span with the reach of the filter, for each segment: the filter does not reach across breaks."""
        for k, (first, end) in enumerate(pairwise(edges)):
            is_empty = starts[k] == (starts[k + 1] if k + 1 < len(starts) else n_out)
            if start < end and stop > first and not is_empty:
                yield nearest(max(start, first) - reach, k), nearest(min(stop, end) + reach, k) + 1

    reach = resampler.lead + 1
    return replace(
        recording,
        sfreq_hz=float(sfreq_hz),
        n_samples=n_out,
        events=tuple(sorted(event(each) for each in recording.events)),
        segments=tuple(start for k, start in enumerate(starts) if start not in starts[k + 1 :] and start < n_out),
        bad=tuple(span for start, stop in recording.bad for span in spans(start, stop)),
        t_s=t_s,
        recorded_s=None,
        read=BlockReader(read, n_samples=n_out, n_channels=len(recording.channels)),
        source=f"{recording.source}, resampled from {recording.sfreq_hz:g} to {sfreq_hz:g} Hz",
        trials=None,
    )
