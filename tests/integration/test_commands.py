"""Replay, verify, demo, doctor and streams, as real processes."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from pretap.recordings.competition import CHANNELS
from pretap_realtime.lsl.inlets import Inlet, MarkerInlet
from pretap_realtime.lsl.library import local_clock
from pretap_realtime.lsl.outlet import Outlet
from pretap_realtime.signal.chunk import Chunk
from real_lsl import resolve, until
from xdf_files import markers

pytestmark = pytest.mark.xdist_group("head")  # one simulation

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A synthetic head: trials in the competition's format, and a continuous recording."""
    folder = tmp_path_factory.mktemp("head")
    base = [sys.executable, "-m", "pretap", "simulate"]
    subprocess.run([*base, str(folder / "trials"), "--epochs", "--n-train", "40", "--n-test", "12"], check=True)
    subprocess.run([*base, str(folder / "head_raw.fif"), "--seconds", "8", "--sfreq-hz", "200"], check=True)
    return folder


@pytest.fixture
def wide_bundle(tmp_path, make_decoder):
    """Make bundles with random weights for the 28 channels of the competition."""

    def make(sfreq_hz):
        path = tmp_path / f"random-{sfreq_hz:g}.safetensors"
        make_decoder(path=path, channels=CHANNELS, sfreq_hz=sfreq_hz, n_window=round(sfreq_hz / 2), hidden=(10, 10, 5))
        return path

    return make


@pytest.mark.parametrize("sfreq_hz", [100.0, 1000.0])
def test_what_goes_out_live_equals_offline_evaluation_on_a_synthetic_head(start, head, wide_bundle, tmp_path, sfreq_hz):
    report = tmp_path / "parity.json"
    bundle = wide_bundle(sfreq_hz)
    child = start("verify", str(bundle), "--data", str(head / "trials"), "--json", str(report))
    assert child.wait(240) == 0, child.said
    parity = json.loads(report.read_text())
    assert parity["passed"] is True
    assert (parity["n_expected"], parity["n_received"], parity["n_lost"], parity["n_extra"]) == (12, 12, 0, 0)
    assert parity["labels_equal"] is True
    assert parity["max_abs_diff"] <= 1e-6
    assert set(parity["latency_ms"]) == {"p50", "p95", "p99"}


@pytest.mark.parametrize("sfreq_hz", [100.0, 1000.0])
def test_what_goes_out_live_equals_offline_evaluation_on_the_real_test_part(
    start, competition_dir, wide_bundle, tmp_path, sfreq_hz
):
    report = tmp_path / "parity.json"
    bundle = wide_bundle(sfreq_hz)
    child = start("verify", str(bundle), "--data", str(competition_dir), "--speed", "8", "--json", str(report))
    assert child.wait(240) == 0, child.said
    parity = json.loads(report.read_text())
    assert (parity["n_expected"], parity["n_received"], parity["passed"]) == (100, 100, True)
    assert parity["max_abs_diff"] <= 1e-6
    assert parity["latency_ms"] is None


@pytest.mark.parametrize(
    ("device", "sfreq_hz"),
    [
        (("--packet", "9", "--jitter-ms", "3"), 1000.0),
        (("--jitter-ms", "3", "--one-sided"), 250.0),
    ],
)
def test_packets_and_jitter_leave_every_decision_on_its_sample(start, head, wide_bundle, tmp_path, device, sfreq_hz):
    report = tmp_path / "parity.json"
    bundle = wide_bundle(sfreq_hz)
    child = start("verify", str(bundle), "--data", str(head / "trials"), *device, "--json", str(report))
    assert child.wait(240) == 0, child.said
    parity = json.loads(report.read_text())
    assert (parity["n_expected"], parity["n_decided"], parity["passed"]) == (11, 11, True)
    assert (parity["n_other_samples"], parity["n_settled"]) == (0, 6)
    assert parity["max_abs_diff"] <= 1e-6
    assert parity["max_sample_error_ms"] <= max(2, 1000 / sfreq_hz) == parity["allowed_ms"]
    assert parity["n_covered"] == 6


def test_verify_refuses_what_it_cannot_judge(start, head, wide_bundle):
    verify = ("verify", str(wide_bundle(100.0)), "--data", str(head / "trials"))
    few = start(*verify, "--jitter-ms", "3", "--trials", ":6")
    assert few.wait() == 2
    assert "expected more than 6 trials, got 6" in few.said
    one_sided = start(*verify, "--one-sided")
    assert one_sided.wait() == 2
    assert "give --jitter-ms too" in one_sided.said


def test_score_equals_a_live_session_bit_for_bit(start, head, tmp_path, make_decoder):
    bundle, log, scored = tmp_path / "b.safetensors", tmp_path / "live.jsonl", tmp_path / "scored.json"
    make_decoder(path=bundle, channels=CHANNELS, sfreq_hz=200.0, n_window=100)
    fif = str(head / "head_raw.fif")
    live = start("serve", str(bundle), "--query", "name=cap", "--log", str(log), "--wait-s", "120")
    live.wait_for("WAITING")
    assert start("replay", fif, "--name", "cap", "--chunk", "13", "--wait").wait() == 0
    live.wait_for("-> LOST")
    assert live.interrupt() == 0
    assert start("score", str(bundle), fif, "--json", str(scored), "--chunk", "77").wait() == 0
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    said_live = [row["p"] for row in rows if row["type"] == "verdict" and row["valid"]]
    said_offline = [d["p"] for d in json.loads(scored.read_text())["decisions"] if not d["why"]]
    assert len(said_offline) == (8 * 200 - 100) // 10 + 1
    assert said_live == said_offline


def test_a_replay_sends_every_sample_with_its_own_stamp_and_every_event_as_a_marker(start, head, kit):
    from pretap.recordings.continuous import open_recording

    recording = open_recording(head / "head_raw.fif")
    child = start("replay", str(head / "head_raw.fif"), "--name", "cap", "--speed", "8", "--wait")
    inlet, markers = Inlet(resolve("cap")), MarkerInlet(resolve("cap-markers"))
    d = inlet.description
    assert (d.sfreq_hz, d.speed, d.subject, d.labels) == (200.0, 8.0, recording.subject, recording.channels)
    assert set(d.units) == {"microvolts"}
    markers.start()
    inlet.open(order=range(28), factors=[1.0] * 28)
    chunks, cues = [], []

    def all_there():
        if (chunk := inlet.pull(0.05)) is not None:
            chunks.append(Chunk(chunk.x_uv.copy(), chunk.t_s.copy()))  # valid until the next pull
        cues.extend(markers.pull())
        return sum(len(c.t_s) for c in chunks) == recording.n_samples and len(cues) == len(recording.events)

    kit.until(all_there, "all samples and markers")
    t_s = np.concatenate([c.t_s for c in chunks])
    assert np.array_equal(np.concatenate([c.x_uv for c in chunks]), recording.read(0, recording.n_samples))
    assert np.abs(t_s - (t_s[0] + np.arange(len(t_s)) / 200)).max() < 1e-9
    sent = [(round((cue.t_s - t_s[0]) * 200), cue.text) for cue in cues]
    assert sent == [(event.sample, event.text) for event in recording.events]
    assert child.wait() == 0


def test_a_looping_replay_announces_the_seam_and_ends_on_ctrl_c(start, head, kit):
    child = start("replay", str(head / "trials"), "--trials", ":1", "--loop", "--name", "round")
    markers = kit.Listener("round-markers")
    kit.until(lambda: markers.poll() or "loop/2" in markers.texts, "the second seam")
    assert child.interrupt() == 0
    at = markers.texts.index("loop/2")
    assert re.fullmatch(r"trial/0/end/(left|right)", markers.texts[at - 1])
    assert re.fullmatch(r"trial/0/start/(left|right)", markers.texts[at + 1])
    assert markers.stamps[at] == markers.stamps[at + 1]
    assert markers.stamps[at] - markers.stamps[at - 1] == pytest.approx(0.001, abs=1e-9)


def test_the_demo_runs_by_itself_and_ends_well(start):
    child = start("demo", "--n-trials", "6")
    assert child.wait(240) == 0, child.said
    assert re.search(r"^\d of 6 correct \(\d+%; guessing gets 50 %\)", child.said, re.MULTILINE)
    assert "6 decisions, 0 skipped" in child.said
    assert "3000 samples received, 0 lost" in child.said


def test_the_demo_on_the_real_data_replays_trials_it_was_not_trained_on(start, competition_dir):
    child = start("demo", "--n-trials", "6", "--data", str(competition_dir))
    assert child.wait(240) == 0, child.said
    assert "trained on 310 trials" in child.said
    assert "6 decisions, 0 skipped" in child.said


def test_ctrl_c_in_a_training_ends_with_130_and_leaves_no_bundle(start, head, tmp_path):
    out = tmp_path / "half.safetensors"
    child = start(
        "train", "tutorial", "--data", str(head / "trials"), "--out", str(out),
        "--set", "evaluation.folds=0", "--set", "fit.max_epochs=1000", "--set", "signal.sfreq_hz=100",
    )  # fmt: skip
    child.wait_for(r"training: \d+ %")
    assert child.interrupt() == 130
    assert "Interrupted." in child.said
    assert not out.exists()


def test_doctor_finds_nothing_wrong_here(start):
    child = start("doctor", "--json", "-")
    assert child.wait() == 0, child.said
    checks = {check["name"]: check for check in json.loads(child.said)}
    names = ["python", "packages", "liblsl", "configuration", "network", "round trip", "streams", "clock", "engines"]
    assert {name: check["ok"] for name, check in checks.items()} == dict.fromkeys(names, True)
    assert checks["configuration"]["is_warning"]  # the tests' own
    assert "resolvescope = machine" in checks["configuration"]["advice"]


def test_doctor_warns_of_a_foreign_library_and_a_foreign_configuration(start, tmp_path):
    import pylsl.lib

    foreign = tmp_path / "lsl_api.cfg"
    foreign.write_text("[lab]\nKnownPeers = {192.0.2.77}\nSessionID = someone-else\n[log]\nlevel = -3\n")
    environment = {**os.environ, "LSLAPICFG": str(foreign), "PYLSL_LIB": pylsl.lib.lib._name}
    said = start("doctor", env=environment)
    said.wait()
    assert f"WARN  configuration {foreign} (LSLAPICFG)" in said.said
    assert "knownpeers = {192.0.2.77}: computers that are asked" in said.said
    assert "sessionid = someone-else" in said.said
    assert "WARN  liblsl" in said.said
    assert "unset PYLSL_LIB" in said.said


def test_streams_lists_what_is_there_with_labels_and_units(start, kit):
    amp = kit.Amplifier(name="amp \x1b[31m with 'quotes' & <tags>", labels=("C3", "C\x074"))
    listed = start("streams", "--json", "-")
    assert listed.wait() == 0
    (row,) = [row for row in json.loads(listed.said) if row["type"] == "EEG"]
    assert (row["n_channels"], row["sfreq_hz"], row["units"]) == (2, 100.0, ["microvolts", "microvolts"])
    plain = start("streams")
    assert plain.wait() == 0
    assert "with 'quotes'" in plain.said
    assert "\x1b" not in plain.said
    del amp  # its outlet had to live until here


def test_markers_counts_the_texts_of_a_live_stream_until_it_is_interrupted(start, tmp_path):
    counts = tmp_path / "counts.json"
    with closing(markers()) as cues:
        child = start("markers", cues.name, "--seconds", "1000", "--json", str(counts))
        child.wait_for("listening to")
        until(cues.has_consumers, "a reader of the markers")
        for text in ("tap/right", "tap/left", "tap/right\n", "stop"):
            cues.push_sample([text], local_clock())
        child.wait_for("'stop'")  # each text is shown when it comes for the first time
        assert child.interrupt() == 0
    (stream,) = json.loads(counts.read_text())["streams"]
    assert list(stream["counts"].items()) == [("tap/right", 2), ("tap/left", 1), ("stop", 1)]


def test_markers_leaves_out_the_messages_of_services_unless_one_is_named(start):
    name = f"svc-{secrets.token_hex(4)}"
    own = [
        Outlet(f"{name}-markers", "Markers", labels=["message"], format="string"),
        Outlet(f"{name}-probabilities", "Probabilities", labels=["left", "right", "quality"], format="float32"),
    ]
    with closing(markers()) as cues:
        child = start("markers", "type=Markers", "--seconds", "0.1")
        assert child.wait() == 0
        assert f"left out, because pretap sends them: {name}-markers" in child.said
        assert f"{cues.name} (id {cues.name}): 0 markers" in child.said
        child = start("markers", f"{name}-markers", "--seconds", "0.1")
        assert child.wait() == 0
        assert f"{name}-markers (id {name}-markers): 0 markers" in child.said
    del own  # the outlets had to live until here


def test_markers_ends_by_itself_and_refuses_a_stream_that_is_missing_or_has_no_markers(start, kit):
    amp = kit.Amplifier()
    with closing(markers()) as cues:
        child = start("markers", f"name={cues.name}", "--seconds", "0.1")
        assert child.wait() == 0
    assert f"{cues.name} (id {cues.name}): 0 markers" in child.said
    child = start("markers", amp.name)
    assert child.wait() == 4
    assert "is not a stream of markers" in child.said
    child = start("markers", "nobody")
    assert child.wait() == 3
    assert "No stream 'nobody', and no such file" in child.said
