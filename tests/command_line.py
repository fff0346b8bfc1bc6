"""Runs commands of pretap in this process or in one of their own, for the tests of commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from pretap.cli import pretap

ROOT = Path(__file__).parents[1]


def run(
    *args: str, env: dict[str, str] | None = None, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run `pretap` in a process of its own, without PRETAP_DATA."""
    inherited = {key: value for key, value in os.environ.items() if key != "PRETAP_DATA"}
    return subprocess.run(
        [sys.executable, *options, "-m", "pretap", *args],
        capture_output=True,
        text=True,
        timeout=500,
        env={**inherited, **(env or {})},
        check=False,
    )


def invoke(*args: object) -> str:
    """Run `pretap` in this process and return its standard output."""
    result = CliRunner().invoke(pretap, [str(arg) for arg in args])
    if result.exception is not None:
        raise result.exception
    return result.stdout
