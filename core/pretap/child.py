"""Commands run in a process of their own, such as those of the offline side, which the live side does not import."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from pretap.errors import PretapError

__all__ = ["run_child"]


def run_child(command: Sequence[str], *, heading: str = "") -> str:
    """Run a command of pretap to its end and return what it printed.

    Raises
    ------
    PretapError
        If it failed: its own message after `heading`, with its exit code.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        error = PretapError(heading + (done.stderr.strip().removeprefix("Error: ") or done.stdout.strip()))
        error.exit_code = done.returncode
        raise error
    return done.stdout
