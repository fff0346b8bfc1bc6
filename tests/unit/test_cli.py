"""The command line: what it imports, its commands, and the exit codes of its processes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from command_line import run
from pretap import __version__
from pretap.cli import pretap

TASKS = {
    "Try it": ["demo", "doctor", "config", "streams"],
    "Your own head": ["record", "markers", "train", "evaluate"],
    "Live": ["serve", "monitor", "replay"],
    "Study": ["compare", "sweep", "tune", "score", "verify", "inspect", "latency", "simulate"],
}
COMMANDS = [name for names in TASKS.values() for name in names]
HEAVY = {"numpy", "torch", "mne", "sklearn", "skorch", "scipy", "pylsl", "safetensors", "msgspec", "rich", "joblib"}
OFFLINE = {"torch", "mne", "sklearn", "skorch", "scipy", "joblib", "matplotlib", "pyxdf", "pooch"}


def loaded_after(code: str) -> set[str]:
    """The top-level packages in a fresh interpreter after `code`."""
    ask = "; import sys; print('\\n'.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code + ask], capture_output=True, text=True, timeout=500, check=True)
    return set(done.stdout.splitlines())


def test_help_loads_nothing_heavy_not_even_numpy():
    code = "from pretap.cli import pretap; pretap.main(['--help'], standalone_mode=False)"
    loaded = loaded_after(code)
    assert "click" in loaded
    assert not loaded & HEAVY


def test_importing_the_package_loads_nothing_heavy_and_load_brings_numpy_alone(noise_bundle):
    assert not loaded_after("import pretap") & {*HEAVY, "click"}
    loaded = loaded_after(f"import pretap; pretap.load({str(noise_bundle)!r}).decode([[0.0] * 28] * 50)")
    assert "numpy" in loaded
    assert not loaded & OFFLINE


def test_the_command_line_of_serve_loads_neither_numpy_nor_pylsl():
    loaded = loaded_after("import pretap_realtime.serve.command")
    assert "msgspec" in loaded
    assert not loaded & {"numpy", "pylsl"}


def test_no_help_imports_packages_that_only_training_needs():
    code = "from pretap.cli import pretap" + "".join(
        f"; pretap.main([{name!r}, '--help'], standalone_mode=False)" for name in COMMANDS
    )
    assert not loaded_after(code) & OFFLINE


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


@pytest.mark.parametrize(
    ("args", "code", "sentence"),
    [
        (["calibrate"], 2, "No such command 'calibrate'"),
        (["evalute"], 2, "No such command 'evalute'. Did you mean 'evaluate'?"),
        (["train", "tutorial", "--sed", "1"], 2, "No such option '--sed'."),
        (["train", "tutoral"], 2, "Did you mean 'tutorial'?"),
        (["inspect", "ensamble-100hz"], 6, "Did you mean 'ensemble-100hz'?"),
        (["train", "tutorial", "--seed", "-1"], 2, "-1 is not in the range"),
        (["train", "tutorial", "--set", "fit.foo=1"], 2, "unknown field `foo` - at `$.fit`"),
        (["train", "tutorials"], 2, "No configuration 'tutorials': expected a TOML file, or one of"),
        (["evaluate", "{bundle}"], 2, "No data: give --data DIR"),
        (
            ["evaluate", "{bundle}", "--engine", "onnx"],
            2,
            "'onnx' is not one of 'auto', 'compiled', 'numpy', 'torch'",
        ),
        (["inspect", "{damaged}"], 6, "cut short in tensor"),
        (["evaluate", "{damaged}", "--data", "{data}"], 6, "cut short in tensor"),
        (["inspect", "none.safetensors"], 6, "No such file or directory. Make one with `pretap train`."),
        (["evaluate", "{bundle}", "--data", "nowhere"], 7, "nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_failure_ends_with_its_code_and_one_sentence_and_no_traceback(
    args, code, sentence, noise_bundle, damaged_bundle, noise_data, tmp_path
):
    done = run(*(arg.format(bundle=noise_bundle, damaged=damaged_bundle, data=noise_data) for arg in args))
    assert done.returncode == code
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_reader_that_goes_away_is_not_reported_as_a_bug():
    command = [sys.executable, "-m", "pretap", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(timeout=500) == 141  # as `pretap ... | true` ends under a shell
    assert errors == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/dev/full")
def test_a_full_disk_behind_standard_output_is_not_reported_as_a_bug(noise_bundle):
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "pretap", "inspect", str(noise_bundle)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=500)
    assert done.returncode == 2
    assert done.stderr == "Error: the disk is full. Free some space, and run the command again.\n"


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["train", "tutorial", "--data", "synthetic"], "pip install 'pretap[offline]'"),
        (["evaluate", "{bundle}", "--engine", "torch"], "pip install 'pretap[offline]'"),
        (["serve", "{bundle}"], "pip install 'pylsl>=1.18'"),
    ],
    ids=["train", "torch engine", "serve"],
)
def test_without_a_required_package_a_command_ends_with_9_and_names_the_install(
    args, sentence, noise_bundle, base_install
):
    done = run(*(arg.format(bundle=noise_bundle) for arg in args), env=base_install, options=("-S",))
    assert done.returncode == 9
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
