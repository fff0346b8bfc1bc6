"""The policy in use: live, over a file, and tuned by `pretap tune`."""

from __future__ import annotations

import json

import pytest

POLICY = """
[decode]
hop_ms = 50
[policy]
evidence = "average"
memory_ms = 150
threshold = 0.7
release = 0.6
dwell_ms = 50
refractory_ms = 300
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    from pretap_offline.synthetic.command import simulate_raw

    path = tmp_path_factory.mktemp("policy") / "head_raw.fif"
    simulate_raw(seed=0, n_seconds=90, sfreq_hz=100).save(path, verbose="error")
    return path


def test_the_verdicts_of_score_equal_those_of_the_live_service_exactly(start, recording, tmp_path):
    config, log, scored = tmp_path / "serve.toml", tmp_path / "live.jsonl", tmp_path / "scored.json"
    config.write_text(POLICY)
    replay = start("replay", str(recording), "--name", "policy-head", "--speed", "2", "--wait")
    query = ("--query", "name=policy-head", "--wait-s", "120")
    serve = start("serve", "ensemble-100hz", "--config", str(config), *query, "--log", str(log))
    assert replay.wait(240) == 0
    serve.wait_for("-> LOST")
    serve.interrupt()
    assert (
        start("score", "ensemble-100hz", str(recording), "--config", str(config), "--json", str(scored)).wait(240) == 0
    )
    live = [each for each in map(json.loads, log.read_text().splitlines()) if each["type"] == "verdict"]
    live = [(each["p"], each["label"], each["command"]) for each in live if each["valid"]]
    offline = json.loads(scored.read_text())["decisions"]
    offline = [(each["p"], each["label"], each["command"]) for each in offline if not each["why"]]
    assert live == offline
    assert {label for _, label, _ in live} == {"left", "right", "none"}
    assert sum(command for *_, command in live) > 5


def test_tune_writes_a_configuration_whose_commands_score_repeats(start, recording, tmp_path):
    config, found, figure = tmp_path / "tuned.toml", tmp_path / "found.json", tmp_path / "found.svg"
    arguments = ("tune", "ensemble-100hz", str(recording), "--max-false-per-min", "1000")
    child = start(*arguments, "--out", str(config), "--json", str(found), "--figure", str(figure))
    assert child.wait(240) == 0, child.said
    result = json.loads(found.read_text())
    chosen = result["chosen"]
    assert result["limited"] == "false_per_min"
    assert chosen["report"]["pause_minutes"] > 0
    assert figure.read_text().count("<svg") == 1
    scored = tmp_path / "scored.json"
    assert (
        start("score", "ensemble-100hz", str(recording), "--config", str(config), "--json", str(scored)).wait(240) == 0
    )
    decisions = json.loads(scored.read_text())["decisions"]
    valid = [each for each in decisions if not each["why"]]
    cut_s = decisions[0]["t"] + 0.6 * (decisions[-1]["t"] - decisions[0]["t"])
    n_commands = sum(each["command"] for each in valid if each["t"] <= cut_s)
    assert n_commands == sum(chosen["tuned"][key] for key in ("n_hits", "n_wrong", "n_false"))
    again = start(*arguments, "--out", str(config))
    assert again.wait(240) == 2
    assert "already exists" in again.said


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--max-false-per-min", "1", "--json", "/proc/nowhere/a.json"], 2, "Cannot write /proc/nowhere/a.json"),
        (["--max-false-per-min", "1", "--trials", "0:10"], 2, "holds no trials"),
        ([], 2, "--max-false-per-min"),
    ],
)
def test_tune_refuses_arguments_with_the_reason(start, recording, arguments, code, sentence):
    child = start("tune", "ensemble-100hz", str(recording), *arguments)
    assert child.wait(240) == code
    assert sentence in child.said


def test_tune_reports_chance_for_an_untrained_bundle(start, recording, bundle):
    child = start("tune", str(bundle), str(recording), "--max-false-per-min", "10")
    assert child.wait(240) == 0
    assert "CHANCE" in child.said


def test_trials_have_no_pauses_so_only_the_threshold_is_tuned(start, tmp_path):
    folder, found = tmp_path / "trials", tmp_path / "found.json"
    assert start("simulate", str(folder), "--epochs", "--seed", "0").wait(240) == 0
    arguments = [str(folder), "--part", "train", "--max-false-per-min", "1000", "--json", str(found)]
    trained = start(
        "train",
        "tutorial",
        "--data",
        str(folder),
        "--trials",
        "0:100",
        "--out",
        str(tmp_path / "own.safetensors"),
        "--set",
        "evaluation.folds=0",
        "--set",
        "fit.calibrate=false",
    )
    assert trained.wait(240) == 0, trained.said
    child = start("tune", str(tmp_path / "own.safetensors"), *arguments, "--trials", "100:")
    assert child.wait(240) == 0, child.said
    assert "trials have no pauses" in child.said
    result = json.loads(found.read_text())
    assert (result["limited"], result["hop_ms"], result["honest"]) == ("wrong_per_min", None, True)
    assert result["chosen"]["report"]["false_per_min"] is None
