"""The text format of the OpenBCI GUI: units, settings, lost packets and cut lines."""

from __future__ import annotations

import pytest

from other_files import LABELS, eeg_uv, openbci_text
from pretap.config.recording import RecordingConfig
from pretap.errors import DataError
from pretap.recordings.continuous import open_recording
from pretap.recordings.recording import Event


@pytest.mark.parametrize("titles", [True, False])
def test_an_openbci_text_file_is_read_in_microvolts(tmp_path, titles):
    path = tmp_path / "OpenBCI-RAW.txt"
    path.write_text(openbci_text(eeg_uv(), first=17, markers={300: 2, 301: 2, 700: 1}, titles=titles))
    recording = open_recording(path)
    assert (recording.channels, recording.sfreq_hz, recording.n_samples) == (("EXG0", "EXG1", "EXG2"), 200.0, 1000)
    assert recording.read(0, 1000) == pytest.approx(eeg_uv(), abs=1e-3)
    assert recording.events == ((Event(300, "2"), Event(700, "1")) if titles else ())
    assert (recording.segments, recording.notes) == ((0,), ())
    assert open_recording(path, config=RecordingConfig(channels=LABELS)).channels == LABELS


def test_the_settings_of_an_openbci_file_are_honoured_or_refused(tmp_path):
    path = tmp_path / "OpenBCI-RAW.txt"
    text = openbci_text(eeg_uv(), markers={300: 2})
    path.write_text(text)
    chosen = open_recording(path, config=RecordingConfig(cue_channel="Marker Channel 0"))
    assert chosen.events == (Event(300, "2"),)
    with pytest.raises(DataError, match=r"no channel 'Status'.*Marker Channel 0"):
        open_recording(path, config=RecordingConfig(cue_channel="Status"))
    path.write_text(text.replace("%Sample Rate = 200 Hz\n", ""))
    with pytest.raises(DataError, match=r"\[recording\] sfreq_hz = "):
        open_recording(path)
    assert open_recording(path, config=RecordingConfig(sfreq_hz=200.0)).sfreq_hz == 200.0


@pytest.mark.parametrize("index", [[0, 0, 1, 1, 2, 2], [0, 2, 4, 6]])
def test_an_index_with_two_samples_in_a_packet_or_every_second_number_shows_no_loss(tmp_path, index):
    path = tmp_path / "OpenBCI-RAW.txt"
    lines = openbci_text(eeg_uv()).splitlines()
    rows = [f"{index[i % len(index)]},{row.partition(',')[2]}" for i, row in enumerate(lines[5:])]
    path.write_text("\n".join(lines[:5] + rows))
    assert open_recording(path).segments == (0,)
    path.write_text("\n".join(lines[:5] + rows[:500] + rows[503:]))
    assert open_recording(path).segments == (0, 500)


def test_lost_packets_and_a_cut_line_of_an_openbci_file_are_told(tmp_path):
    path = tmp_path / "OpenBCI-RAW.txt"
    lines = openbci_text(eeg_uv()).splitlines()
    path.write_text("\n".join(lines[:405] + lines[409:])[:-30])
    recording = open_recording(path)
    assert (recording.n_samples, recording.segments) == (995, (0, 400))
    assert any("last line" in note for note in recording.notes)
    assert any("Packets are missing in 1 place of" in note for note in recording.notes)
    path.write_text("\n".join([*lines[:50], lines[50].replace(".", ";"), *lines[51:]]))
    with pytest.raises(DataError, match=r"is in OpenBCI's text format, but a line of it is damaged"):
        open_recording(path)
    path.write_text("%OpenBCI Raw EXG Data\n%Number of channels = 4\n")
    with pytest.raises(DataError, match="lacks the sample rate"):
        open_recording(path)


# -- What is no recording ------------------------------------------------------------------------------------------
