"""``--adapt recentre`` over real LSL: `score` and `verify` reproduce it bit for bit, and its state starts a session."""

from __future__ import annotations

import json

import pytest

from adapting_cases import CHANNELS, signal, trials, write_adaptable
from command_line import invoke, run
from pretap.recordings.mne_epochs import write_mne_epochs


@pytest.fixture(scope="module")
def adaptable(tmp_path_factory):
    return write_adaptable(tmp_path_factory.mktemp("adaptable") / "adaptable.safetensors")


def serve_session(start, kit, bundle, folder, state, *, gain):
    """Serve a short session and record it into `folder`; return the logged decisions with probabilities."""
    amp = kit.Amplifier(labels=list(CHANNELS))
    service = start(
        "serve", str(bundle), "--query", f"name={amp.name}", "--record", str(folder),
        "--adapt", "recentre", "--adapt-state", str(state),
    )  # fmt: skip
    service.wait_for("RUNNING")
    kit.until(lambda: f"recording '{amp.name}'" in (folder / "record.log").read_text(), "the EEG on record")
    amp.push(signal(400, seed=2, gain=gain))

    def logged():
        lines = map(json.loads, (folder / "decisions.jsonl").read_text().splitlines())
        return [line for line in lines if line["type"] == "verdict" and line["p"]]

    kit.until(lambda: logged() and logged()[-1]["adapted"]["n_windows"] >= 7, "the last decisions")
    kit.until(lambda: len(logged()) == 71, "all decisions")
    assert service.interrupt() == 0
    return logged(), service.said


def test_score_reproduces_a_live_session_and_its_state_starts_the_next(start, kit, adaptable, tmp_path):
    state, n_before = tmp_path / "state.json", 0
    for name in ("one", "two"):
        folder, scored = tmp_path / name, tmp_path / f"{name}.json"
        live, said = serve_session(start, kit, adaptable, folder, state, gain=2.0)
        assert f"adapts from {'the training' if name == 'one' else f'the state in {state}'} on" in said
        assert f"adaptation: moved by {n_before + 8} windows" in said
        invoke(
            "score", adaptable, folder / "session.xdf", "--hop-ms", 50, "--adapt", "recentre",
            "--adapt-state", folder / "adapt-state.json", "--json", scored,
        )  # fmt: skip
        offline = [row for row in json.loads(scored.read_bytes())["decisions"] if row["p"]]
        assert [row["p"] for row in offline] == [row["p"] for row in live]
        assert [row["adapted"] for row in offline] == [row["adapted"] for row in live]
        assert live[0]["adapted"]["n_windows"] == n_before
        n_before += 8


def test_verify_proves_the_adaptation_through_the_service(adaptable, tmp_path):
    data, result = tmp_path / "session-epo.fif", tmp_path / "parity.json"
    write_mne_epochs(trials(12, seed=1, gain=2.0), data)
    run("verify", adaptable, "--data", data, "--speed", "4", "--adapt", "recentre", "--json", result)
    parity = json.loads(result.read_bytes())
    assert (parity["passed"], parity["max_abs_diff"], parity["n_received"]) == (True, 0.0, 12)


def test_the_state_of_an_adaptation_needs_one(start, adaptable, tmp_path):
    service = start("serve", str(adaptable), "--adapt-state", str(tmp_path / "state.json"))
    assert service.wait() == 2
    assert "give --adapt recentre too" in service.said
