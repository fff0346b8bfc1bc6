"""Completion in a real bash: commands, recipes, bundles and options, without an import of what is slow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from command_line import run
from pretap.cli import pretap

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash")


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """Complete a command line in bash, as the Tab key does."""
    folder = tmp_path_factory.mktemp("completion")
    pretap = folder / "bin" / "pretap"
    pretap.parent.mkdir()
    pretap.write_text(f"#!{sys.executable}\nfrom pretap.cli import main\nmain()\n", encoding="utf-8")
    pretap.chmod(0o755)
    script = (
        'eval "$(_PRETAP_COMPLETE=bash_source pretap)"; compopt() { :; }; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '_pretap_completion pretap; printf "%s\\n" "${COMPREPLY[@]}"'
    )

    def complete(*words: str) -> list[str]:
        done = subprocess.run(
            ["bash", "--norc", "-c", script, "bash", *words],
            capture_output=True,
            text=True,
            check=True,
            timeout=500,
            cwd=folder,
            env=os.environ | {"PATH": f"{pretap.parent}{os.pathsep}{os.environ['PATH']}"},
        )
        assert done.stderr == ""
        return done.stdout.split()

    return complete


HEAVY = "torch mne sklearn skorch scipy pylsl safetensors rich joblib matplotlib"
BUNDLES = sorted(each.stem for each in Path(__file__).parents[2].glob("core/pretap/bundles/*.safetensors"))


def test_commands_are_completed(complete):
    assert complete("pretap", "") == pretap.list_commands(click.Context(pretap))
    assert complete("pretap", "eva") == ["evaluate"]
    assert complete("pretap", "--v") == ["--version"]


def test_recipes_are_completed(complete):
    assert complete("pretap", "train", "t") == ["tangent-space", "taps", "tutorial"]
    assert complete("pretap", "train", "s") == ["single-1000hz", "single-100hz"]  # not serve, which is no recipe
    assert complete("pretap", "compare", "csp", "ld") == ["lda"]
    assert complete("pretap", "config", "s") == ["serve", "single-1000hz", "single-100hz"]


def test_bundles_are_completed(complete):
    assert complete("pretap", "serve", "") == BUNDLES
    assert complete("pretap", "serve", "zzz") == []  # then bash completes files


@pytest.mark.parametrize("command", ["evaluate", "inspect", "score", "tune", "verify", "latency"])
def test_bundles_are_completed_for_every_command_that_takes_one(command):
    found = ShellComplete(pretap, {}, "pretap", "_PRETAP_COMPLETE").get_completions([command], "")
    assert [each.value for each in found if each.type == "plain"] == BUNDLES


def test_options_are_completed_and_those_with_choices(complete):
    assert complete("pretap", "serve", "--superv") == ["--supervise"]
    assert complete("pretap", "serve", "--engine", "n") == ["numpy"]


@pytest.mark.parametrize("words", ["pretap ", "pretap train ", "pretap serve ", "pretap compare "])
def test_completion_imports_nothing_heavy(words):
    code = (
        "import atexit, sys; from pretap.cli import main; heavy = set(sys.argv[1].split());"
        "atexit.register(lambda: sys.stderr.write(' '.join(heavy & {each.partition('.')[0] for each in sys.modules})));"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, HEAVY],
        capture_output=True,
        text=True,
        timeout=500,
        check=True,
        env=os.environ
        | {"_PRETAP_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))},
    )
    assert done.stdout.startswith(("plain,", "file,"))
    assert done.stderr == ""


def test_a_shell_that_is_not_known_is_refused():
    assert run(env={"_PRETAP_COMPLETE": "tcsh_source"}).returncode == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_is_printed(shell):
    done = run(env={"_PRETAP_COMPLETE": f"{shell}_source"})
    assert done.returncode == 0
    assert f"_PRETAP_COMPLETE={shell}_complete" in done.stdout
