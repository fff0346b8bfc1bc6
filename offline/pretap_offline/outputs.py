"""Checks that output files can be written, made before the work starts. Used by the commands."""

from __future__ import annotations

import secrets
from pathlib import Path

from pretap.errors import UsageError
from pretap.files import writing


def check_writable(path: Path) -> None:
    """Create the folder of `path` and check that it can be written to.

    Raises
    ------
    UsageError
        If `path` is a folder, or no file can be created next to it.
    """
    if path.is_dir():
        raise UsageError(f"Cannot write {path}: expected a file name, but this is a folder.")
    with writing(path, hint="Choose a file in a folder that can be written to."):
        try_folder(path.parent)


def try_folder(folder: Path) -> None:
    """Create a folder and write a file there; raise `OSError` if that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".{secrets.token_hex(4)}.probe"
    probe.touch()
    probe.unlink()
