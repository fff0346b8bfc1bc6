"""GDF, EEGLAB, BrainVision, FIF, OpenBCI's text: values, events, units, truncated files, and files that are others."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import mne
import numpy as np
import pytest

from other_files import LABELS, eeg_uv, write_gdf, write_set
from pretap.config.recording import RecordingConfig
from pretap.errors import DataError
from pretap.recordings.continuous import open_recording, recording_from_raw
from pretap.recordings.reading.mne_warnings import collect_warnings, explain_warnings
from pretap.recordings.recording import Event

UNITS = {"uVolt": 1, "nV": 1e-3, "mV": 1e3, "µV": 1, "": 1, " µV": 1, "uV ": 1, " nV": 1e-3, " ": 1}


def raw_of(x_uv: np.ndarray, *, sfreq_hz: float = 100.0, onsets: dict[str, float] | None = None) -> mne.io.RawArray:
    raw = mne.io.RawArray(x_uv.T * 1e-6, mne.create_info(list(LABELS), sfreq_hz, "eeg"), verbose="error")
    if onsets:
        raw.set_annotations(mne.Annotations(list(onsets.values()), 0.0, list(onsets)), verbose="error")
    return raw


def write_brainvision(path: Path, *, onsets: dict[str, float] | None = None) -> Path:
    mne.export.export_raw(path, raw_of(eeg_uv(), onsets=onsets), verbose="error")
    return path


# -- GDF and EEGLAB ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1.25, 2.2])
@pytest.mark.parametrize(("unit", "factor"), [("uV", 1.0), ("mV", 1e3), ("nV", 1e-3), ("V", 1e6), ("", 1.0)])
def test_a_gdf_comes_back_in_microvolts_with_its_events(tmp_path, version, unit, factor):
    x_uv = eeg_uv()
    path = write_gdf(tmp_path / "x.gdf", x_uv / factor, LABELS, version=version, unit=unit, events=[(250, 769)])
    recording = open_recording(path)
    assert (recording.channels, recording.sfreq_hz, recording.n_samples) == (LABELS, 100.0, 1000)
    assert recording.read(0, 1000) == pytest.approx(x_uv, abs=1e-3)
    assert recording.events == (Event(250, "769"),)
    assert [note for note in recording.notes if "MNE says" in note] == []
    assert any("read as microvolts" in note for note in recording.notes) == (unit == "")
    as_nanovolts = open_recording(path, config=RecordingConfig(unit="nV")).read(0, 1000)
    assert as_nanovolts == pytest.approx(x_uv / factor * 1e-3, rel=1e-4, abs=1e-9)


def test_a_gdf_that_is_truncated_or_has_several_rates_is_refused(tmp_path):
    path = write_gdf(tmp_path / "x.gdf", eeg_uv(), LABELS, version=2.2, events=[(250, 769)])
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"promises 10 records, but it ends after \d, and the events"):
        open_recording(path)
    write_gdf(path, eeg_uv(), LABELS, version=2.2, n_per_record=(100, 100, 50))
    with pytest.raises(DataError, match=r"several sampling rates.*preload=True"):
        open_recording(path)


def test_a_compressed_fif_that_lacks_its_last_bytes_says_so(tmp_path):
    path = tmp_path / "x_raw.fif.gz"
    raw_of(eeg_uv()).save(path, verbose="error")
    assert open_recording(path).notes == ()
    path.write_bytes(path.read_bytes()[:-4])
    recording = open_recording(path)
    assert recording.n_samples == 1000
    assert "x_raw.fif.gz is truncated or damaged: its compression does not end as it should" in recording.notes[0]


@pytest.mark.parametrize("fdt", [False, True])
def test_an_eeglab_file_comes_back_in_microvolts_with_events_and_boundaries(tmp_path, fdt):
    events = [(101.0, "left"), (201.4, "right"), (500.5, "boundary")]
    path = write_set(tmp_path / "x.set", eeg_uv(), LABELS, events=events, fdt=fdt)
    recording = open_recording(path)
    assert (recording.channels, recording.sfreq_hz, recording.n_samples) == (LABELS, 100.0, 1000)
    assert recording.read(0, 1000) == pytest.approx(eeg_uv(), abs=1e-3)
    assert recording.events == (Event(100, "left"), Event(200, "right", 0.004), Event(500, "boundary", -0.005))
    assert recording.segments == (0, 500)
    assert recording.notes == ()
    in_nanovolts = open_recording(path, config=RecordingConfig(unit="nV", channels=("Fz", "Cz", "Pz")))
    assert in_nanovolts.channels == ("Fz", "Cz", "Pz")
    assert in_nanovolts.read(0, 1000) == pytest.approx(eeg_uv() * 1e-3, abs=1e-6)


def test_a_truncated_fdt_is_read_as_far_as_it_is_whole(tmp_path):
    path = write_set(tmp_path / "x.set", eeg_uv(), LABELS, events=[(101.0, "left"), (901.0, "right")], fdt=True)
    data = tmp_path / "x.fdt"
    data.write_bytes(data.read_bytes()[: 600 * 12 + 5])
    recording = open_recording(path)
    assert recording.n_samples == 600
    assert recording.read(0, 600) == pytest.approx(eeg_uv()[:600], abs=1e-3)
    assert recording.notes[0].startswith("x.fdt is truncated: its header promises 1000 samples, but it has 600. 4 s")
    assert recording.events == (Event(100, "left"), Event(599, "right", 3.01))


def test_a_renamed_eeglab_file_reads_its_own_data_with_a_note(tmp_path):
    write_set(tmp_path / "x.set", eeg_uv(), LABELS, fdt=True)
    (tmp_path / "x.set").rename(tmp_path / "y.set")
    (tmp_path / "x.fdt").rename(tmp_path / "y.fdt")
    recording = open_recording(tmp_path / "y.set")
    assert recording.read(0, 1000) == pytest.approx(eeg_uv(), abs=1e-3)
    assert recording.notes == (
        "The .set file names x.fdt as its data file; the .fdt file with its own name is read instead.",
    )


# -- BrainVision and FIF -------------------------------------------------------------------------------------------


def test_events_between_samples_lie_at_the_nearest_one_in_every_format(tmp_path):
    onsets = {"early": 2.004, "late": 3.006, "half": 4.005, "on": 5.0}
    expected = {
        "early": Event(200, "early", 0.004),
        "late": Event(301, "late", -0.004),
        "half": Event(401, "half", -0.005),
        "on": Event(500, "on"),
    }
    raw = raw_of(eeg_uv(), onsets=onsets)
    raw.save(tmp_path / "x_raw.fif", verbose="error")
    mne.export.export_raw(tmp_path / "x.edf", raw, verbose="error")
    write_set(tmp_path / "x.set", eeg_uv(), LABELS, events=[(at * 100 + 1, text) for text, at in onsets.items()])
    for recording in (recording_from_raw(raw), *map(open_recording, sorted(tmp_path.glob("x*")))):
        placed = {event.text: event for event in recording.events}
        for text, event in expected.items():
            found = placed[text]
            assert (found.sample, found.late_s) == (event.sample, pytest.approx(event.late_s, abs=1e-5)), (
                recording.source
            )


@pytest.mark.parametrize(("unit", "factor"), UNITS.items())
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_every_unit_of_brainvision_is_read_and_can_be_replaced(tmp_path, unit, factor, encoding):
    path = write_brainvision(tmp_path / "x.vhdr")
    text = path.read_text(encoding="utf-8")
    path.write_bytes(re.sub(r"(?m)^(Ch\d+=\w+,[^,]*,[\d.]+),.*$", rf"\1,{unit}", text).encode(encoding))
    recording = open_recording(path)
    assert recording.channels == LABELS
    assert recording.read(0, 1000) == pytest.approx(eeg_uv() * factor, rel=1e-3, abs=0.06 * factor)
    replaced = open_recording(path, config=RecordingConfig(unit="uV"))
    assert replaced.read(0, 1000) == pytest.approx(eeg_uv(), rel=1e-3, abs=0.06)


def test_a_pause_of_brainvision_starts_a_segment(tmp_path):
    path = write_brainvision(tmp_path / "x.vhdr", onsets={"tap": 6.0})
    markers = tmp_path / "x.vmrk"
    markers.write_text(markers.read_text() + "Mk9=New Segment,,401,1,0,20200101000000000000\n")
    recording = open_recording(path)
    assert recording.segments == (0, 400)
    assert [event for event in recording.events if "tap" in event.text] == [Event(600, "Comment/tap")]


def test_a_truncated_brainvision_file_says_so(tmp_path):
    path = write_brainvision(tmp_path / "x.vhdr", onsets={"tap": 8.0})
    data = tmp_path / "x.eeg"
    n_bytes = len(data.read_bytes()) // 1000
    data.write_bytes(data.read_bytes()[: 500 * n_bytes + 1])
    recording = open_recording(path)
    assert recording.n_samples == 500
    assert recording.read(0, 500) == pytest.approx(eeg_uv()[:500], abs=0.06)
    assert "x.eeg ends in the middle of a sample, so it is truncated. Copy it again if you can." in recording.notes
    assert any("Left out: 1 event outside the file's samples" in note for note in recording.notes)
    path.write_text(path.read_text().replace("[Common Infos]", "[Common Infos]\nDataPoints=1000"))
    assert open_recording(path).notes[0].startswith("x.eeg is truncated: its header promises 1000 samples")


def test_a_truncated_fif_is_read_as_far_as_it_is_whole(tmp_path):
    path = tmp_path / "x_raw.fif"
    raw_of(eeg_uv()).save(path, buffer_size_sec=1.0, verbose="error")
    assert open_recording(path).notes == ()
    content = path.read_bytes()
    for n_missing in (5000, 5001, 200, 3):
        path.write_bytes(content[:-n_missing])
        recording = open_recording(path)
        n = recording.n_samples
        assert n % 100 == 0
        assert (1000 - n) * 12 <= n_missing + 1200
        assert recording.read(0, n) == pytest.approx(eeg_uv()[:n], abs=1e-3)
        assert f"x_raw.fif is truncated: it ends without its closing tag, and {n / 100:g} s" in recording.notes[0]


def test_a_truncated_fif_keeps_the_codes_of_its_whole_part(tmp_path):
    path = tmp_path / "x_raw.fif"
    codes = np.zeros((1, 1000))
    codes[0, 250:260], codes[0, 950:960] = 3, 4
    info = mne.create_info([*LABELS, "STI 014"], 100.0, ["eeg"] * 3 + ["stim"])
    raw = mne.io.RawArray(np.vstack([eeg_uv().T * 1e-6, codes]), info, verbose="error")
    raw.save(path, buffer_size_sec=1.0, verbose="error")
    path.write_bytes(path.read_bytes()[:-900])  # within the last buffer, of 1600 bytes
    for config in (RecordingConfig(), RecordingConfig(cue_channel="STI 014")):
        recording = open_recording(path, config=config)
        assert (recording.n_samples, recording.events) == (900, (Event(250, "3"),))


def test_a_channel_of_nan_does_not_hide_the_size_of_the_others(tmp_path):
    x_uv = eeg_uv()
    x_uv[:, 1] = np.nan
    x_uv[::50, 2] = np.inf
    path = write_gdf(tmp_path / "x.gdf", x_uv, LABELS, version=2.2, unit="")
    assert "3 channels have no unit. The values are read as microvolts" in open_recording(path).notes[0]


def test_a_part_of_a_split_fif_that_is_missing_is_told(tmp_path):
    path = tmp_path / "x_raw.fif"
    x_uv = np.tile(eeg_uv(), (300, 1))
    raw_of(x_uv).save(path, split_size="2MB", buffer_size_sec=1.0, verbose="error")
    assert open_recording(path).n_samples == 300_000
    (tmp_path / "x_raw-1.fif").unlink()
    recording = open_recording(path)
    assert recording.n_samples < 300_000
    assert "The recording goes on in x_raw-1.fif, which is missing. Only the part before it is read." in recording.notes


def test_samples_that_were_never_acquired_are_bad_and_events_after_them_stay(tmp_path):
    path = tmp_path / "x_raw.fif"
    raw = raw_of(eeg_uv(), onsets={"tap": 7.5})
    raw.annotations.append(3.0, 2.0, "BAD_ACQ_SKIP")
    raw.save(path, buffer_size_sec=1.0, verbose="error")
    recording = open_recording(path)
    assert recording.n_samples == 1000
    assert recording.bad == ((300, 500),)
    assert Event(750, "tap") in recording.events
    assert not recording.read(300, 500).any()
    assert recording.read(500, 1000) == pytest.approx(eeg_uv()[500:], abs=1e-3)


def test_a_brainvision_recording_without_its_markers_or_its_data_says_so(tmp_path):
    path = write_brainvision(tmp_path / "x.vhdr", onsets={"tap": 8.0})
    (tmp_path / "x.vmrk").unlink()
    recording = open_recording(path)
    assert recording.events == ()
    assert recording.notes == (
        "The marker file x.vmrk is missing, so the recording has no events. Put it beside the .vhdr file.",
    )
    (tmp_path / "x.eeg").unlink()
    with pytest.raises(DataError, match=r"a file that belongs to it is missing \(.*x\.eeg"):
        open_recording(path)


def test_microvolts_that_were_saved_as_volts_are_told_and_a_unit_makes_them_right(tmp_path):
    path = tmp_path / "x_raw.fif"
    raw_of(eeg_uv() * 1e6).save(path, verbose="error")
    assert "which no EEG does. The unit may be wrong: set the right one with --unit." in open_recording(path).notes[0]
    recording = open_recording(path, config=RecordingConfig(unit="uV"))
    assert recording.notes == ("The unit is set to uV; the file says V.",)
    assert recording.read(0, 1000) == pytest.approx(eeg_uv(), abs=1e-3)
    recording = open_recording(path, config=RecordingConfig(unit="nV", sfreq_hz=250.0))
    assert recording.notes == (
        "The unit is set to nV; the file says V.",
        "The rate is set to 250 Hz; the file says 100 Hz.",
    )
    wrong = open_recording(path, config=RecordingConfig(unit="V")).notes
    assert [note[-64:] for note in wrong] == [
        "no EEG does. The unit may be wrong: set the right one with --unit."[-64:]
    ]


def test_a_warning_that_is_not_known_is_quoted_and_naming_conventions_are_not(tmp_path, capfd):
    raw_of(eeg_uv()).save(tmp_path / "odd.fif", verbose="error")
    assert open_recording(tmp_path / "odd.fif").notes == ()
    with collect_warnings() as messages:
        mne.utils.warn("Something\nnew. It matters.")
        mne.utils.warn("Omitted 3 annotation(s) that were outside data range.")
        mne.utils.logger.warning("Something in the log.")
        warnings.warn("old code", DeprecationWarning, stacklevel=1)
    assert explain_warnings(messages) == [
        "MNE says: Something new. It matters.",
        "Left out: 3 events outside the file's samples. It may be truncated.",
        "MNE says: Something in the log.",
    ]
    assert capfd.readouterr() == ("", "")


# -- OpenBCI's text format -----------------------------------------------------------------------------------------


def test_a_part_of_a_recording_names_the_file_to_give(tmp_path):
    write_brainvision(tmp_path / "x.vhdr")
    write_set(tmp_path / "y.set", eeg_uv(), LABELS, fdt=True)
    for given, wanted in (("x.eeg", "x.vhdr"), ("x.vmrk", "x.vhdr"), ("y.fdt", "y.set")):
        with pytest.raises(DataError, match=rf"{given} is the \w+ file of .*\. Give the \.\w+ file: {wanted}\."):
            open_recording(tmp_path / given)
    (tmp_path / "x.vhdr").unlink()
    with pytest.raises(DataError, match=r"Give the \.vhdr file: x\.vhdr, which is missing"):
        open_recording(tmp_path / "x.vmrk")
    (tmp_path / "y.fdt").unlink()
    with pytest.raises(DataError, match="a file that belongs to it is missing"):
        open_recording(tmp_path / "y.set")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x.csv", "it is a table of text .*Export it as EDF, BrainVision or XDF"),
        ("x.txt", "it is a text file"),
        ("x.mat", "it is a MATLAB file. Give trials with --data"),
        ("x.npz", "it is a file of NumPy arrays"),
        ("x.zip", "it is compressed. Unpack it"),
        ("x.safetensors", "it is a bundle. Give the recording"),
        ("x.dat", "Export it as EDF"),
        ("x.foo", "its kind is not known. Export it as EDF"),
        ("x", "its kind is not known"),
        ("x.vhdr", "cannot be read as a recording"),
        ("x.set", "cannot be read as a recording"),
        ("x.gdf", "cannot be read as a recording"),
        ("x.cnt", "cannot be read as a recording"),
        ("x.edf", "cannot be read as a recording in EDF or BDF"),
        ("x_raw.fif", "cannot be read as a recording"),
        ("x.mff", "cannot be read as a recording"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"time,C3,C4\n0,1,2\n", bytes(5000)])
def test_whatever_is_given_the_message_says_what_to_do(tmp_path, name, message, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        open_recording(path)
    text = str(caught.value)
    assert re.search(r"Export it|Give |Unpack|Copy|export it again", text), text
    assert "Error: )" not in text
    assert "AttributeError" not in text


def test_a_missing_file_in_a_folder_called_epochs_is_not_taken_for_trials(tmp_path):
    folder = tmp_path / "my epochs"
    folder.mkdir()
    path = write_brainvision(folder / "x.vhdr")
    (folder / "x.eeg").unlink()
    with pytest.raises(DataError, match="a file that belongs to it is missing"):
        open_recording(path)


def test_a_truncated_compressed_fif_is_refused_as_truncated(tmp_path):
    path = tmp_path / "x_raw.fif.gz"
    raw_of(eeg_uv()).save(path, verbose="error")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"it is truncated: .* Copy it again"):
        open_recording(path)


def test_trials_are_told_from_recordings(tmp_path):
    write_set(tmp_path / "x.set", eeg_uv(), LABELS, trials=10)
    epochs = mne.EpochsArray(
        eeg_uv().T.reshape(1, 3, 1000) * 1e-6, mne.create_info(list(LABELS), 100.0, "eeg"), verbose="error"
    )
    epochs.save(tmp_path / "x-epo.fif", verbose="error")
    (tmp_path / "x_raw.fif").write_bytes((tmp_path / "x-epo.fif").read_bytes())
    for name in ("x.set", "x-epo.fif", "x_raw.fif"):
        with pytest.raises(DataError, match=r"trials.* with --data"):
            open_recording(tmp_path / name)
