"""Writing the files that the user asked for. Used by every command that has an output."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pretap.errors import PretapError, UsageError

__all__ = ["pretty_json", "write_json", "write_whole", "writing"]


@contextmanager
def writing(what: object, *, hint: str = "", kind: type[PretapError] = UsageError) -> Iterator[None]:
    """Turn an `OSError` into an error of `kind` that names `what` could not be written, and why."""
    try:
        yield
    except OSError as error:
        raise kind(f"Cannot write {what}: {error.strerror or error}.{hint and ' ' + hint}") from None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that exists whole or not at all, even after a crash of the process or the machine."""
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
    """Write indented JSON.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    with writing(path):
        path.write_bytes(pretty_json(content) + b"\n")


def pretty_json(content: Any) -> bytes:
    """Encode whatever msgspec can encode as indented JSON."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(content))
