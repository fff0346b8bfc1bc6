"""Configuration: TOML files read into frozen structs, unknown keys refused with their path.

What `pretap train` reads is in `pretap.train_config`, what `pretap serve` reads in `pretap.serve_config`. This module
and that one load no numpy: `pretap serve` asks for its stream first.
"""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from pretap.errors import UsageError

__all__ = ["Label", "Milliseconds", "Positive", "Text", "convert", "find_config", "load_config", "read_toml"]

Positive = Annotated[float, Meta(gt=0, le=1e6)]
Milliseconds = Annotated[float, Meta(ge=-60_000, le=60_000)]
Text = Annotated[str, Meta(max_length=256)]
Label = Annotated[str, Meta(min_length=1, max_length=64)]

_MOST_SHOWN = 60  # characters of a value

Config = TypeVar("Config", bound=msgspec.Struct)


def load_config(kind: type[Config], path: Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """Read a TOML file (or none: the defaults) into `kind`, then apply ``a.b=value`` overrides.

    Raises
    ------
    UsageError
        With the path of the key that is unknown, of the wrong type or out of range.
    """
    return convert(read_toml(path), kind, path=path, overrides=overrides)


def read_toml(path: Path | None) -> dict[str, Any]:
    """Read a TOML file; without one nothing is set."""
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"Cannot read the configuration {path}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:  # bad TOML or UTF-8, numbers of 5000 digits, 1000 open brackets
        raise UsageError(f"{path} is not valid TOML: {error}.") from None


def convert(table: dict[str, Any], kind: type[Config], *, path: Path | None, overrides: Iterable[str] = ()) -> Config:
    """Make a `kind` of what was read from `path`, with the overrides laid over it; raises as `load_config`."""
    for override in overrides:
        _override(table, override)
    try:
        return msgspec.convert(table, kind, strict=True)
    except msgspec.ValidationError as error:
        where = "configuration" if path is None else str(path)
        raise UsageError(f"{where}: {_in_words(str(error), table, kind)}") from None


def _in_words(error: str, table: Any, kind: Any) -> str:
    """Add to msgspec's words what was given, or the keys that there are."""
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
    return error if ", got " in said or table is None else f"{error}, got {str(table)[:_MOST_SHOWN]!r}"


def find_config(name: str) -> Path:
    """Find a configuration: a path, or the name of one that is shipped (``default``, ``tutorial``)."""
    path = Path(name)
    with contextlib.suppress(OSError):  # a name too long for a file is an unknown name
        if path.exists() and not path.is_dir():
            return path
    package = Path(__file__).parent
    homes = (package / "configs", package.parents[1] / "configs")  # the wheel's copy; the checkout
    shipped = [file for home in homes if home.is_dir() for file in sorted(home.glob("*.toml"))]
    for file in shipped:
        if name in (file.stem, file.name):
            return file
    names = ", ".join(file.stem for file in shipped)
    raise UsageError(f"No configuration {name!r}: expected a TOML file, or one of the shipped names: {names}.")


def _override(table: dict[str, Any], text: str) -> None:
    key, equals, raw = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UsageError(f"--set {text!r}: expected key.subkey=value, such as fit.max_epochs=30.")
    if any("\ud800" <= character <= "\udfff" for character in raw):  # how Python shows what argv holds else
        raise UsageError(f"--set {text!r}: not valid UTF-8.")
    try:
        parsed = tomllib.loads(f"value = {raw}")
        value = parsed["value"] if len(parsed) == 1 else raw  # a second line is no second key
    except (ValueError, RecursionError):
        value = raw  # a bare word is a string: --set scaling.reference=average
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise UsageError(f"--set {text!r}: {part!r} is a value, not a table.")
    table[parts[-1]] = value
