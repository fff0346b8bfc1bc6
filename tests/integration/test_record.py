"""``pretap record`` as a real process on real streams: the samples, the end of the process, and its disk."""

from __future__ import annotations

import resource
import signal
import subprocess

import numpy as np
import pytest

import full_disk
from pretap.recordings.continuous import open_recording
from real_lsl import python_path
from xdf_files import counted, load, markers, n_saved


def test_eeg_and_markers_are_recorded_with_timestamps_descriptions_and_footers(recorder, kit):
    amp, cues = kit.Amplifier(), markers()
    child = recorder(amp, cues)
    x = kit.eeg(200)
    t_s = amp.stamps(200)
    amp.push(x)
    cues.push_sample(["tap/left"], t_s[50] + 0.001)
    cues.push_sample(["täp/right"], t_s[150])
    kit.until(lambda: n_saved(recorder.path) == {amp.name: 200, cues.name: 2}, "the samples in the file")
    assert child.interrupt() == 0
    streams = load(recorder.path)
    eeg, text = streams[amp.name], streams[cues.name]
    assert eeg["time_series"].tobytes() == x.tobytes()
    assert np.array_equal(eeg["time_stamps"], t_s)
    assert text["time_series"] == [["tap/left"], ["täp/right"]]
    assert text["time_stamps"].tolist() == [t_s[50] + 0.001, t_s[150]]
    labels = [each["label"][0] for each in eeg["info"]["desc"][0]["channels"][0]["channel"]]
    assert labels == ["C3", "Cz", "C4", "O1"]
    footer = eeg["footer"]["info"]
    assert (footer["sample_count"], footer["lost_samples"]) == (["200"], ["0"])
    assert float(footer["first_timestamp"][0]) == t_s[0]
    assert f"{amp.name}: 200 samples, 0 lost" in child.said
    assert f"{cues.name}: 2 samples" in child.said


@pytest.mark.parametrize("fmt", ["int8", "int16", "int32", "int64", "float64"])
def test_numbers_of_every_format_are_recorded_unchanged(recorder, kit, fmt):
    amp = kit.Amplifier(format=fmt)
    child = recorder(amp)
    x = np.random.default_rng(0).integers(-128, 128, (50, 4)).astype(fmt)
    if fmt == "int64":
        x[0] = 2**62 + 1
    t_s = amp.stamps(50)
    for row, t in zip(x, t_s, strict=True):
        amp.outlet.push_sample(row.tolist(), float(t))
    kit.until(lambda: n_saved(recorder.path) == {amp.name: 50}, "the samples in the file")
    assert child.interrupt() == 0
    stream = load(recorder.path)[amp.name]
    assert stream["time_series"].dtype == np.dtype(fmt)
    assert np.array_equal(stream["time_series"], x)


def test_text_that_is_not_utf8_is_kept_and_reported(recorder, kit):
    cues = markers()
    child = recorder(cues)
    cues.push_sample([b"\xff\x00 left"], 10.0)
    cues.push_sample(["after"], 11.0)
    kit.until(lambda: b"after" in recorder.path.read_bytes(), "the marker")
    assert child.interrupt() == 0
    assert b"\xff\x00 left" in recorder.path.read_bytes()
    assert load(recorder.path)[cues.name]["time_series"] == [["\ufffd\x00 left"], ["after"]]
    assert "2 samples, 1 of them not UTF-8, written unchanged" in child.said


def test_after_kill_9_everything_up_to_the_last_second_is_readable(recorder, kit):
    amp = kit.Amplifier(sfreq_hz=1000.0)
    child = recorder(amp)
    while amp.n < 3000:
        amp.push(counted(20, first=amp.n), n_chunk=20, real_time=True)
    child.process.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    values = load(recorder.path)[amp.name]["time_series"][:, 0]
    assert values.tolist() == list(range(len(values)))
    assert len(values) > 2000
    assert open_recording(recorder.path).n_samples == len(values)


def fill(child, amp, recorder, folder):
    """Send until the recorder ends, and check the file."""
    x = np.zeros((500, 64), np.float32)
    while child.process.poll() is None and amp.n < 60_000:
        x[:, 0] = np.arange(amp.n, amp.n + 500)
        amp.push(x)
    assert child.wait() == 7
    values = load(folder / "out.xdf")[amp.name]["time_series"][:, 0]
    assert values.tolist() == list(range(len(values)))
    assert f"The recording ends here; {len(values)} samples" in child.said
    assert "Free some space, and record to another file." in child.said
    assert open_recording(folder / "out.xdf").n_samples == len(values)
    return len(values)


def test_a_full_disk_ends_the_recording_with_exit_7_and_a_readable_file(recorder, kit, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    with full_disk.small_disk(folder, n_bytes=2 << 20):
        amp = kit.Amplifier(labels=[f"E{i}" for i in range(64)], sfreq_hz=2000.0)
        child = recorder(amp, out=folder / "out.xdf")
        n_saved = fill(child, amp, recorder, folder)
        assert "No space left on device" in child.said
        assert 1_700_000 < n_saved * 265 < 2 << 20


def test_a_file_size_limit_ends_the_recording_in_the_same_way(recorder, kit, tmp_path):
    amp = kit.Amplifier(labels=[f"E{i}" for i in range(64)], sfreq_hz=2000.0)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    child = recorder(amp, preexec_fn=limit)
    assert fill(child, amp, recorder, tmp_path) * 265 > 700_000  # the last chunk of a quarter of a second is not there
    assert "File too large" in child.said


def test_without_a_stream_it_ends_with_exit_3_and_writes_no_file(start, recorder):
    child = start("record", str(recorder.path), "--query", "name=nobody", "--wait-s", "0.3")
    assert child.wait() == 3
    assert "No stream answered within 0.3 s" in child.said
    assert not recorder.path.exists()


def test_existing_files_are_not_overwritten_and_invalid_paths_are_refused_at_once(start, recorder, tmp_path):
    recorder.path.write_bytes(b"precious")
    for out, word in [("out.xdf", "--force"), ("out.edf", "ends in .xdf"), ("nowhere/out.xdf", "is not a directory")]:
        child = start("record", str(tmp_path / out))
        assert child.wait() == 2
        assert word in child.said
    assert recorder.path.read_bytes() == b"precious"


@pytest.mark.parametrize("option", ["--seconds", "--wait-s"])
def test_a_duration_that_is_nan_is_refused(start, recorder, option):
    child = start("record", str(recorder.path), option, "nan")
    assert child.wait() == 2
    assert "is NaN" in child.said


def test_eeg_without_markers_causes_a_warning(recorder, kit, tmp_path):
    amp, cues = kit.Amplifier(), markers()
    for i, (sources, is_told) in enumerate([((amp,), True), ((amp, cues), False), ((cues,), False)]):
        child = recorder(*sources, out=tmp_path / f"{i}.xdf")
        assert child.interrupt() == 0
        assert ("No markers were recorded, but training needs them" in child.said) == is_told


def test_it_completes_the_file_when_its_parent_ends(recorder, kit):
    amp = kit.Amplifier()
    child = recorder(amp, more=("--until-stdin-closes",), stdin=subprocess.PIPE)
    amp.push(counted(100))
    kit.until(lambda: n_saved(recorder.path) == {amp.name: 100}, "the samples in the file")
    child.process.stdin.close()
    assert child.wait() == 0
    assert load(recorder.path)[amp.name]["footer"]["info"]["sample_count"] == ["100"]


def test_ctrl_c_while_the_command_line_itself_is_imported_ends_it_without_a_traceback(start, recorder, tmp_path):
    slow = tmp_path / "click.py"  # in the place of click: the interrupt comes while it is imported
    slow.write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n")
    child = start("record", str(recorder.path), env=python_path(tmp_path))
    assert child.wait() == 130
    assert child.said == ""


def test_sigterm_ends_it_like_ctrl_c(recorder, kit):
    amp = kit.Amplifier()
    child = recorder(amp)
    amp.push(counted(100))
    kit.until(lambda: n_saved(recorder.path) == {amp.name: 100}, "the samples in the file")
    child.process.send_signal(signal.SIGTERM)
    assert child.wait() == 0
    assert load(recorder.path)[amp.name]["footer"]["info"]["sample_count"] == ["100"]


def test_it_stops_by_itself_after_the_given_seconds(recorder, kit):
    amp = kit.Amplifier()
    child = recorder(amp, more=("--seconds", "0.5"))
    assert child.wait() == 0
    assert load(recorder.path)[amp.name]["footer"]["info"]["sample_count"] == ["0"]


def test_a_full_disk_is_refused_before_a_stream_appears(start, tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    with full_disk.small_disk(folder) as disk:
        full_disk.fill(disk, free_bytes=0)
        child = start("record", str(disk / "out.xdf"))
        assert child.wait() == 2
        assert "the disk is full (0 kB are free" in child.said
        assert not (disk / "out.xdf").exists()
