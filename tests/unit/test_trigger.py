"""Trigger channels: the codes of a whole file are those of MNE, and the codes of a stream are those of the file."""

from __future__ import annotations

import mne
import numpy as np
import pytest

from pretap.config.recording import RecordingConfig
from pretap.errors import DataError
from pretap.recordings.continuous import recording_from_raw
from pretap.recordings.recording import Event
from pretap.signal.trigger import TriggerChannel

SFREQ_HZ = 100.0


def codes(seed: int, *, bits: int, n: int = 2000, held: bool = True) -> np.ndarray:
    """Return random codes (n,): held for some samples, or changing at each sample, often back to 0."""
    rng = np.random.default_rng(seed)
    found = rng.integers(0, 1 << bits, n) * rng.integers(0, 2, n)
    return np.repeat(found, rng.integers(1, 9, n))[:n] if held else found


def raw(stim: dict[str, np.ndarray]) -> mne.io.RawArray:
    rows = [np.zeros(len(next(iter(stim.values())))), *stim.values()]
    info = mne.create_info(["C3", *stim], SFREQ_HZ, ["eeg", *["stim"] * len(stim)])
    return mne.io.RawArray(np.array(rows, float), info, first_samp=300, verbose="error")


def of_mne(recording: mne.io.RawArray, **options) -> tuple[Event, ...]:
    options = {"mask": None, "uint_cast": True} | options
    rows = mne.find_events(recording, consecutive=True, shortest_event=1, mask_type="and", verbose="error", **options)
    return tuple(sorted({Event(int(sample) - 300, str(code)) for sample, _, code in rows}))


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("bits", [1, 3, 8, 16])
def test_the_events_of_a_file_and_of_a_stream_are_those_of_mne(bits, held):
    for seed in range(5):
        values = codes(seed, bits=bits, held=held)
        whole = raw({"Trig": values})
        expected = of_mne(whole)
        assert len(expected) > 50
        assert recording_from_raw(whole).events == expected
        assert recording_from_raw(whole, config=RecordingConfig(cue_channel="Trig")).events == expected


def test_the_joint_channel_of_several_and_events_that_coincide_are_those_of_mne():
    a, b = codes(1, bits=3), codes(2, bits=3)
    b[500:] = a[500:]
    for names in (("A", "B"), ("STI 014", "B"), ("A", "STI101")):
        whole = raw(dict(zip(names, (a, b), strict=True)))
        assert recording_from_raw(whole).events == of_mne(whole), names


def test_biosemi_codes_are_those_of_mne_with_the_lines_that_float_masked():
    narrow = codes(1, bits=8) | 0xFF00 | (1 << 20)
    wide = codes(1, bits=16) | (1 << 20)
    for values, mask in ((narrow, 0xFF), (wide, 0xFFFF)):
        whole = raw({"Status": values})
        expected = of_mne(whole, mask=mask, uint_cast=False)
        assert recording_from_raw(whole).events == expected
    assert recording_from_raw(raw({"Status": narrow}), config=RecordingConfig(cue_channel="Status")).events == of_mne(
        raw({"Status": narrow}), mask=0xFF, uint_cast=False
    )


def test_the_mask_of_biosemi_holds_for_its_own_channel_only():
    status = codes(1, bits=8) | 0xFF00
    wide = np.zeros(len(status), int)
    wide[500:510], wide[700:710] = 0x0105, 0x0205
    only_wide = recording_from_raw(raw({"Trig": wide})).events
    assert {event.text for event in only_wide} == {"261", "517"}
    both = recording_from_raw(raw({"Status": status, "Trig": wide})).events
    assert set(both) == set(only_wide) | set(recording_from_raw(raw({"Status": status})).events)


def test_codes_in_a_channel_that_mne_takes_for_eeg_are_read_in_microvolts_and_are_not_eeg():
    values = codes(4, bits=3)
    info = mne.create_info(["C3", "TTL"], SFREQ_HZ, "eeg")
    whole = mne.io.RawArray(np.array([np.zeros(len(values)), values * 1e-6]), info, verbose="error")
    recording = recording_from_raw(whole, config=RecordingConfig(cue_channel="TTL"))
    assert recording.channels == ("C3",)
    assert [(each.sample, each.text) for each in recording.events] == TriggerChannel("TTL").process(
        values.astype(float)
    )
    with pytest.raises(DataError, match=r"has no channel 'ttl', .* It has C3, TTL. Did you mean 'TTL'"):
        recording_from_raw(whole, config=RecordingConfig(cue_channel="ttl"))


def test_how_a_stream_is_cut_into_chunks_decides_nothing():
    rng = np.random.default_rng(3)
    values = codes(3, bits=9).astype(float)
    values[rng.integers(0, len(values), 40)] = np.nan
    values[700] = np.inf
    for name in ("TTL", "Status"):
        whole = TriggerChannel(name).process(values)
        assert len(whole) > 100
        channel, parts, start = TriggerChannel(name), [], 0
        while start < len(values):
            stop = start + int(rng.integers(1, 40))
            parts += [(start + i, code) for i, code in channel.process(values[start:stop])]
            start = stop
        assert parts == whole


def test_a_value_that_is_not_finite_is_no_change():
    assert TriggerChannel("TTL").process(np.array([0, 5, np.nan, 5, np.nan, 6, 0, np.inf])) == [(1, "5"), (5, "6")]
    assert TriggerChannel("TTL").process(np.array([np.nan, np.nan])) == []


def test_the_code_that_a_stream_begins_with_is_no_event():
    channel = TriggerChannel("TTL")
    assert channel.process(np.array([4.0])) == []
    assert channel.process(np.array([4.0, 0.0, 4.0])) == [(2, "4")]


def test_the_upper_lines_of_biosemi_count_from_their_first_change_on():
    values = np.array([0xFF00, 0xFF01, 0xFF00, 0x0001, 0x0001, 0x0002], float)
    assert TriggerChannel("Status").process(values) == [(1, "1"), (3, "1"), (5, "2")]
    assert TriggerChannel("status").process(values[:3]) == [(1, "1")]
