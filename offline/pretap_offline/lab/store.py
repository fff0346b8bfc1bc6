"""Stores finished fits on disk, one small file each, whole or not at all. Used by the lab commands."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pooch

from pretap.errors import UsageError
from pretap.files import try_folder, write_whole, writing
from pretap_offline.lab.fits import Fitted

_N_DIGEST = 32  # bytes of sha256 before the content


class Store:
    """A folder of fits by key. Any number of processes may use it, and a damaged file counts as missing.

    The default is a folder in the user's cache (``~/.cache/pretap/lab`` on Linux).

    Raises
    ------
    UsageError
        If the folder cannot be written to.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(pooch.os_cache("pretap")) / "lab"
        with writing(f"to --store {self.folder}"):
            try_folder(self.folder)

    def get(self, key: str) -> Fitted | None:
        """Return a finished fit, or None if it is missing or damaged."""
        try:
            content = self._path(key).read_bytes()
            if hashlib.sha256(content[_N_DIGEST:]).digest() != content[:_N_DIGEST]:
                return None
            return msgspec.msgpack.decode(content[_N_DIGEST:], type=Fitted)
        except (OSError, msgspec.DecodeError):
            return None

    def count(self, keys: Iterable[str]) -> int:
        """Return how many of the keys have a finished fit."""
        return sum(self.get(key) is not None for key in keys)

    def put(self, key: str, fitted: Fitted) -> None:
        """Write a finished fit; after a crash of process or machine it exists whole or not at all."""
        content = msgspec.msgpack.encode(fitted)
        path = self._path(key)
        try:
            path.parent.mkdir(exist_ok=True)
            write_whole(path, hashlib.sha256(content).digest() + content)
        except OSError as error:
            raise UsageError(f"Cannot keep a fit in {self.folder}: {error.strerror}. Stored fits are safe.") from None

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.fit"
