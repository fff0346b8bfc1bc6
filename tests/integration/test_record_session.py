"""``serve --record``: the folder of a session, and how the recorder ends with the service."""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
from pathlib import Path

from xdf_files import load, n_saved


def test_serve_record_writes_a_folder_with_the_whole_session(start, kit, bundle, tmp_path):
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


def test_all_samples_that_are_decoded_are_recorded(start, kit, bundle, tmp_path):
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


def test_a_session_folder_that_is_not_empty_is_refused(start, bundle, tmp_path):
    folder = tmp_path / "session"
    folder.mkdir()
    (folder / "notes.txt").write_text("precious")
    service = start("serve", str(bundle), "--record", str(folder))
    assert service.wait() == 2
    assert "is not empty: choose a new folder" in service.said
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_the_death_of_the_recorder_is_announced_and_serve_continues(start, kit, bundle, tmp_path):
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


def test_the_recorder_completes_the_file_when_serve_is_killed(start, kit, bundle, tmp_path):
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
