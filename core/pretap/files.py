"""Finding and writing the files that the user names. Used by every command."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pretap.errors import PretapError, UsageError


def existing_file(name: str | Path) -> Path | None:
    """Return the path `name` if it exists and is not a directory, otherwise None."""
    path = Path(name)
    try:
        return path if path.exists() and not path.is_dir() else None
    except OSError:  # such as a name that is too long for a file
        return None


@contextmanager
def writing(what: object, *, hint: str = "", kind: type[PretapError] = UsageError) -> Iterator[None]:
    """Turn an `OSError` into an error of `kind` that says that `what` could not be written, and why."""
    try:
        yield
    except OSError as error:
        raise kind(f"Cannot write {what}: {error.strerror or error}.{hint and ' ' + hint}") from None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically: even after a crash it has either the old content or all of the new."""
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write anything that msgspec can encode as indented JSON.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    import msgspec

    with writing(path):
        path.write_bytes(msgspec.json.format(msgspec.json.encode(content)) + b"\n")
