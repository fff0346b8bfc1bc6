"""Reads TOML files into frozen structs and rejects unknown keys with their path. Used by every command.

The structs are in `pretap.config.train` and `pretap.config.serve`.
"""

from __future__ import annotations

import codecs
import re
import tomllib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, inspect

from pretap.errors import UsageError
from pretap.files import existing_file
from pretap.spelling import did_you_mean

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
    file, sources = deepcopy(table), {}
    for text in overrides:
        source = f"--set {text!r}"
        _check_utf8(text, source=source)
        key, value = _parse_override(text)
        _put(table, key, value, source=source)
        sources[key] = source
    for key, value in (values or {}).items():
        if isinstance(value, str):
            _check_utf8(value, source=key)
        if value is not None:
            _put(table, key, value, source=key)
            sources[key] = key
    try:
        return msgspec.convert(table, kind, strict=True)
    except msgspec.ValidationError as error:
        message = str(error)
        source = "configuration" if path is None else str(path)
        if not _fails_with(message, file, kind):  # so the file is not at fault
            source = _nearest(_place(message), sources) or source
        raise UsageError(f"{source}: {_detailed(message, table, kind)}") from None


def _fails_with(message: str, table: dict[str, Any], kind: type[msgspec.Struct]) -> bool:
    try:
        msgspec.convert(table, kind, strict=True)
    except msgspec.ValidationError as error:
        return str(error) == message
    return False


def _place(message: str) -> list[str]:
    """Return the keys that lead to the place of an error of msgspec, such as fit and max_epochs."""
    said, _, place = message.partition(" - at `$")
    unknown = said.partition("unknown field `")[2].rstrip("`")
    return re.findall(r"[^.`\[\]]+", place) + [unknown] * bool(unknown)


def _nearest(place: list[str], sources: Mapping[str, str]) -> str:
    """Return the source of the last key at this place, in it or around it."""
    found = ""
    for key, source in sources.items():
        names = key.split(".")
        n_common = min(len(names), len(place))
        if names[:n_common] == place[:n_common]:
            found = source
    return found


def _detailed(message: str, table: Any, kind: type[msgspec.Struct]) -> str:
    """Add to a message of msgspec the value that was given, or what is known at its place."""
    place, at = _place(message), inspect.type_info(kind)
    is_unknown = "unknown field" in message
    for name in place[: len(place) - is_unknown]:
        at = _inside(at, name, table)
        table = table[int(name)] if isinstance(table, list) else table.get(name) if isinstance(table, dict) else None
    at = _meant(at, table)
    if is_unknown and isinstance(at, inspect.StructType):
        known = [field.encode_name for field in at.fields]
        tables = [name for name in place[:-1] if not name.isdecimal()]
        what = f"[{tables[-1]}] has" if tables else "there are"
        return f"{message}; {what} {', '.join(known)}.{did_you_mean(place[-1], known)}"
    if isinstance(at, inspect.LiteralType) and isinstance(table, str):
        known = [str(each) for each in at.values]
        return f"{message}; expected one of {', '.join(known)}.{did_you_mean(table, known)}"
    return message if ", got " in message or table is None else f"{message}, got {str(table)[:_MAX_SHOWN]!r}"


def _inside(at: inspect.Type, name: str, table: object) -> inspect.Type:
    """Return the type of the key, or of the item, `name` of a table of type `at`."""
    tags = tuple(each.tag for each in _members(at) if isinstance(each, inspect.StructType) and each.tag_field == name)
    if tags:
        return inspect.LiteralType(tags)
    meant = _meant(at, table)
    if isinstance(meant, inspect.StructType):
        return next((field.type for field in meant.fields if field.encode_name == name), inspect.AnyType())
    return meant.item_type if isinstance(meant, inspect.VarTupleType) else inspect.AnyType()


def _meant(at: inspect.Type, table: object) -> inspect.Type:
    """Return the member of a union that a table is meant to be: the one whose tag it has, otherwise the first."""
    members = _members(at)
    tagged = (
        each
        for each in members
        if isinstance(each, inspect.StructType)
        and each.tag_field
        and isinstance(table, dict)
        and table.get(each.tag_field) == each.tag
    )
    return next(tagged, members[0])


def _members(at: inspect.Type) -> list[inspect.Type]:
    """Return the members of a union except None, or the type itself, without their constraints."""
    if isinstance(at, inspect.Metadata):
        return _members(at.type)
    if not isinstance(at, inspect.UnionType):
        return [at]
    return [each for member in at.types if not isinstance(member, inspect.NoneType) for each in _members(member)]


def find_config(name: str) -> Path:
    """Find a configuration by its path, or by the name of a shipped one (``default``, ``tutorial``)."""
    if path := existing_file(name):
        return path
    shipped = shipped_configs()
    if file := shipped.get(name.removesuffix(".toml")):
        return file
    beside = [each.name for each in Path().glob("*.toml")]
    raise UsageError(
        f"No configuration {name!r}: expected a TOML file, or one of the shipped names: {', '.join(shipped)}."
        + did_you_mean(name, [*shipped, *beside])
    )


def shipped_configs() -> dict[str, Path]:
    """Map the name of each shipped configuration to its file."""
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
