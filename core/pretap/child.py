"""Runs commands of pretap in a child process. Used by the live side for offline commands, which it cannot import."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from pretap.errors import CommandFailedError


def run_child(command: Sequence[str], *, heading: str = "") -> str:
    """Run a command of pretap to its end and return its standard output.

    Raises
    ------
    CommandFailedError
        If the command failed: its own message after `heading`, with its exit code.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        message = done.stderr.strip().removeprefix("Error: ") or done.stdout.strip()
        raise CommandFailedError(heading + message, exit_code=done.returncode)
    return done.stdout
