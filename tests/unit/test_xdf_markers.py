"""Events of an XDF file: which of its streams have them, and that none counts twice."""

from __future__ import annotations

import numpy as np
import pytest

from pretap.config.recording import RecordingConfig, from_options
from pretap.errors import DataError, UsageError
from pretap.recordings.continuous import open_recording
from pretap.recordings.events import marker_text
from pretap.recordings.recording import Event
from xdf_files import write_streams

T_S = np.arange(1000) / 100
LABELS = [("C3", "EEG"), ("C4", "EEG")]
EEG = {
    "name": "Amp",
    "kind": "EEG",
    "format": "float32",
    "sfreq_hz": 100,
    "t_s": T_S,
    "values": np.zeros((1000, 2)),
    "channels": LABELS,
}
OURS = "<bundle><sha256>abc</sha256></bundle>"


def markers(name, found, *, format="string", kind="Markers", more=""):  # noqa: A002
    """A stream of markers (time, value)."""
    values = [text.encode() if isinstance(text, str) else text for _, text in found]
    return {"name": name, "kind": kind, "format": format, "t_s": [t for t, _ in found], "values": values, "more": more}


def events(path, **choice):
    return open_recording(path, config=RecordingConfig(**choice)).events


TAPS = [(1.0, "tap/left"), (2.0, "tap/right")]
TAP_EVENTS = (Event(100, "tap/left"), Event(200, "tap/right"))


@pytest.mark.parametrize("format", ["int8", "int16", "int32", "int64", "float32", "double64"])
def test_a_whole_number_is_the_event_of_its_text(tmp_path, format):  # noqa: A002
    path = write_streams(tmp_path / "x.xdf", EEG, markers("task", [(1.0, 1), (2.0, 12), (3.0, -3)], format=format))
    assert events(path) == (Event(100, "1"), Event(200, "12"), Event(300, "-3"))


def test_the_text_of_a_marker():
    assert marker_text([b" tap/left\r\n"]) == marker_text(["tap/left "]) == "tap/left"
    assert marker_text([7]) == marker_text([7.0]) == marker_text(["7"]) == "7"
    assert marker_text([1 << 60]) == str(1 << 60)
    assert (marker_text([0.5]), marker_text([float("nan")])) == ("0.5", "nan")
    assert marker_text(["tap/left", b"x", ""]) == "tap/left x"
    assert marker_text([b"\xff"]) == "\ufffd"
    assert len(marker_text([b"x" * 9999])) == 4096


def test_numbers_at_a_regular_rate_and_of_other_types_are_no_markers(tmp_path):
    gaze = markers("gaze", [(1.0, 3.0)], format="float32", kind="Gaze")
    path = write_streams(tmp_path / "x.xdf", EEG, gaze, markers("task", TAPS))
    recording = open_recording(path)
    assert recording.events == TAP_EVENTS
    assert not any("gaze" in note for note in recording.notes)
    assert events(path, markers=("gaze",)) == (Event(100, "3"),)


def test_numbers_beside_texts_are_read_only_if_they_are_chosen(tmp_path):
    codes = markers("box", [(1.001, 1), (2.001, 2)], format="int32")
    path = write_streams(tmp_path / "x.xdf", EEG, markers("task", TAPS), codes)
    recording = open_recording(path)
    assert recording.events == TAP_EVENTS
    assert recording.notes[0] == ("The markers of 'box' (id 3) are not used; --markers chooses the streams that are.")
    for name in ("box", "id-box", "3"):
        assert [each.text for each in events(path, markers=(name,))] == ["1", "2"]
    assert len(events(path, markers=("task", "box"))) == 4


def test_two_streams_with_the_same_tap_need_a_choice(tmp_path):
    late = [(t_s + 0.02, text) for t_s, text in TAPS]
    path = write_streams(tmp_path / "x.xdf", EEG, markers("task", TAPS), markers("copy", late))
    with pytest.raises(
        DataError, match=r"'task' \(id 2, .*'copy' \(id 3, .*both have 'tap/left'.*--markers 2"
    ) as error:
        open_recording(path)
    assert "might count twice" in str(error.value)
    recording = open_recording(path, config=RecordingConfig(markers=("copy",)))
    assert [each.sample for each in recording.events] == [102, 202]
    assert recording.notes[0].startswith("The markers of 'task' (id 2) are not used")
    with pytest.raises(
        DataError, match=r"no marker stream is called 'nobody' \(--markers\). Beside the EEG, it has 'task' \(id 2"
    ):
        events(path, markers=("nobody",))
    with pytest.raises(DataError, match=r"Did you mean 'task'\?$"):
        events(path, markers=("taks",))


def test_two_streams_whose_markers_coincide_need_a_choice_whatever_their_texts(tmp_path):
    box = markers("box", [(1.02, "1"), (1.99, "2"), (7.0, "pause")])
    path = write_streams(tmp_path / "x.xdf", EEG, markers("task", TAPS), box)
    with pytest.raises(DataError, match="have 2 markers at the same times, so the same event might count twice"):
        open_recording(path)
    assert events(path, markers=("task",)) == TAP_EVENTS
    frames = markers("frames", [(k / 10, f"frame {k}") for k in range(90)])
    assert len(events(write_streams(tmp_path / "y.xdf", EEG, markers("task", TAPS), frames))) == 92


def test_streams_with_different_texts_and_a_task_that_was_restarted_are_read_together(tmp_path):
    blocks = markers("blocks", [(0.5, "block/1"), (9.0, "block/2")])
    again = markers("task", [(5.0, "tap/left")])
    path = write_streams(tmp_path / "x.xdf", EEG, markers("task", TAPS), blocks, again)
    expected = (Event(50, "block/1"), *TAP_EVENTS, Event(500, "tap/left"), Event(900, "block/2"))
    assert events(path) == expected
    assert len(events(path, markers=("task",))) == 3


def test_what_the_service_sends_is_never_an_event(tmp_path):
    streams = [
        markers("pretap-markers", [(0.9, "left"), (1.9, "right")], more=OURS),
        markers("pretap-codes", [(0.9, 1), (1.9, 2)], format="int32", more=OURS),
    ]
    path = write_streams(tmp_path / "x.xdf", EEG, *streams, markers("task", TAPS))
    recording = open_recording(path)
    assert recording.events == TAP_EVENTS
    assert not any("not used" in note for note in recording.notes)
    with pytest.raises(DataError, match="no marker stream is called 'pretap-codes'"):
        events(path, markers=("pretap-codes",))
    assert events(write_streams(tmp_path / "y.xdf", EEG, *streams)) == ()


def test_codes_of_a_trigger_channel_are_the_events_and_the_channel_is_not_eeg(tmp_path):
    values = np.zeros((1000, 3), np.float32)
    values[:10, 2], values[100:110, 2], values[110:120, 2], values[500:, 2] = 4, 1, 2, 1
    for kind in ("EEG", "Trigger"):
        eeg = EEG | {"values": values, "channels": [*LABELS, ("TTL", kind)]}
        path = write_streams(tmp_path / f"{kind}.xdf", eeg, markers("task", TAPS))
        recording = open_recording(path, config=RecordingConfig(cue_channel="TTL"))
        assert recording.events == (Event(100, "1"), Event(110, "2"), Event(500, "1"))
        assert recording.channels == ("C3", "C4")
        assert "The events are the codes of channel 'TTL'." in recording.notes
        assert events(path) == TAP_EVENTS
        with pytest.raises(DataError, match=r"has no channel 'tll', .* It has C3, C4, TTL. Did you mean 'TTL'"):
            events(path, cue_channel="tll")


def test_one_source_of_events_can_be_chosen(tmp_path):
    with pytest.raises(UsageError, match="both choose the events"):
        from_options(markers=["task"], cue_channel="TTL")
    assert from_options() == RecordingConfig()
