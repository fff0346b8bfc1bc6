"""Files that a command will write: refused before the work, not after it."""

from __future__ import annotations

import secrets
from pathlib import Path

from pretap.errors import UsageError

__all__ = ["check_writable"]


def check_writable(path: Path) -> None:
    """Make the folder of `path` and try to write there.

    Raises
    ------
    UsageError
        When `path` is a folder, or its folder takes no files.
    """
    if path.is_dir():
        raise UsageError(f"Cannot write {path}: expected the name of a file, this is a folder.")
    probe = path.with_name(f".{secrets.token_hex(4)}.probe")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(
            f"Cannot write {path}: {error.strerror}. Give the name of a file in a folder that can be written to."
        ) from None
