"""Opens an EDF or BDF file as a `Recording`. Used by `open_recording`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretap.config.recording import RecordingConfig
from pretap.errors import DataError
from pretap.recordings.channel_types import drop_twins, find_eeg_channels, is_electrode
from pretap.recordings.edf.annotations import read_annotations
from pretap.recordings.edf.header import Header, Signal, read_header
from pretap.recordings.edf.samples import read_samples
from pretap.recordings.edf.times import RecordTimes, record_times
from pretap.recordings.reading.overrides import replace_labels, replace_rate
from pretap.recordings.reading.placement import Annotation, TimeAxis, place_annotations, sentences
from pretap.recordings.reading.units import names_no_unit, uv_factors
from pretap.recordings.recording import Recording
from pretap.signal.channels import unknown_channel
from pretap.signal.trigger import TriggerChannel

_SUFFIXES = (".edf", ".bdf", ".edf+", ".bdf+", ".rec")
_TRIGGERS = ("status", "trigger")  # labels of channels whose codes are events in every file


def is_edf(path: Path) -> bool:
    """Whether a file is EDF or BDF, by its name."""
    return path.name.lower().endswith(_SUFFIXES)


def lacks_units(path: Path) -> bool:
    """Whether no signal of an EDF or BDF file names its unit."""
    return all(names_no_unit(each.unit) for each in read_header(path).signals if not each.has_annotations)


def open_edf(path: Path, config: RecordingConfig) -> Recording:
    """Open an EDF, EDF+, BDF or BDF+ file; its samples are read on demand.

    The EEG channels with the most common rate are read. Annotations become events, and so do the codes of channels
    called Status or Trigger.

    Parameters
    ----------
    path
        The file.
    config
        Replaces labels, the unit or the rate, and chooses EEG channels and a trigger channel.

    Raises
    ------
    DataError
        If the file is not EDF or BDF, has no whole record, or has no EEG in a known unit.
    """
    header = read_header(path)
    signals = [each for each in header.signals if not each.has_annotations]
    labels = replace_labels([each.label for each in signals], config, source=str(path))
    chosen, left_out = _choose(header, signals, labels, config)
    eeg = [signals[i] for i in chosen]
    n_per_record, n_samples = eeg[0].n_per_record, header.n_records * eeg[0].n_per_record
    sfreq_hz = header.rate_hz(eeg[0])

    def read_file(start: int, stop: int) -> NDArray[np.float32]:
        start, stop, _ = slice(start, stop).indices(n_samples)
        return read_samples(header, eeg, start, max(start, stop))

    def read_uv(start: int, stop: int) -> NDArray[np.float32]:
        x = read_file(start, stop)
        x *= factors
        return x

    factors, unit_note = uv_factors(
        [each.unit for each in eeg],
        [labels[i] for i in chosen],
        unit=config.unit,
        read=read_file,
        n_samples=n_samples,
        sfreq_hz=sfreq_hz,
        source=str(path),
    )
    onsets, annotations = read_annotations(header)
    times = record_times(header, onsets, sfreq_hz=sfreq_hz)
    axis = TimeAxis(
        sfreq_hz=sfreq_hz,
        n_samples=n_samples,
        segments=(0, *(k * n_per_record for k in times.pauses)),
        t_s=None if times.is_regular else times.sample_times_s(n_per_record, header.record_s),
    )
    since_start = [Annotation(each.onset_s - times.start_s, each.duration_s, each.text) for each in annotations]
    codes = _codes(header, signals, labels, times, config.cue_channel)
    events, segments, bad, lost_note = place_annotations(
        since_start, axis, codes=codes, only_codes=bool(config.cue_channel)
    )
    recording = Recording(
        channels=tuple(labels[i] for i in chosen),
        sfreq_hz=sfreq_hz,
        n_samples=n_samples,
        events=events,
        read=read_uv,
        source=path.name,
        subject=header.subject,
        left_out=left_out,
        notes=sentences(
            header.describe_length(), _describe_rates(header, signals, eeg), unit_note, times.note, lost_note
        ),
        segments=segments,
        bad=bad,
        t_s=axis.t_s,
    )
    return replace_rate(recording, config.sfreq_hz)


def _choose(
    header: Header, signals: Sequence[Signal], labels: Sequence[str], config: RecordingConfig
) -> tuple[list[int], tuple[tuple[str, str], ...]]:
    """Return the indices of the EEG channels that share the most common rate, and those left out with a reason.

    The most common rate is that of most channels that are called like electrodes.
    """
    path = header.path
    if config.cue_channel and config.cue_channel not in labels:
        raise DataError(f"{path} {unknown_channel(config.cue_channel, labels)}")
    kept, left_out = find_eeg_channels(
        labels,
        types=[""] * len(labels),
        units=[each.unit for each in signals],
        source=str(path),
        eeg=config.eeg,
        without=config.cue_channel,
    )
    usable = [i for i in kept if signals[i].gain != 0 and signals[i].n_per_record > 0]
    if not usable:
        raise DataError(f"{path}: no EEG channel has samples and a range of values in its header. Export it again.")
    n_of_rate = Counter(signals[i].n_per_record for i in usable)
    n_electrodes = Counter(signals[i].n_per_record for i in usable if is_electrode(labels[i]))
    n_per_record = max(n_of_rate, key=lambda n: (n_electrodes[n], n_of_rate[n], n))  # the higher of two equal rates
    chosen = [i for i in usable if signals[i].n_per_record == n_per_record]
    for i in kept:
        if i not in usable:
            left_out = (*left_out, (labels[i], "its header defines no range of values"))
        elif i not in chosen:
            left_out = (*left_out, (labels[i], f"its rate is {header.rate_hz(signals[i]):g} Hz"))

    def read(i: int) -> NDArray[np.float32]:
        return read_samples(header, [signals[i]], 0, header.n_records * signals[i].n_per_record)[:, 0]

    chosen, twins = drop_twins(chosen, labels, read=read, eeg=config.eeg)
    return chosen, left_out + twins


def _codes(
    header: Header, signals: Sequence[Signal], labels: Sequence[str], times: RecordTimes, cue_channel: str
) -> list[Annotation]:
    """Return the codes of the trigger channel or, without one, of all channels called Status or Trigger."""
    codes = []
    for signal, label in zip(signals, labels, strict=True):
        n = signal.n_per_record
        if not (label == cue_channel if cue_channel else label.lower() in _TRIGGERS) or n == 0:
            continue
        values = np.rint(read_samples(header, [signal], 0, header.n_records * n, dtype=np.float64)[:, 0])
        for sample, text in TriggerChannel(label).process(values):
            onset_s = float(times.onsets_s[sample // n]) + sample % n * (header.record_s / n)
            codes.append(Annotation(onset_s, 0.0, text))
    return codes


def _describe_rates(header: Header, signals: Sequence[Signal], eeg: Sequence[Signal]) -> str:
    """Return a sentence if channels of the file have another rate than the EEG; otherwise nothing."""
    rates = sorted({header.rate_hz(each) for each in signals} - {header.rate_hz(eeg[0])})
    if not rates:
        return ""
    others = ", ".join(f"{rate_hz:g} Hz" for rate_hz in rates)
    return (
        f"{header.path.name} has channels of several rates. The {len(eeg)} EEG channels at "
        f"{header.rate_hz(eeg[0]):g} Hz are read as they are; those at {others} are left out."
    )
