"""Finding and writing the files that the user names. Used by every command."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pretap.errors import PretapError, UsageError

_N_PROBE: Final = 1 << 16  # bytes; a disk with less space than this counts as full


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


def check_writable(*paths: Path | None) -> None:
    """Create the folder of each path, and check that it can be written to. Called before the work starts.

    Raises
    ------
    UsageError
        If a path is a folder, or no file can be created next to it.
    """
    for path in paths:
        if path is None:
            continue
        with writing(path, hint="Choose a file in a folder that can be written to."):
            if path.is_dir():
                raise UsageError(f"Cannot write {path}: expected a file name, but this is a folder.")
            if not _is_device(path):
                try_folder(path.parent)


def try_folder(folder: Path) -> None:
    """Create a folder and write a file there; raise `OSError` if that fails."""
    folder.mkdir(parents=True, exist_ok=True)
    with explaining_a_full_disk(folder, n_bytes=_N_PROBE), tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(bytes(_N_PROBE))


@contextmanager
def replacing(path: Path, *, n_bytes: int | None = None) -> Iterator[Path]:
    """Write a file whole or not at all: yield a temporary path with the same name, and then move it into place.

    Even after a crash, `path` has either the old content or all of the new. The temporary file lies in a folder of its
    own beside `path`, with all others that the same writer adds: MNE splits large files.

    Parameters
    ----------
    n_bytes
        The size of the file, if it is known; the error of a full disk names it.
    """
    if _is_device(path):  # such as /dev/stdout, which a file must not replace
        yield path
        return
    path = path.resolve()  # a symbolic link keeps pointing to the file
    with (
        explaining_a_full_disk(path.parent, n_bytes=n_bytes),
        tempfile.TemporaryDirectory(prefix=".pretap-", dir=path.parent) as folder,
    ):
        partial = Path(folder, path.name)
        yield partial
        parts = sorted(Path(folder).iterdir(), key=partial.__eq__)  # the file itself last
        for part in parts:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        for part in parts:
            part.replace(path.with_name(part.name))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, see `replacing`."""
    with replacing(path, n_bytes=len(content)) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    with writing(path):
        write_whole(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write anything that msgspec can encode as indented JSON.

    Raises
    ------
    UsageError
        If the file cannot be written.
    """
    import msgspec

    with writing(path):
        write_whole(path, msgspec.json.format(msgspec.json.encode(content)) + b"\n")


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


@contextmanager
def explaining_a_full_disk(folder: Path, *, n_bytes: int | None = None) -> Iterator[None]:
    """Add to the error of a full disk how much space is free, how much is needed, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        free = f"{shutil.disk_usage(folder).free / 1000:,.0f} kB are free"
        needed = "more is needed" if n_bytes is None else f"{n_bytes / 1000:,.0f} kB are needed"
        raise OSError(
            errno.ENOSPC, f"the disk is full ({free}, {needed}); free some space, or choose a folder on another disk"
        ) from None
