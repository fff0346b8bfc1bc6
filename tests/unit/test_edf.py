"""EDF and BDF: samples of mixed rates, pauses, times of events, units, and files that are cut."""

from __future__ import annotations

import mne
import numpy as np
import pytest

from edf_files import Signal, annotation, write_edf
from pretap.config.recording import RecordingConfig
from pretap.errors import DataError
from pretap.recordings.continuous import open_recording, recording_from_raw
from pretap.recordings.recording import Event, sample_at

SUFFIXES = ["edf", "bdf"]


def counted(label: str, n_per_record: int, n_records: int, *, first: int = 0, **options) -> Signal:
    """A signal whose value is the index of its sample, from `first` on."""
    return Signal(label, np.arange(first, first + n_per_record * n_records), n_per_record, **options)


def eeg(n_per_record: int = 100, n_records: int = 6, **options) -> list[Signal]:
    return [counted(name, n_per_record, n_records, first=1000 * i, **options) for i, name in enumerate(("C3", "C4"))]


def noise(n: int = 2000, *, spread: float = 10.0) -> np.ndarray:
    return np.random.default_rng(0).normal(0, spread, n).round().astype(int)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("other", [25, 64, 200, 1])
def test_the_samples_of_eeg_beside_another_rate_are_those_in_the_file(tmp_path, suffix, other):
    signals = [counted("ECG", other, 6, first=-500), *eeg(), counted("SpO2", 1, 6, unit="%")]
    recording = open_recording(write_edf(tmp_path / f"x.{suffix}", signals))
    assert (recording.channels, recording.sfreq_hz, recording.n_samples) == (("C3", "C4"), 100.0, 600)
    expected = np.stack([np.arange(600), np.arange(1000, 1600)], axis=1)  # (n_samples, n_channels)
    assert np.array_equal(recording.read(0, 600), expected)
    for start, stop in ((0, 1), (99, 101), (250, 333), (599, 600), (42, 42)):
        assert np.array_equal(recording.read(start, stop), expected[start:stop])
    assert [name for name, _ in recording.left_out] == ["ECG", "SpO2"]
    assert f"{other} Hz" in recording.notes[0]
    assert "2 EEG channels at 100 Hz" in recording.notes[0]


def test_a_raw_of_mne_with_mixed_rates_is_refused_unless_it_is_loaded(tmp_path):
    """MNE resamples each span that it reads on demand on its own, which makes its ends wrong."""
    path = write_edf(tmp_path / "x.edf", [*eeg(), counted("ECG", 200, 6)])
    with pytest.raises(DataError, match="preload=True"):
        recording_from_raw(mne.io.read_raw_edf(path, verbose="error"))
    assert recording_from_raw(mne.io.read_raw_edf(path, preload=True, verbose="error")).channels == ("C3", "C4")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_of_eeg_at_several_rates_the_most_common_one_is_read(tmp_path, order):
    signals = [*eeg(), counted("Cz", 200, 6)]
    recording = open_recording(write_edf(tmp_path / "x.edf", [signals[i] for i in order]))
    assert sorted(recording.channels) == ["C3", "C4"]
    assert recording.sfreq_hz == 100.0
    assert recording.left_out == (("Cz", "its rate is 200 Hz"),)
    assert recording.read(0, 600)[:, recording.channels.index("C3")].tolist() == list(range(600))


def test_electrodes_decide_which_rate_is_the_most_common_one(tmp_path):
    signals = [*eeg(128), *(counted(name, 256, 6) for name in ("X1", "X2", "X3"))]
    recording = open_recording(write_edf(tmp_path / "x.edf", signals))
    assert (recording.channels, recording.sfreq_hz) == (("C3", "C4"), 128.0)
    assert [name for name, _ in recording.left_out] == ["X1", "X2", "X3"]


@pytest.mark.parametrize("twin", [counted("T7", 200, 6), counted("T7", 100, 6, gain=0.0)])
def test_of_two_channels_of_one_electrode_the_one_that_can_be_read_is_used(tmp_path, twin):
    recording = open_recording(write_edf(tmp_path / "x.edf", [*eeg(), twin, counted("T3", 100, 6)]))
    assert recording.channels == ("C3", "C4", "T3")
    assert [name for name, _ in recording.left_out] == ["T7"]
    both = open_recording(write_edf(tmp_path / "y.edf", [*eeg(), counted("T7", 100, 6), counted("T3", 100, 6)]))
    assert (both.channels, both.left_out) == (("C3", "C4", "T7"), (("T3", "the same electrode as T7"),))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pause_starts_a_segment_and_events_stay_at_their_true_times(tmp_path, suffix):
    onsets = ["0.25", "1.25", "2.25", "10.5", "11.5", "20"]
    texts = {
        0: [annotation("0.75", "before")],
        2: [annotation("3.245", "last sample"), annotation("5", "in the pause")],
        3: [annotation("10.5", "first sample"), annotation("11.753", "between", "0.5")],
        5: [annotation("20.996", "end"), annotation("25", "after the end")],
    }
    path = write_edf(tmp_path / f"x.{suffix}", eeg(), onsets=onsets, annotations=texts, kind=f"{suffix.upper()}+D")
    recording = open_recording(path)
    assert recording.segments == (0, 300, 500)
    assert "2 pauses, 14.75 s in all" in recording.notes[0]
    starts_s = np.repeat([0, 1, 2, 10.25, 11.25, 19.75], 100)
    assert recording.t_s == pytest.approx(starts_s + np.tile(np.arange(100) / 100, 6), abs=1e-9)
    placed = {event.text: event for event in recording.events}
    assert placed["before"] == Event(50, "before")
    assert placed["last sample"] == Event(300 - 1, "last sample", 0.005)
    assert placed["in the pause"] == Event(299, "in the pause", 1.76)
    assert placed["first sample"] == Event(300, "first sample")
    assert placed["between"] == Event(425, "between", 0.003)
    assert placed["end"] == Event(599, "end", 0.006)
    assert placed["after the end"] == Event(599, "after the end", 4.01)
    for event in recording.events:  # the time of an event is that of the file, which begins at 0.25 s
        text = next(each for lists in texts.values() for each in lists if event.text.encode() in each)
        assert recording.event_s(event) + 0.25 == pytest.approx(float(text[1:].split(b"\x14")[0].split(b"\x15")[0]))
    assert np.array_equal(recording.read(295, 305)[:, 0], np.arange(295, 305))


def test_bad_spans_are_on_the_time_axis_of_the_file_too(tmp_path):
    texts = {0: [annotation("1.5", "BAD_move", "9.25"), annotation("4", "bad", "0")]}
    path = write_edf(tmp_path / "x.edf", eeg(n_records=3), onsets=["0", "1", "10"], annotations=texts, kind="EDF+D")
    assert open_recording(path).bad == ((150, 275),)  # from 1.5 s to 10.75 s; "bad" lies in the pause
    path = write_edf(tmp_path / "y.edf", eeg(n_records=3), onsets=["0", "1", "2"], annotations=texts)
    assert open_recording(path).bad == ((150, 300),)


def test_records_whose_onsets_run_back_give_no_event_two_places(tmp_path):
    texts = {0: [annotation("0.5", "once"), annotation("2.5", "twice")]}
    path = write_edf(tmp_path / "x.edf", eeg(), onsets=["0", "1", "2", "2", "3", "4"], annotations=texts, kind="EDF+D")
    recording = open_recording(path)
    assert recording.segments == (0, 300)
    assert [event.text for event in recording.events] == ["once"]
    assert any("set back" in note for note in recording.notes)
    assert any(note.startswith("1 event was left out") for note in recording.notes)


def test_onsets_that_are_no_times_or_rounded_make_no_pause(tmp_path):
    for onsets, record_s in ((["0"] * 6, "1"), (["0", "0", "1", "1", "2", "2"], "0.5")):
        path = write_edf(tmp_path / "x.edf", eeg(), onsets=onsets, record_s=record_s, kind="EDF+D")
        recording = open_recording(path)
        assert (recording.segments, recording.t_s) == ((0,), None)
        assert "are not usable times" in recording.notes[0]
    onsets = ["0.000", "0.033", "0.067", "0.100", "0.133", "0.167"]  # 3 kHz: a rounded onset is off by a whole sample
    path = write_edf(tmp_path / "x.edf", eeg(), onsets=onsets, record_s="0.033333", kind="EDF+D")
    recording = open_recording(path)
    assert (recording.segments, recording.t_s, recording.notes) == ((0,), None, ())


def test_the_times_of_a_clock_that_drifts_are_those_of_the_onsets(tmp_path):
    onsets = [f"{k * 1.002:g}" for k in range(6)]
    texts = {5: [annotation("5.01", "tap")]}
    path = write_edf(tmp_path / "x.edf", eeg(), onsets=onsets, annotations=texts, kind="EDF+D")
    recording = open_recording(path)
    assert recording.segments == (0,)
    assert recording.t_s[::100] == pytest.approx([float(each) for each in onsets])
    assert recording.events == (Event(500, "tap"),)


@pytest.mark.parametrize("kind", ["EDF+C", ""])
def test_a_file_that_is_not_discontinuous_has_no_pauses_whatever_its_onsets_say(tmp_path, kind):
    drift = [f"{k * 10.003:g}" for k in range(60)]  # 300 ppm: each record starts three quarters of a sample late
    texts = {59: [annotation("595", "tap")]}
    signals = [Signal(name, np.tile(noise(2500), 60), 2500) for name in ("C3", "C4")]
    path = write_edf(tmp_path / "x.edf", signals, onsets=drift, annotations=texts, record_s="10", kind=kind)
    recording = open_recording(path)
    assert (recording.segments, recording.t_s, recording.notes) == ((0,), None, ())
    assert recording.events == (Event(595 * 250, "tap"),)
    jump = ["0", "1", "2", "30", "31", "32"]
    recording = open_recording(write_edf(tmp_path / "y.edf", eeg(), onsets=jump, kind=kind))
    assert (recording.segments, recording.t_s) == ((0,), None)
    assert "the onsets of its records differ by up to 27 s" in recording.notes[0]


@pytest.mark.parametrize("sfreq_hz", [256, 2048])
def test_an_event_that_an_annotation_and_a_code_tell_of_counts_once(tmp_path, sfreq_hz):
    codes, annotations, expected = np.zeros(20 * sfreq_hz, int), {}, []
    for k in range(36):
        at, text = round(sfreq_hz * (0.51 + 0.5137 * k)), str(1 + k % 2)
        codes[at : at + sfreq_hz // 10] = int(text)
        annotations.setdefault(at // sfreq_hz, []).append(annotation(f"{at / sfreq_hz:.3f}", text))
        expected.append(Event(at, text))
    annotations.setdefault(19, []).append(annotation("19.5", "1"))  # without a code
    signals = [Signal("C3", noise(20 * sfreq_hz), sfreq_hz), Signal("Status", codes, sfreq_hz, unit="")]
    onsets = [str(k) for k in range(20)]
    path = write_edf(tmp_path / "x.edf", signals, onsets=onsets, annotations=annotations)
    assert open_recording(path).events == (*expected, Event(round(19.5 * sfreq_hz), "1"))
    assert open_recording(path, config=RecordingConfig(cue_channel="Status")).events == tuple(expected)


def test_a_thousand_events_beside_a_thousand_pauses_lie_in_their_records(tmp_path):
    onsets = [str(3 * k) for k in range(1000)]
    texts = {k: [annotation(f"{3 * k + 0.5}", "tap")] for k in range(1000)}
    signals = [Signal("C3", noise(20_000), 20)]
    path = write_edf(tmp_path / "x.edf", signals, onsets=onsets, annotations=texts, kind="EDF+D")
    recording = open_recording(path)
    assert recording.segments == tuple(range(0, 20_000, 20))
    assert recording.events == tuple(Event(20 * k + 10, "tap") for k in range(1000))


@pytest.mark.parametrize("ahead", [0.4, 0.5, 0.6, -0.4])
def test_an_event_between_two_samples_lies_at_the_nearest_one(tmp_path, ahead):
    texts = {1: [annotation(f"{(150 + ahead) / 100:.6f}", "tap")]}
    path = write_edf(tmp_path / "x.edf", eeg(), onsets=[str(k) for k in range(6)], annotations=texts)
    recording = open_recording(path)
    nearest = 151 if ahead >= 0.5 else 150  # halfway it is the later one
    assert recording.events == (Event(nearest, "tap", pytest.approx((150 + ahead - nearest) / 100)),)
    assert sample_at(recording, recording.events[0], offset_s=0) == nearest
    assert sample_at(recording, recording.events[0], offset_s=0.002) == 151 - (ahead < 0.3)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_codes_of_a_trigger_channel_at_a_rate_of_its_own_are_events(tmp_path, suffix):
    codes = np.zeros(1200, int)
    codes[411:430], codes[900:] = 7, 12
    signals = [*eeg(), Signal("Status", codes, 200, unit="Boolean")]
    recording = open_recording(write_edf(tmp_path / f"x.{suffix}", signals))
    assert recording.channels == ("C3", "C4")
    assert recording.events == (Event(206, "7", -0.005), Event(450, "12"))
    with pytest.raises(DataError, match=r"no channel 'Trig', which a setting or option names. It has C3, C4, Status"):
        open_recording(tmp_path / f"x.{suffix}", config=RecordingConfig(cue_channel="Trig"))


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("uV", 1), ("uVolt", 1), (b"\xb5V", 1), ("µV", 1), ("μV", 1), ("nV", 1e-3), ("mV", 1e3), ("V", 1e6)],
)
def test_every_spelling_of_a_unit_is_read(tmp_path, unit, factor):
    signals = [Signal("C3", noise(), 100, unit=unit, gain=0.5)]
    recording = open_recording(write_edf(tmp_path / "x.edf", signals))
    assert recording.read(0, 2000)[:, 0] == pytest.approx(noise() * 0.5 * factor, rel=1e-5, abs=1e-3 * factor)
    expected = open_recording(tmp_path / "x.edf", config=RecordingConfig(unit="nV")).read(0, 2000)
    assert expected[:, 0] == pytest.approx(noise() * 0.5e-3, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("unit", ["", "?V", "n/a"])
def test_values_without_a_unit_are_microvolts_if_their_size_says_so(tmp_path, unit):
    path = write_edf(tmp_path / "x.edf", [Signal("C3", noise(), 100, unit=unit)])
    recording = open_recording(path)
    assert recording.read(0, 2000)[:, 0].tolist() == noise().tolist()
    assert any("read as microvolts" in note for note in recording.notes)
    for spread, fits in ((1e-5, "V"), (9000.0, "nV")):
        small = Signal("C3", noise(spread=1000.0), 100, unit=unit, gain=spread / 1000)
        with pytest.raises(DataError, match=rf"do not look like microvolts.* --unit {fits}, or \[recording\] unit"):
            open_recording(write_edf(tmp_path / "y.edf", [small]))
        set_by_hand = open_recording(tmp_path / "y.edf", config=RecordingConfig(unit="uV"))
        assert set_by_hand.n_samples == 2000


def test_a_unit_that_is_not_known_is_refused_with_the_remedy(tmp_path):
    path = write_edf(tmp_path / "x.edf", [Signal("C3", noise(), 100, unit="foo")])
    with pytest.raises(DataError, match=r"C3 has the unit 'foo': expected microvolts, .* --unit uV"):
        open_recording(path)
    assert open_recording(path, config=RecordingConfig(unit="uV")).read(0, 3)[:, 0].tolist() == noise()[:3].tolist()


def test_a_unit_that_cannot_be_true_is_told(tmp_path):
    path = write_edf(tmp_path / "x.edf", [Signal("C3", noise(), 100, unit="V")])
    assert "which no EEG does" in open_recording(path).notes[0]
    notes = open_recording(path, config=RecordingConfig(unit="uV")).notes
    assert notes == ("The unit is set to uV; the file says V.",)


@pytest.mark.parametrize("unit", ["", "uV", "mV"])
def test_a_unit_that_is_set_makes_no_eeg_of_a_channel_that_is_no_voltage(tmp_path, unit):
    signals = [*eeg(), counted("Probe", 100, 6, unit="degC"), counted("Box", 100, 6, unit="n/a")]
    recording = open_recording(write_edf(tmp_path / "x.edf", signals), config=RecordingConfig(unit=unit))
    assert recording.channels == ("C3", "C4")
    assert [name for name, _ in recording.left_out] == ["Probe", "Box"]


@pytest.mark.parametrize(("unit", "factor"), [("uV", 1.0), ("mV", 1e3)])
def test_a_channel_without_a_unit_has_that_of_the_others_even_if_it_is_flat(tmp_path, unit, factor):
    signals = [Signal("C3", noise(), 100, unit=unit), Signal("C4", noise(), 100, unit="")]
    recording = open_recording(write_edf(tmp_path / "x.edf", [*signals, Signal("Cz", 0 * noise(), 100, unit="")]))
    assert recording.read(0, 2000).tolist() == (noise()[:, None] * np.array([factor, factor, 0])).tolist()
    assert recording.notes == (f"Channels without a unit are read in {unit}, as the others: C4, Cz.",)
    flat = write_edf(tmp_path / "y.edf", [Signal("C3", 0 * noise() + 7, 100, unit="")])
    assert open_recording(flat).read(0, 2)[:, 0].tolist() == [7.0, 7.0]
    assert "although they do not vary" in open_recording(flat).notes[0]


def test_labels_and_the_rate_can_be_set_and_labels_that_occur_twice_get_numbers(tmp_path):
    texts = {1: [annotation("1.503", "tap")]}
    path = write_edf(tmp_path / "x.edf", [*eeg(), *eeg()], onsets=[str(k) for k in range(6)], annotations=texts)
    assert open_recording(path).channels == ("C3-0", "C4-0", "C3-1", "C4-1")
    blank = write_edf(tmp_path / "y.edf", [counted("", 100, 6), counted("", 100, 6)])
    assert open_recording(blank).channels == ("ch1", "ch2")
    config = RecordingConfig(channels=("Fz", "VEOG", "Pz", "Oz"), sfreq_hz=200.0)
    recording = open_recording(path, config=config)
    assert recording.channels == ("Fz", "Pz", "Oz")
    assert recording.sfreq_hz == 200.0
    assert recording.events == (Event(150, "tap", 0.0015),)
    with pytest.raises(DataError, match=r"has 4 channels, but \[recording\] channels names 2"):
        open_recording(path, config=RecordingConfig(channels=("Fz", "Pz")))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_truncated_file_is_read_as_far_as_it_is_whole_and_says_so(tmp_path, suffix):
    path = write_edf(tmp_path / f"x.{suffix}", eeg(), onsets=[str(k) for k in range(6)], annotations={})
    assert open_recording(path).notes == ()
    content = path.read_bytes()
    record = (len(content) - 256 * 4) // 6
    path.write_bytes(content[: 256 * 4 + 3 * record + 57])
    recording = open_recording(path)
    assert recording.n_samples == 300
    assert recording.read(0, 300)[:, 0].tolist() == list(range(300))
    assert "promises 6 records, but it ends after 3. 3 s are missing" in recording.notes[0]
    for n_bytes, message in (
        (0, "does not begin with"),
        (300, "ends within its header"),
        (256 * 4 + 20, "ends before its first record"),
    ):
        path.write_bytes(content[:n_bytes])
        with pytest.raises(DataError, match=message):
            open_recording(path)


def test_a_file_whose_recorder_crashed_or_wrote_on_is_read_to_its_end(tmp_path):
    recording = open_recording(write_edf(tmp_path / "x.edf", eeg(), n_promised=-1))
    assert recording.n_samples == 600
    assert "does not say how long it is" in recording.notes[0]
    recording = open_recording(write_edf(tmp_path / "x.edf", eeg(), n_promised=4))
    assert recording.n_samples == 600
    assert "2 s more than its header says" in recording.notes[0]


def test_a_channel_without_a_range_is_left_out_and_a_file_of_annotations_is_refused(tmp_path):
    signals = [*eeg(), counted("Cz", 100, 6, gain=0.0)]
    recording = open_recording(write_edf(tmp_path / "x.edf", signals))
    assert recording.left_out == (("Cz", "its header defines no range of values"),)
    path = write_edf(tmp_path / "y.edf", [], onsets=["0"], annotations={0: [annotation("1", "tap")]}, record_s="0")
    with pytest.raises(DataError, match="has no EEG channels"):
        open_recording(path)


def test_the_subject_is_the_code_of_the_patient(tmp_path):
    assert open_recording(write_edf(tmp_path / "x.edf", eeg(), patient="S-07 F X X")).subject == "S-07"
    assert open_recording(write_edf(tmp_path / "x.edf", eeg(), patient="Jane Doe", kind="")).subject == ""
    assert open_recording(write_edf(tmp_path / "x.edf", eeg())).subject == ""
