"""Files that a command will write: refused before the work, not after it."""

from __future__ import annotations

import secrets
from pathlib import Path

from pretap.errors import UsageError
from pretap.files import writing

__all__ = ["check_writable", "try_folder"]


def check_writable(path: Path) -> None:
    """Make the folder of `path` and try to write there.

    Raises
    ------
    UsageError
        When `path` is a folder, or its folder takes no files.
    """
    if path.is_dir():
        raise UsageError(f"Cannot write {path}: expected the name of a file, this is a folder.")
    with writing(path, hint="Give the name of a file in a folder that can be written to."):
        try_folder(path.parent)


def try_folder(folder: Path) -> None:
    """Make a folder and try to write there; raise `OSError` if that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".{secrets.token_hex(4)}.probe"
    probe.touch()
    probe.unlink()
