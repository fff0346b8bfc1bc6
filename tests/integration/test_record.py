"""``pretap record`` and ``serve --record`` as real processes on real streams; what they write is read by pyxdf."""

from __future__ import annotations

import json
import os
import re
import resource
import secrets
import signal
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import pyxdf
from msgspec.structs import replace
from safetensors.numpy import load_file

from pretap.bundle.file import load as load_bundle
from pretap.bundle.file import write_bundle
from pretap.recordings.continuous import open_recording
from pretap_realtime.lsl import limits as memory
from pretap_realtime.lsl.outlet import Outlet
from pretap_realtime.record import xdf_writer
from real_lsl import python_path

FS = 100.0


def load(path: Path, **options) -> dict[str, dict]:
    """Give the streams of a file by name, stamps as they were sent."""
    streams, _ = pyxdf.load_xdf(path, **({"dejitter_timestamps": False, "synchronize_clocks": False} | options))
    return {stream["info"]["name"][0]: stream for stream in streams}


def n_saved(path: Path) -> dict[str, int]:
    """Give how many samples of each stream are in a file that is being written."""
    return {name: len(stream["time_stamps"]) for name, stream in load(path).items()} if path.exists() else {}


def markers() -> Outlet:
    name = f"cues-{secrets.token_hex(4)}"
    outlet = Outlet(name, "Markers", labels=["marker"], format="string")
    outlet.name = name
    return outlet


def counted(n, n_channels=4, first=0):
    """Samples whose value is their index."""
    return np.repeat(np.arange(first, first + n, dtype=np.float32)[:, None], n_channels, axis=1)


@pytest.fixture
def recorder(start, tmp_path, kit):
    """Start a recorder on streams of these outlets, and wait until it reads them all."""

    def begin(*sources, more=(), out=tmp_path / "out.xdf", **options):
        queries = [each for source in sources for each in ("--query", f"name={source.name}")]
        child = start("record", str(out), *queries, *more, **options)
        for source in sources:
            child.wait_for(f"recording '{source.name}'")
        return child

    begin.path = tmp_path / "out.xdf"
    return begin


def test_eeg_and_markers_come_back_with_their_stamps_descriptions_and_footers(recorder, kit):
    amp, cues = kit.Amplifier(), markers()
    child = recorder(amp, cues)
    x = kit.eeg(200)
    t_s = amp.stamps(200)
    amp.push(x)
    cues.push(["tap/left"], t_s[50] + 0.001)
    cues.push(["täp/right"], t_s[150])
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
def test_numbers_of_every_format_are_recorded_as_they_are(recorder, kit, fmt):
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


def test_text_that_is_not_utf8_is_kept_and_told(recorder, kit):
    cues = markers()
    child = recorder(cues)
    cues.push([b"\xff\x00 left"], 10.0)
    cues.push(["after"], 11.0)
    kit.until(lambda: b"after" in recorder.path.read_bytes(), "the marker")
    assert child.interrupt() == 0
    assert b"\xff\x00 left" in recorder.path.read_bytes()
    assert load(recorder.path)[cues.name]["time_series"] == [["\ufffd\x00 left"], ["after"]]
    assert "2 samples, 1 of them not UTF-8, kept as they came" in child.said


def test_after_kill_9_everything_up_to_the_last_second_is_read(recorder, kit):
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


def test_a_recorder_that_stands_still_for_a_while_loses_nothing(recorder, kit):
    amp = kit.Amplifier(sfreq_hz=1000.0)
    child = recorder(amp)
    amp.push(counted(500))
    child.process.send_signal(signal.SIGSTOP)
    for _ in range(100):  # 100 s of samples: far more than a connection holds on its way
        amp.outlet.push_chunk(counted(1000, first=amp.n), amp.stamps(1000))
        amp.n += 1000
    child.process.send_signal(signal.SIGCONT)
    kit.until(lambda: recorder.path.stat().st_size > 100_500 * 25, "the samples in the file")
    assert child.interrupt() == 0
    stream = load(recorder.path)[amp.name]
    assert stream["time_series"][:, 0].tolist() == list(range(100_500))
    assert stream["footer"]["info"]["lost_samples"] == ["0"]


def fill(child, amp, recorder, folder):
    """Send until the recorder gives up, and check what it leaves."""
    x = np.zeros((500, 64), np.float32)
    while child.process.poll() is None and amp.n < 60_000:
        x[:, 0] = np.arange(amp.n, amp.n + 500)
        amp.push(x)
    assert child.wait() == 7
    values = load(folder / "out.xdf")[amp.name]["time_series"][:, 0]
    assert values.tolist() == list(range(len(values)))
    assert f"The recording ends here; {len(values)} samples" in child.said
    assert "Make room, and record into another file." in child.said
    assert open_recording(folder / "out.xdf").n_samples == len(values)
    return len(values)


def test_a_full_disk_ends_the_recording_with_exit_7_and_a_sound_file(recorder, kit, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        amp = kit.Amplifier(labels=[f"E{i}" for i in range(64)], sfreq_hz=2000.0)
        child = recorder(amp, out=folder / "out.xdf")
        n_saved = fill(child, amp, recorder, folder)
        assert "No space left on device" in child.said
        assert 1_700_000 < n_saved * 265 < 2 << 20
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_file_that_may_not_grow_ends_the_recording_the_same_way(recorder, kit, tmp_path):
    amp = kit.Amplifier(labels=[f"E{i}" for i in range(64)], sfreq_hz=2000.0)

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    child = recorder(amp, preexec_fn=limit)
    assert fill(child, amp, recorder, tmp_path) * 265 > 700_000  # the last chunk of a quarter of a second is not there
    assert "File too large" in child.said


def test_a_stream_that_dies_and_returns_goes_on_and_another_one_is_another(recorder, kit):
    amp = kit.Amplifier(source_id="same")
    child = recorder(amp)
    amp.push(counted(100))
    name = amp.name
    kit.until(lambda: n_saved(recorder.path) == {name: 100}, "the samples in the file")
    del amp.outlet
    child.wait_for(f"{name} is gone")
    amp = kit.Amplifier(name=name, source_id="same")
    child.wait_for(f"{name} is back; its recording goes on")
    t_s = amp.stamps(100)
    amp.push(counted(100, first=100))
    kit.until(lambda: n_saved(recorder.path) == {name: 200}, "the samples in the file")
    del amp.outlet
    kit.until(lambda: child.said.count(f"{name} is gone") == 2, "the second death")
    other = kit.Amplifier(name=name, source_id="same", labels=("C3", "Cz", "C4", "Pz"))
    kit.until(lambda: child.said.count(f"recording '{name}'") == 2, "the other stream")
    other.push(counted(50))
    kit.until(lambda: n_saved(recorder.path) == {name: 50}, "the samples in the file")  # of the second of the name
    assert child.interrupt() == 0
    streams, _ = pyxdf.load_xdf(recorder.path, dejitter_timestamps=False, synchronize_clocks=False)
    assert [stream["info"]["stream_id"] for stream in streams] == [1, 2]
    assert streams[0]["time_series"][:, 0].tolist() == list(range(200))
    assert streams[0]["time_stamps"][100:].tolist() == t_s.tolist()
    assert streams[0]["footer"]["info"]["interruptions"] == ["1"]
    assert streams[1]["time_series"][:, 0].tolist() == list(range(50))


def test_a_computer_that_dies_without_a_word_and_returns_goes_on_under_the_same_id(start, recorder, xdf_dir, kit):
    name = f"frozen-{secrets.token_hex(4)}"
    play = ("replay", str(xdf_dir / "clock_resets.xdf"), "--name", name, "--wait")
    first = start(*play)
    child = start("record", str(recorder.path), "--query", f"name={name}")
    child.wait_for(f"recording '{name}'")
    kit.until(lambda: n_saved(recorder.path).get(name, 0) > 20, "samples in the file")
    first.process.send_signal(signal.SIGSTOP)  # no goodbye on the wire, as when the power goes
    child.wait_for(f"{name} has sent nothing for 3 s")
    n_before = n_saved(recorder.path)[name]
    second = start(*play)
    child.wait_for(f"{name} is back; its recording goes on")
    kit.until(lambda: n_saved(recorder.path)[name] > n_before + 20, "samples of the second")
    second.end()
    assert child.interrupt() == 0
    streams, _ = pyxdf.load_xdf(recorder.path, dejitter_timestamps=False)
    assert [stream["info"]["stream_id"] for stream in streams] == [1]
    original = load(xdf_dir / "clock_resets.xdf")["BioSemi"]["time_series"]
    values, stamps = streams[0]["time_series"], streams[0]["time_stamps"]
    assert np.array_equal(values[:n_before], original[:n_before])
    assert np.array_equal(values[n_before:], original[: len(values) - n_before])
    assert np.flatnonzero(np.diff(stamps) > 3).tolist() == [n_before - 1]


def test_a_stream_that_appears_late_is_added(start, kit, recorder):
    kind = f"Kind{secrets.token_hex(4)}"
    first = kit.Amplifier(kind=kind)
    child = start("record", str(recorder.path), "--query", f"type={kind}")
    child.wait_for(f"recording '{first.name}'")
    first.push(counted(50))
    late = kit.Amplifier(kind=kind)
    child.wait_for(f"recording '{late.name}'")
    late.push(counted(60))
    first.push(counted(50, first=50))
    kit.until(lambda: n_saved(recorder.path) == {first.name: 100, late.name: 60}, "the samples in the file")
    assert child.interrupt() == 0
    streams = load(recorder.path)
    assert streams[first.name]["time_series"][:, 0].tolist() == list(range(100))
    assert streams[late.name]["time_series"][:, 0].tolist() == list(range(60))


def test_losses_are_counted_exactly_in_the_footer_and_in_words(recorder, kit):
    amp = kit.Amplifier()
    child = recorder(amp)
    for n_skipped in (1, 7, 100, 0):
        amp.push(counted(300, first=amp.n))
        amp.skip(n_skipped)
    kit.until(lambda: n_saved(recorder.path) == {amp.name: 1200}, "the samples in the file")
    assert child.interrupt() == 0
    stream = load(recorder.path)[amp.name]
    assert stream["footer"]["info"]["lost_samples"] == ["108"]
    assert len(stream["time_stamps"]) + 108 == amp.n
    assert f"{amp.name}: 1200 samples, 108 lost" in child.said


def test_a_stream_of_an_impossible_rate_is_refused_once_and_the_others_are_recorded(start, recorder, kit):
    kind = f"Kind{secrets.token_hex(4)}"
    mad = Outlet(f"mad-{kind}", kind, labels=["a", "b"], format="float32", sfreq_hz=1.1e6)
    amp = kit.Amplifier(kind=kind)
    child = start("record", str(recorder.path), "--query", f"type={kind}")
    child.wait_for(f"recording '{amp.name}'")
    child.wait_for("is not recorded: a rate of 1.1e.06 Hz cannot be: expected at most 1 MHz")
    amp.push(counted(150))
    kit.until(lambda: n_saved(recorder.path) == {amp.name: 150}, "the samples in the file")
    assert child.interrupt() == 0
    assert child.said.count("is not recorded") == 1
    assert not mad.has_consumers()


@pytest.mark.parametrize(
    ("fmt", "n_channels", "sfreq_hz", "affordable_s"),
    [("float32", 64, 2000.0, 524), ("float32", 64, 0.0, 10485), ("int16", 256, 30_000.0, 17), ("int8", 1, 1e6, 268)],
)
def test_what_waits_for_the_recorder_is_256_mb_at_most(fmt, n_channels, sfreq_hz, affordable_s):
    assert memory.affordable_s(n_channels, sfreq_hz, fmt) == affordable_s
    for rate_hz, n in ((1.1e6, 1), (float("nan"), 1), (-1.0, 1), (1e6, 300)):
        with pytest.raises(ValueError, match=r"cannot be|are too much"):
            memory.affordable_s(n, rate_hz, "float32")


def test_without_a_stream_it_ends_with_exit_3_and_leaves_no_file(start, recorder):
    child = start("record", str(recorder.path), "--query", "name=nobody", "--wait-s", "0.3")
    assert child.wait() == 3
    assert "No stream answered within 0.3 s" in child.said
    assert not recorder.path.exists()


def test_what_is_there_is_not_overwritten_and_what_cannot_be_written_is_refused_at_once(start, recorder, tmp_path):
    recorder.path.write_bytes(b"precious")
    for out, word in [("out.xdf", "--force"), ("out.edf", "ends in .xdf"), ("nowhere/out.xdf", "is no directory")]:
        child = start("record", str(tmp_path / out))
        assert child.wait() == 2
        assert word in child.said
    assert recorder.path.read_bytes() == b"precious"


@pytest.mark.parametrize("option", ["--seconds", "--wait-s"])
def test_a_duration_that_is_no_number_is_refused(start, recorder, option):
    child = start("record", str(recorder.path), option, "nan")
    assert child.wait() == 2
    assert "is NaN" in child.said


def test_eeg_without_markers_gets_a_word_but_not_with_them_nor_they_alone(recorder, kit, tmp_path):
    amp, cues = kit.Amplifier(), markers()
    for i, (sources, is_told) in enumerate([((amp,), True), ((amp, cues), False), ((cues,), False)]):
        child = recorder(*sources, out=tmp_path / f"{i}.xdf")
        assert child.interrupt() == 0
        assert ("no markers were recorded: training needs them" in child.said) == is_told


def test_it_ends_well_when_its_parent_is_gone(recorder, kit):
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


def test_sigterm_ends_it_as_well_as_ctrl_c_does(recorder, kit):
    amp = kit.Amplifier()
    child = recorder(amp)
    amp.push(counted(100))
    kit.until(lambda: n_saved(recorder.path) == {amp.name: 100}, "the samples in the file")
    child.process.send_signal(signal.SIGTERM)
    assert child.wait() == 0
    assert load(recorder.path)[amp.name]["footer"]["info"]["sample_count"] == ["100"]


def test_it_stops_by_itself_after_the_seconds_asked_for(recorder, kit):
    amp = kit.Amplifier()
    child = recorder(amp, more=("--seconds", "0.5"))
    assert child.wait() == 0
    assert load(recorder.path)[amp.name]["footer"]["info"]["sample_count"] == ["0"]


def test_a_replayed_recording_that_is_recorded_again_is_the_recording(start, xdf_dir, kit, recorder):
    """A computer restarted in the middle, a rate 7 % off, jitter of 0.3 s: and the copy reads as the original."""
    source = xdf_dir / "clock_resets.xdf"
    name = f"copy-{secrets.token_hex(4)}"
    replay = start("replay", str(source), "--name", name, "--wait", "--speed", "60")
    child = start("record", str(recorder.path), "--query", f"name={name}", "--query", f"name={name}-markers")
    assert replay.wait() == 0
    assert replay.said.count("the recording has a break after 138.2 s") == 1
    assert child.interrupt() == 0

    def both(path):
        streams, _ = pyxdf.load_xdf(path)
        return sorted(streams, key=lambda stream: stream["info"]["channel_format"][0])

    (eeg, text), (eeg_copy, text_copy) = both(source), both(recorder.path)
    assert eeg_copy["time_series"].shape == (27815, 8)
    assert eeg_copy["time_series"].tobytes() == eeg["time_series"].tobytes()
    assert len(text["time_series"]) == 175
    assert text_copy["time_series"] == text["time_series"]
    for stream, copy in ((eeg, eeg_copy), (text, text_copy)):
        late_s = (copy["time_stamps"] - eeg_copy["time_stamps"][0]) - (stream["time_stamps"] - eeg["time_stamps"][0])
        assert np.abs(late_s).max() < 1e-3
    ours, ours_copy = open_recording(source), open_recording(recorder.path)
    assert np.array_equal(ours.read(0, 27815), ours_copy.read(0, 27815))
    assert ours_copy.segments == ours.segments == (0, 12613, 12876)
    assert ours_copy.sfreq_hz == pytest.approx(ours.sfreq_hz, rel=1e-9)
    assert ours_copy.t_s - ours_copy.t_s[0] == pytest.approx(ours.t_s - ours.t_s[0], abs=1e-6)
    for event, copy in zip(ours.events, ours_copy.events, strict=True):
        assert (copy.sample, copy.text) == (event.sample, event.text)
        assert copy.late_s == pytest.approx(event.late_s, abs=1e-6)


# -- serve --record ------------------------------------------------------------------------------------------------


def test_serve_record_leaves_a_folder_with_all_of_a_session(start, kit, bundle, tmp_path):
    amp, prefix, folder = kit.Amplifier(), f"p-{secrets.token_hex(4)}", tmp_path / "session"
    service = start(
        "serve", str(bundle), "--query", f"name={amp.name}", "--record", str(folder), "--set", f"markers.name={prefix}"
    )
    service.wait_for("RUNNING")
    kit.until(lambda: f"recording '{amp.name}'" in (folder / "record.log").read_text(), "the EEG on record")
    streams = [f"{prefix}-{each}" for each in ("markers", "codes", "probabilities")]
    for each in streams:
        kit.until(lambda each=each: f"recording '{each}'" in (folder / "record.log").read_text(), each)
    x, t_s = kit.eeg(200), amp.stamps(200)
    amp.push(x)

    def verdict_stamps():
        lines = (folder / "decisions.jsonl").read_text().splitlines()
        return [line["t"] for line in map(json.loads, lines) if line["type"] == "verdict"]

    kit.until(lambda: any(abs(t - t_s[-1]) < 1e-6 for t in verdict_stamps()), "the last decision")
    assert service.interrupt() == 0
    assert f"recorded into {folder}" in service.said
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "decisions.jsonl",
        "record.log",
        "session.json",
        "session.xdf",
    ]
    recorded = load(folder / "session.xdf")
    assert set(recorded) == {amp.name, *streams}
    assert recorded[amp.name]["time_series"].tobytes() == x.tobytes()
    assert len(verdict_stamps()) >= 31
    assert recorded[f"{prefix}-probabilities"]["time_stamps"].tolist() == verdict_stamps()
    about = json.loads((folder / "session.json").read_text())
    assert about["bundle"] == str(bundle)
    assert len(about["bundle_sha256"]) == 64
    assert set(about["versions"]) == {"pretap", "python", "numpy", "liblsl"}
    config = json.loads((folder / "config.json").read_text())
    assert (config["markers"]["name"], config["stream"]["query"]) == (prefix, f"name={amp.name}")


def test_what_is_decided_on_is_on_record_from_the_first_sample_on(start, kit, bundle, tmp_path):
    amp, folder = kit.Amplifier(), tmp_path / "session"
    over = threading.Event()

    def flow():
        while not over.is_set():
            amp.push(kit.eeg(10), real_time=True)

    flowing = threading.Thread(target=flow)
    flowing.start()
    try:
        service = start("serve", str(bundle), "--query", f"name={amp.name}", "--record", str(folder))
        service.wait_for("RUNNING")
        kit.until(lambda: '"verdict"' in (folder / "decisions.jsonl").read_text(), "the warm-up")
    finally:
        over.set()
        flowing.join()
    assert service.interrupt() == 0
    lines = map(json.loads, (folder / "decisions.jsonl").read_text().splitlines())
    first_s = next(line["t"] for line in lines if line["why"].startswith("warm-up"))
    assert load(folder / "session.xdf")[amp.name]["time_stamps"][0] <= first_s


def test_a_session_folder_that_holds_something_is_refused(start, bundle, tmp_path):
    folder = tmp_path / "session"
    folder.mkdir()
    (folder / "notes.txt").write_text("precious")
    service = start("serve", str(bundle), "--record", str(folder))
    assert service.wait() == 2
    assert "is not empty: choose a new folder" in service.said
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_recorder_that_dies_is_announced_and_serve_goes_on(start, kit, bundle, tmp_path):
    amp, prefix, folder = kit.Amplifier(), f"p-{secrets.token_hex(4)}", tmp_path / "session"
    service = start(
        "serve", str(bundle), "--query", f"name={amp.name}", "--record", str(folder), "--set", f"markers.name={prefix}"
    )
    service.wait_for("RUNNING")
    (recorder_pid,) = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    os.kill(int(recorder_pid), signal.SIGKILL)
    service.wait_for(r"RECORDING HAS STOPPED \(exit code -9\)")
    amp.push(kit.eeg(100))
    kit.until(lambda: '"verdict"' in (folder / "decisions.jsonl").read_text(), "a decision")
    assert service.interrupt() == 0


def test_ctrl_c_on_the_terminal_reaches_the_recorder_once_and_through_serve(start, kit, bundle, tmp_path):
    amp, prefix, folder = kit.Amplifier(), f"p-{secrets.token_hex(4)}", tmp_path / "session"
    given = ("--query", f"name={amp.name}", "--record", str(folder), "--set", f"markers.name={prefix}")
    service = start("serve", str(bundle), *given, start_new_session=True)
    service.wait_for("RUNNING")
    kit.until(lambda: f"recording '{amp.name}'" in (folder / "record.log").read_text(), "the EEG on record")
    kit.until(lambda: f"recording '{prefix}-markers'" in (folder / "record.log").read_text(), "the markers on record")
    amp.push(kit.eeg(100))
    os.killpg(service.process.pid, signal.SIGINT)  # what a terminal does
    assert service.wait() == 0
    assert f"recorded into {folder}" in service.said
    recorded = load(folder / "session.xdf")
    assert all("footer" in stream for stream in recorded.values())
    last = json.loads(recorded[f"{prefix}-markers"]["time_series"][-1][0])
    logged = [json.loads(line) for line in (folder / "decisions.jsonl").read_text().splitlines()]
    assert last["seq"] == logged[-1]["seq"]  # the very last message is on record


def test_the_recorder_ends_well_when_serve_is_killed(start, kit, bundle, tmp_path):
    amp, prefix, folder = kit.Amplifier(), f"p-{secrets.token_hex(4)}", tmp_path / "session"
    service = start(
        "serve", str(bundle), "--query", f"name={amp.name}", "--record", str(folder), "--set", f"markers.name={prefix}"
    )
    service.wait_for("RUNNING")
    kit.until(lambda: f"recording '{amp.name}'" in (folder / "record.log").read_text(), "the EEG on record")
    amp.push(kit.eeg(100))
    kit.until(lambda: n_saved(folder / "session.xdf").get(amp.name) == 100, "the samples in the file")
    service.end()
    kit.until(lambda: "wrote" in (folder / "record.log").read_text(), "the end of the recording")
    assert load(folder / "session.xdf")[amp.name]["footer"]["info"]["sample_count"] == ["100"]


# -- several streams of EEG in one file ----------------------------------------------------------------------------


@pytest.fixture
def two_eegs(tmp_path) -> Path:
    """What is left of an amplifier whose order of channels was changed while it was recorded."""
    file = xdf_writer.XdfFile(tmp_path / "two.xdf")
    for number, labels in ((1, "O1 C4 Cz C3"), (5, "C3 Cz C4 O1")):
        channels = "".join(f"<channel><label>{label}</label><unit>uV</unit></channel>" for label in labels.split())
        xml = (
            "<info><name>Amp</name><type>EEG</type><channel_count>4</channel_count><source_id>s</source_id>"
            "<channel_format>float32</channel_format><nominal_srate>100</nominal_srate>"
            f"<desc><channels>{channels}</channels></desc></info>"
        )
        t_s = 1000.0 * number + np.arange(60 * number) / 100
        file.write([xdf_writer.stream_header(number, xml), xdf_writer.samples(number, counted(len(t_s)), t_s)])
    file.close()
    return file.path


def test_one_of_two_eeg_streams_is_chosen_by_the_id_that_the_refusal_names(start, bundle, two_eegs, tmp_path):
    decoder, of_recordings = load_bundle(bundle), tmp_path / "of_recordings.safetensors"
    events = {"left": ("tap/left",), "right": ("tap/right",)}
    recipe = replace(decoder.manifest.training.config, events=events)
    training = replace(decoder.manifest.training, config=recipe)
    weights = {name: each for name, each in load_file(bundle).items() if not name.startswith("probe")}
    write_bundle(of_recordings, replace(decoder.manifest, training=training), weights)
    name = f"play-{secrets.token_hex(4)}"
    commands = {
        ("score", str(bundle), str(two_eegs)): (0, "51 decisions"),
        ("replay", str(two_eegs), "--name", name): (0, f"{name}: 300 samples and 0 markers sent"),
        ("train", "own-cap", "--recording", str(two_eegs)): (7, "No event of class 'left'"),
        ("evaluate", str(of_recordings), "--recording", str(two_eegs)): (7, "No event of class 'left'"),
    }
    for command, (code, said) in commands.items():
        refused = start(*command)
        assert refused.wait() == 7
        assert "name one with --xdf-stream. It has 'Amp' (id 1, " in refused.said
        assert "'Amp' (id 5, " in refused.said
        chosen = start(*command, "--xdf-stream", "5")
        assert (chosen.wait(), bool(re.search(said, chosen.said))) == (code, True), chosen.said


def test_a_stream_of_what_is_no_xdf_is_refused(start, bundle, tmp_path):
    for command in (["score", str(bundle), "synthetic"], ["replay", str(tmp_path)]):
        child = start(*command, "--xdf-stream", "5")
        assert child.wait() == 2
        assert "a stream can be chosen in XDF files only" in child.said
    for command in (["train", "own-cap"], ["evaluate", str(bundle)]):
        child = start(*command, "--xdf-stream", "5")
        assert child.wait() == 2
        assert "--xdf-stream chooses a stream of the files that --recording names" in child.said
