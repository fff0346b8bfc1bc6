"""Reads TOML files into frozen structs and rejects unknown keys with their path. Used by every command.

The structs are in `pretap.config.train` and `pretap.config.serve`.
"""

from __future__ import annotations

import codecs
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from pretap.errors import UsageError
from pretap.files import existing_file

Positive = Annotated[float, Meta(gt=0, le=1e6)]
Milliseconds = Annotated[float, Meta(ge=-60_000, le=60_000)]
Text = Annotated[str, Meta(max_length=256)]
Label = Annotated[str, Meta(min_length=1, max_length=64)]

_MAX_SHOWN = 60  # characters of a value in a message

Config = TypeVar("Config", bound=msgspec.Struct)


def load_config(
    kind: type[Config],
    path: Path | None = None,
    overrides: Iterable[str] = (),
    values: Mapping[str, object] | None = None,
) -> Config:
    """Read a TOML file (without one: the defaults) into `kind` and override some of its keys.

    Parameters
    ----------
    overrides
        Strings such as ``fit.max_epochs=30``; the right-hand side is TOML or a bare word.
    values
        Values by dotted key, applied last. A value of None leaves its key as it is.

    Raises
    ------
    UsageError
        If a key is unknown, of the wrong type or out of range; the message has its path.
    """
    return convert(read_toml(path), kind, path=path, overrides=overrides, values=values)


def read_toml(path: Path | None, *, what: str = "configuration") -> dict[str, Any]:
    """Read a TOML file, which is called `what` in messages; without one the table is empty."""
    if path is None:
        return {}
    try:
        content = path.read_bytes()
        # editors on Windows write a byte-order mark, and PowerShell's `>` writes UTF-16
        encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        return tomllib.loads(content.decode(encoding))
    except OSError as error:
        raise UsageError(f"Cannot read the {what} {path}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:  # bad TOML or UTF-8, numbers of 5000 digits, 1000 open brackets
        raise UsageError(f"{path} is not valid TOML: {error}.") from None


def convert(
    table: dict[str, Any],
    kind: type[Config],
    *,
    path: Path | None,
    overrides: Iterable[str] = (),
    values: Mapping[str, object] | None = None,
) -> Config:
    """Convert the table that was read from `path` to a `kind`; parameters and errors are those of `load_config`."""
    for text in overrides:
        _check_utf8(text, source=f"--set {text!r}")
        key, value = _parse_override(text)
        _put(table, key, value, source=f"--set {text!r}")
    for key, value in (values or {}).items():
        if isinstance(value, str):
            _check_utf8(value, source=key)
        if value is not None:
            _put(table, key, value, source=key)
    try:
        return msgspec.convert(table, kind, strict=True)
    except msgspec.ValidationError as error:
        source = "configuration" if path is None else str(path)
        raise UsageError(f"{source}: {_detailed(str(error), table, kind)}") from None


def _detailed(error: str, table: Any, kind: Any) -> str:
    """Add to a message of msgspec the value that was given, or the keys that are known."""
    said, _, place = error.partition(" - at `$")
    names = place.strip(".`").split(".") if place else []
    if "unknown field" in said:
        for name in names:
            kind = {field.name: field.type for field in msgspec.structs.fields(kind)}.get(name)
            if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
                return error
        return f"{error}; there are {', '.join(field.encode_name for field in msgspec.structs.fields(kind))}"
    for name in names:
        table = table.get(name) if isinstance(table, dict) else None
    return error if ", got " in said or table is None else f"{error}, got {str(table)[:_MAX_SHOWN]!r}"


def find_config(name: str) -> Path:
    """Find a configuration by its path, or by the name of a shipped one (``default``, ``tutorial``)."""
    if path := existing_file(name):
        return path
    shipped = shipped_configs()
    if file := shipped.get(name.removesuffix(".toml")):
        return file
    raise UsageError(
        f"No configuration {name!r}: expected a TOML file, or one of the shipped names: {', '.join(shipped)}."
    )


def shipped_configs() -> dict[str, Path]:
    """Return the configurations that are shipped with pretap, by name."""
    package = Path(__file__).parents[1]
    homes = (package / "configs", package.parents[1] / "configs")  # in a wheel; in a checkout
    return {file.stem: file for home in homes if home.is_dir() for file in sorted(home.glob("*.toml"))}


def _check_utf8(text: str, *, source: str) -> None:
    if any("\ud800" <= character <= "\udfff" for character in text):  # stands for an invalid byte in argv
        raise UsageError(f"{source}: not valid UTF-8.")


def _parse_override(text: str) -> tuple[str, object]:
    key, equals, raw = text.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise UsageError(f"--set {text!r}: expected key.subkey=value, such as fit.max_epochs=30.")
    try:
        parsed = tomllib.loads(f"value = {raw}")
    except (ValueError, RecursionError):
        return key.strip(), raw  # a bare word is a string: --set scaling.reference=average
    return key.strip(), parsed["value"] if len(parsed) == 1 else raw  # a second line must not set another key


def _put(table: dict[str, Any], key: str, value: object, *, source: str) -> None:
    *tables, last = key.split(".")
    for name in tables:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise UsageError(f"{source}: {name!r} is a value, not a table.")
    table[last] = value
