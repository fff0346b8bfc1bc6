"""The file of ``pretap compare --heads``: groups of heads, their recordings, and how these are cut."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pretap.config.reading import Label, Text, convert, load_config
from pretap.config.train import TrainConfig
from pretap.errors import UsageError
from pretap.recordings.bids import is_bids

_Files = Annotated[tuple[Text, ...], Meta(min_length=1)]


class Cutting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keys of [events], [trials] and [recording] that replace those of every recipe; the others stay the recipe's."""

    events: dict[Label, tuple[Text, ...]] = {}
    trials: dict[str, Any] = {}
    recording: dict[str, Any] = {}


class Head(Cutting, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The recordings of one person, in the order of recording; each file is a session."""

    name: Label
    files: _Files


class Group(Cutting, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Heads that were recorded alike. `source` says who recorded them."""

    name: Label
    source: Text = ""
    head: Annotated[tuple[Head, ...], Meta(min_length=1)]


class HeadsConfig(Cutting, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All groups. What a head says goes before what its group says, and that before what the file says for all."""

    group: Annotated[tuple[Group, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        for what, names in (
            ("group", [each.name for each in self.group]),
            *((f"head of group {group.name!r}", [head.name for head in group.head]) for group in self.group),
        ):
            if twice := [name for name in names if names.count(name) > 1]:
                raise ValueError(f"{what} {twice[0]!r} is there twice: give each its own name")


def read_heads(path: Path) -> HeadsConfig:
    """Read a heads file; raises `UsageError` that names the key at fault."""
    return load_config(HeadsConfig, path)


def cutting_recipe(recipe: TrainConfig, heads: HeadsConfig, group: Group, head: Head, *, path: Path) -> TrainConfig:
    """Return the recipe with the keys of [events], [trials] and [recording] that the heads file at `path` sets.

    Raises
    ------
    UsageError
        If a key is unknown or its value invalid.
    """
    table = msgspec.to_builtins(recipe)
    for layer in (heads, group, head):
        table["events"] = {name: list(patterns) for name, patterns in layer.events.items()} or table["events"]
        table["trials"] |= layer.trials
        table["recording"] |= layer.recording
    return convert(table, TrainConfig, path=path)


def files_of(head: Head, *, path: Path) -> list[str]:
    """Return the recordings of a head: wildcards and variables such as ``$PRETAP_DATA`` filled in.

    Relative paths start at the folder of the heads file `path`. Files that fit one pattern are in the order of the
    numbers in their names.

    Raises
    ------
    UsageError
        If a variable is not set, or no file fits.
    """
    found: list[str] = []
    for name in head.files:
        text = os.path.expandvars(name)
        if unset := re.search(r"\$\{?\w+\}?", text):
            raise UsageError(f"{path}: {name!r} needs the environment variable {unset[0]}, which is not set.")
        if is_bids(text):
            found.append(text)
            continue
        whole = path.parent / Path(text).expanduser()
        files = sorted(Path(whole.anchor or ".").glob(str(whole.relative_to(whole.anchor))), key=_by_number)
        if not files:
            raise UsageError(f"{path}: head {head.name!r} has no file {whole}.")
        found += map(str, files)
    return found


def _by_number(file: Path) -> list[tuple[int, str]]:
    """Return the parts of a name such that ``session-10`` follows ``session-9``."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", str(file))]
