"""The command line: what it loads, what its commands are, and what its processes end with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import click
import msgspec
import numpy as np
import pytest
from click.testing import CliRunner
from scipy.io import savemat

from pretap import __version__
from pretap.bundle.file import load, read_bundle, write_bundle
from pretap.bundle.manifest import Metrics
from pretap.cli import pretap
from pretap.config.train import EvaluationConfig, FitConfig, SignalConfig, TrainConfig
from pretap.errors import DataError, UsageError
from pretap.networks import LstmSpec
from pretap.recordings.competition import CHANNELS
from pretap.recordings.epochs import Epochs
from pretap.signal.interpolation import INTERPOLATION
from pretap.signal.scaling import Scaling
from pretap.signal.statistics import COVARIANCE, SCALE
from pretap_offline.synthetic.command import simulate_raw
from pretap_offline.training import train

ROOT = Path(__file__).parents[2]
TASKS = {
    "Try it": ["demo", "doctor", "streams"],
    "Your own head": ["record", "train", "evaluate"],
    "Live": ["serve", "monitor", "replay"],
    "Study": ["compare", "sweep", "tune", "score", "verify", "inspect", "simulate"],
}
COMMANDS = [name for names in TASKS.values() for name in names]
HEAVY = {"numpy", "torch", "mne", "sklearn", "skorch", "scipy", "pylsl", "safetensors", "msgspec", "rich", "joblib"}
OFFLINE = {"torch", "mne", "sklearn", "skorch", "scipy", "joblib", "matplotlib", "pyxdf", "pooch"}
# `--set` arguments that make a shipped recipe, and the tutorial's, fit in a moment
FAST = [arg for item in ("signal.sfreq_hz=100", "fit.max_epochs=1", "evaluation.folds=0") for arg in ("--set", item)]
QUICK = [*FAST, "--set", "network.hidden=[3]"]


def run(
    *args: str, env: dict[str, str] | None = None, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if key != "PRETAP_DATA"}
    return subprocess.run(
        [sys.executable, *options, "-m", "pretap", *args],
        capture_output=True,
        text=True,
        timeout=500,
        env={**inherited, **(env or {})},
        check=False,
    )


def loaded_after(code: str) -> set[str]:
    """The top-level packages in a fresh interpreter after `code`."""
    ask = "; import sys; print('\\n'.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code + ask], capture_output=True, text=True, timeout=500, check=True)
    return set(done.stdout.splitlines())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    rng = np.random.default_rng(0)
    epochs = Epochs(
        x_uv=rng.normal(0, 20, (8, 50, 28)).astype(np.float32),
        labels=np.arange(8) % 2,
        classes=("left", "right"),
        channels=CHANNELS,
        sfreq_hz=100.0,
        window_end_ms=-130.0,
        source="eight trials of noise",
    )
    recipe = TrainConfig(
        network=LstmSpec(hidden=(3,)),
        signal=SignalConfig(sfreq_hz=100.0),
        fit=FitConfig(max_epochs=1),
        evaluation=EvaluationConfig(folds=0),
    )
    path = tmp_path_factory.mktemp("bundle") / "noise.safetensors"
    train(epochs, recipe, path, seed=0)
    return path


@pytest.fixture(scope="module")
def damaged(bundle) -> Path:
    path = bundle.with_name("damaged.safetensors")
    path.write_bytes(bundle.read_bytes()[:-1])
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A directory with a file of the competition's form: 12 trials to train on and 5 to predict, of noise."""
    directory = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(1)
    content = {
        "clab": np.array([list(CHANNELS)], dtype=object),
        "x_train": np.round(rng.normal(0, 20, (50, 28, 12)), 1),
        "y_train": (np.arange(12) % 2).astype(np.uint8)[None],
        "x_test": np.round(rng.normal(0, 20, (50, 28, 5)), 1),
    }
    savemat(directory / "sp1s_aa.mat", content)
    return directory


# -- what it loads -------------------------------------------------------------------------------------------------


def test_help_loads_nothing_heavy_not_even_numpy():
    code = "from pretap.cli import pretap; pretap.main(['--help'], standalone_mode=False)"
    loaded = loaded_after(code)
    assert "click" in loaded
    assert not loaded & HEAVY


def test_importing_the_package_loads_nothing_heavy_and_load_brings_numpy_alone(bundle):
    assert not loaded_after("import pretap") & {*HEAVY, "click"}
    loaded = loaded_after(f"import pretap; pretap.load({str(bundle)!r}).decode([[0.0] * 28] * 50)")
    assert "numpy" in loaded
    assert not loaded & OFFLINE


def test_importing_the_command_serve_loads_neither_numpy_nor_pylsl():
    loaded = loaded_after("import pretap_realtime.serve.command")
    assert "msgspec" in loaded
    assert not loaded & {"numpy", "pylsl"}


def test_the_help_of_no_command_loads_what_only_training_needs():
    code = "from pretap.cli import pretap" + "".join(
        f"; pretap.main([{name!r}, '--help'], standalone_mode=False)" for name in COMMANDS
    )
    assert not loaded_after(code) & OFFLINE


# -- what its commands are -----------------------------------------------------------------------------------------


def test_help_groups_the_commands_by_task_each_with_its_line():
    done = run("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    sections = dict(section.split(":\n", 1) for section in done.stdout.strip().split("\n\n")[-len(TASKS) :])
    listed = {task: section.splitlines() for task, section in sections.items()}
    assert {task: [line.split()[0] for line in lines] for task, lines in listed.items()} == TASKS
    assert all(line.endswith(".") for lines in listed.values() for line in lines)
    assert "not a medical device" in done.stdout


# option: what it takes, in each command that has it
NOUNS = {
    "--query": "QUERY",
    "--cue-query": "QUERY",
    "--xdf-stream": "NAME_OR_ID",
    "--trials": "A:B",
    "--json": "FILE",
    "--set": "A.B=C",
}


def options_of(name: str) -> list[click.Option]:
    command = pretap.get_command(click.Context(pretap), name)
    return [each for each in command.params if isinstance(each, click.Option) and not each.hidden]


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_means_the_same_in_every_command(name):
    context = click.Context(pretap)
    found = {option.opts[0]: option.make_metavar(context) for option in options_of(name)}
    assert {option: metavar for option, metavar in found.items() if option in NOUNS} == {
        option: metavar for option, metavar in NOUNS.items() if option in found
    }
    assert not set(found) & {"--stream", "--cue-stream"}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text_that_is_a_whole_phrase(name):
    for option in options_of(name):
        text = re.sub(r"\s*\[default.*\]", "", option.help or "")
        assert re.fullmatch(r"[A-Z].*(\.|,\.\.\.)", text), f"{option.opts[0]}: {text!r}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_resolves_under_its_own_name_and_explains_itself(name):
    command = pretap.get_command(click.Context(pretap), name)
    assert command is not None
    assert command.name == name
    result = CliRunner().invoke(pretap, [name, "--help"])
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: pretap {name} ")
    assert CliRunner().invoke(pretap, [name, "-h"]).output == result.output


def test_there_are_no_other_commands():
    context = click.Context(pretap)
    assert pretap.list_commands(context) == COMMANDS
    assert pretap.get_command(context, "calibrate") is None


def test_version_is_the_package_s():
    assert run("--version").stdout == f"pretap, version {__version__}\n"


# -- what its processes end with -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["calibrate"], 2, "No such command 'calibrate'"),
        (["train", "tutorial", "--seed", "-1"], 2, "-1 is not in the range"),
        (["train", "tutorial", "--set", "fit.foo=1"], 2, "unknown field `foo` - at `$.fit`"),
        (["train", "tutorials"], 2, "No configuration 'tutorials': expected a TOML file, or one of"),
        (["evaluate", "{bundle}"], 2, "Which data? Give --data DIR"),
        (["evaluate", "{bundle}", "--engine", "onnx"], 2, "'onnx' is not one of 'auto', 'compiled', 'numpy', 'torch'"),
        (["inspect", "{damaged}"], 6, "cut short in tensor"),
        (["evaluate", "{damaged}", "--data", "{data}"], 6, "cut short in tensor"),
        (["inspect", "none.safetensors"], 6, "No such file or directory. Make one with `pretap train`."),
        (["evaluate", "{bundle}", "--data", "nowhere"], 7, "nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_failure_ends_with_its_code_and_one_sentence_and_no_traceback(
    args, code, sentence, bundle, damaged, data, tmp_path
):
    done = run(*(arg.format(bundle=bundle, damaged=damaged, data=data) for arg in args))
    assert done.returncode == code
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_inspect_writes_the_json_to_a_file_or_in_place_of_its_report(bundle, tmp_path):
    file = tmp_path / "inspected.json"
    report = invoke("inspect", bundle)
    assert invoke("inspect", bundle, "--json", file) == f"{report}wrote {file}\n"
    assert invoke("inspect", bundle, "--json", "-") == file.read_text(encoding="utf-8")
    with pytest.raises(UsageError, match=r"Cannot write .*: No such file or directory"):
        invoke("inspect", bundle, "--json", tmp_path / "nowhere" / "x.json")


def test_inspect_json_is_json_that_holds_manifest_self_tests_and_hash(bundle):
    done = run("inspect", str(bundle), "--json", "-")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    content = read_bundle(bundle)
    assert report["sha256"] == content.sha256
    assert msgspec.convert(report["manifest"], type(content.manifest)) == content.manifest
    assert set(report["self_test"]) == {"compiled", "numpy", "torch"}
    assert all(0 <= error <= 1e-6 for error in report["self_test"].values())
    n_window, hop = content.manifest.n_window, round(0.05 * content.manifest.sfreq_hz)
    n_open = -(-n_window // hop)
    assert report["streams"] == (
        f"compiled: {n_open} window{'s' * (n_open > 1)} open at once, each advanced sample by sample "
        f"(a decision each {hop} samples)"
    )
    assert f"live          {report['streams']}" in run("inspect", str(bundle)).stdout.splitlines()


def test_inspect_shows_chance_and_verdict_where_the_bundle_has_them(bundle, tmp_path):
    lines = run("inspect", str(bundle)).stdout.splitlines()
    assert "accuracy      not measured" in lines
    assert not any(line.startswith(("chance", "verdict")) for line in lines)
    content = read_bundle(bundle)
    metrics = Metrics(
        protocol="5-fold",
        n_trials=8,
        accuracy=0.75,
        accuracy_sd=0.0,
        accuracy_ci95=(0.4, 0.9),
        kappa=0.5,
        nll=0.6,
        balanced_accuracy=0.75,
        chance=0.5,
        p_chance=0.1445,
        verdict="not distinguishable from chance: record more",
    )
    measured = tmp_path / "measured.safetensors"
    weights = {name: tensor for name, tensor in content.tensors.items() if not name.startswith("probe.")}
    write_bundle(measured, msgspec.structs.replace(content.manifest, metrics=metrics), weights)
    lines = run("inspect", str(measured)).stdout.splitlines()
    assert "chance        0.500, the share of the commonest class; p = 0.14 (one-sided exact binomial test)" in lines
    assert "verdict       not distinguishable from chance: record more" in lines


def test_inspect_shows_members_temperature_decimation_and_what_a_decision_costs(bundle, tmp_path):
    content = read_bundle(bundle)
    weights = {name: tensor for name, tensor in content.tensors.items() if not name.startswith("probe.")}
    shared = {name: weights.pop(name) for name in (INTERPOLATION, SCALE, COVARIANCE)}
    shared["scaling.fir"] = np.array([[0.5, 0.5, 0], [0.25, 0.5, 0.25]])
    members = {f"members.{i}.{name}": tensor for i in range(2) for name, tensor in weights.items()}
    changed = msgspec.structs.replace(
        content.manifest,
        n_members=2,
        temperature=1.25,
        scaling=Scaling(decimate=2, n_taps=3, divide_uv=10),
    )
    write_bundle(tmp_path / "b", changed, members | shared)
    n_parameters = 2 * sum(tensor.size for tensor in weights.values())
    lines = run("inspect", str(tmp_path / "b")).stdout.splitlines()
    rate = changed.sfreq_hz / 2
    assert f"scaling       low-pass of 3 taps to {rate:g} Hz, divided by 10 uV" in lines
    assert f"network       mean of 2: LSTM 3 -> 2, {n_parameters} parameters" in lines
    assert "temperature   1.25" in lines
    cost = changed.streaming.multiply_adds
    assert f"a decision    forward-only, from {changed.n_window} samples, {cost} multiply-adds" in lines


def test_a_reader_that_goes_away_is_no_bug():
    command = [sys.executable, "-m", "pretap", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(timeout=500) == 141  # as `pretap ... | true` ends under a shell
    assert errors == ""


@pytest.fixture(scope="module")
def base_install(tmp_path_factory) -> dict[str, str]:
    """An environment with what `pip install pretap` brings but pylsl, and nothing of the extra `offline`."""
    site, links = Path(np.__file__).parents[1], tmp_path_factory.mktemp("site")
    for name in ("click", "numpy", "numpy.libs", "msgspec", "safetensors", "rich", "markdown_it", "mdurl", "pygments"):
        if (site / name).exists():  # numpy.libs: Linux only
            (links / name).symlink_to(site / name, target_is_directory=True)
    roots = [links, *(ROOT / name for name in ("core", "offline", "realtime"))]
    return {"PYTHONPATH": os.pathsep.join(map(str, roots))}


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["train", "tutorial", "--data", "synthetic"], "pip install 'pretap[offline]'"),
        (["evaluate", "{bundle}", "--engine", "torch"], "pip install 'pretap[offline]'"),
        (["serve", "{bundle}"], "pip install 'pylsl>=1.18'"),
    ],
    ids=["train", "torch engine", "serve"],
)
def test_without_the_package_it_needs_a_command_ends_with_9_and_names_the_install(args, sentence, bundle, base_install):
    done = run(*(arg.format(bundle=bundle) for arg in args), env=base_install, options=("-S",))
    assert done.returncode == 9
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_without_torch_inspect_tests_the_engine_that_is_there(bundle, base_install):
    done = run("inspect", str(bundle), env=base_install, options=("-S",))
    assert (done.returncode, done.stderr) == (0, "")
    assert "torch: not installed" in done.stdout


# -- the README ----------------------------------------------------------------------------------------------------


def test_the_readme_s_way_from_a_raw_of_mne_to_a_decoder_runs_as_it_stands(tmp_path):
    simulate_raw(seed=0, n_seconds=60.0, sfreq_hz=250.0).save(tmp_path / "monday_raw.fif", verbose="error")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = (b for b in re.findall(r"(?:^(?: {4}.*)?\n)+", text, re.MULTILINE) if "recording_from_raw(" in b)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(block)],
        capture_output=True,
        text=True,
        timeout=500,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    manifest = load(tmp_path / "mine.safetensors").manifest
    assert (manifest.classes, manifest.sfreq_hz) == (("left", "right"), 250.0)
    assert f"\n{manifest.training.n_trials} trials (" in done.stdout  # after what MNE says
    probs = [float(p) for p in done.stdout.rpartition("[")[2].strip("] \n").split()]
    assert sum(probs) == pytest.approx(1, abs=1e-6)


# -- train, evaluate, inspect: one after another -------------------------------------------------------------------


def invoke(*args: object) -> str:
    result = CliRunner().invoke(pretap, [str(arg) for arg in args])
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_train_writes_a_bundle_and_evaluate_writes_predictions_and_figures(data, tmp_path):
    path, predictions, figures = tmp_path / "b.safetensors", tmp_path / "p.csv", tmp_path / "e.json"
    said = invoke("train", "tutorial", "--data", data, "--out", path, "--seed", 3, *QUICK)
    assert said.splitlines()[-1] == f"wrote {path}"
    decoder = load(path)
    assert (decoder.manifest.training.seed, decoder.manifest.training.n_trials) == (3, 12)

    said = invoke("evaluate", path, "--data", data, "--predictions", predictions, "--json", figures)
    assert "no labels, so no accuracy" in said  # the test part, by default
    assert "NOT AN ESTIMATE" not in said
    rows = predictions.read_text(encoding="utf-8").splitlines()
    assert rows[0] == "trial,predicted,p_left,p_right"
    assert [row.split(",")[0] for row in rows[1:]] == ["0", "1", "2", "3", "4"]
    assert json.loads(figures.read_text(encoding="utf-8"))["honest"] is True

    said = invoke("evaluate", path, "--data", data, "--part", "train", "--json", figures)
    assert "NOT AN ESTIMATE: 12 of 12 trials were trained on" in said
    content = json.loads(figures.read_text(encoding="utf-8"))
    assert (content["honest"], content["scores"]["n_trials"]) == (False, 12)
    assert f"sha256        {decoder.sha256}" in invoke("inspect", path).splitlines()


def test_settings_for_recordings_are_not_passed_over_in_silence_where_trials_come_cut(data, tmp_path):
    note = "[events] and [trials] are for recordings; these trials come cut"
    args = ("--data", data, "--out", tmp_path / "b.safetensors", *FAST)
    assert invoke("train", "own-cap", *args, "--set", "network.hidden=3").splitlines()[1] == note
    assert invoke("train", "tutorial", *args, "--set", "trials.reject_uv=100").splitlines()[1] == note
    assert note not in invoke("train", "tutorial", *args)


def test_the_help_of_train_names_every_shipped_configuration():
    said = " ".join(invoke("train", "--help").split())
    shipped = {file.stem for file in (ROOT / "configs").glob("*.toml")} - {"serve"}  # the service's settings
    assert {name for name in shipped if f" {name} (" in said} == shipped


def test_trials_split_one_file_into_disjoint_parts(data, tmp_path):
    path = tmp_path / "b.safetensors"
    invoke("train", "tutorial", "--data", data, "--out", path, "--trials", ":8", *QUICK)
    assert load(path).manifest.training.n_trials == 8
    part = ("evaluate", path, "--data", data, "--part", "train", "--trials")
    fresh = invoke(*part, "8:")
    assert fresh.startswith("4 trials: ")
    assert "NOT AN ESTIMATE" not in fresh
    assert "NOT AN ESTIMATE: 1 of 5 trials were trained on" in invoke(*part, "7:")


@pytest.mark.parametrize("trials", ["3", "", "a:b", "5:5", "100:", "1:2:3"])
def test_a_range_that_picks_no_trials_is_refused(data, bundle, trials):
    with pytest.raises(UsageError, match="expected A:B with at least one of 12 trials between"):
        invoke("evaluate", bundle, "--data", data, "--part", "train", "--trials", trials)


def test_the_test_part_has_no_labels_to_train_on_and_too_few_trials_are_refused(data, tmp_path):
    with pytest.raises(DataError, match="expected at least 2 trials of each class, got 1 left, 0 right"):
        invoke("train", "tutorial", "--data", data, "--out", tmp_path / "b", "--trials", ":1", *QUICK)
    assert list(tmp_path.iterdir()) == []


def test_data_comes_from_pretap_data_where_no_flag_says_otherwise(data, bundle, monkeypatch):
    monkeypatch.setenv("PRETAP_DATA", str(data))
    assert invoke("evaluate", bundle).startswith("5 trials: ")
