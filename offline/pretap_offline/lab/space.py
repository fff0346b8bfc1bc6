"""SPACE.toml: a recipe, and which of its keys a sweep may change, and how far."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pretap.config.reading import find_config, load_config
from pretap.config.train import TrainConfig
from pretap.errors import UsageError
from pretap_offline.lab.fits import recipe

if TYPE_CHECKING:
    from optuna.trial import Trial as OptunaTrial

__all__ = ["Choices", "Range", "Space", "read_space"]


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers from `low` to `high`, whole where both are; drawn evenly, or their logarithm, or in steps from `low`."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    def suggest(self, trial: OptunaTrial, key: str) -> int | float:
        """Let Optuna pick a value."""
        if isinstance(self.low, int) and isinstance(self.high, int) and not isinstance(self.step, float):
            return int(trial.suggest_int(key, self.low, self.high, log=self.log, step=self.step or 1))
        return float(trial.suggest_float(key, self.low, self.high, log=self.log, step=self.step))

    def extremes(self) -> tuple[Any, ...]:
        """Give values that must fit the recipe, for all between them to fit."""
        return (self.low, self.high)

    def fault(self) -> str:
        """Say what is wrong with the range, or nothing."""
        if not self.low < self.high:
            return f"expected low < high, got {self.low:g} and {self.high:g}"
        if self.log and self.low <= 0:
            return f"log needs low > 0, got {self.low:g}"
        if self.log and self.step is not None:
            return "log and step exclude each other"
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            return f"expected a step above 0 that fits between low and high, got {self.step:g}"
        return ""


@dataclass(frozen=True)
class Choices:
    """One of some values of any kind; to Optuna they are texts, since it takes neither lists nor tables."""

    values: tuple[Any, ...]

    def suggest(self, trial: OptunaTrial, key: str) -> Any:
        """Let Optuna pick a value."""
        return json.loads(trial.suggest_categorical(key, [json.dumps(value) for value in self.values]))

    def extremes(self) -> tuple[Any, ...]:
        """Give values that must fit the recipe."""
        return self.values

    def fault(self) -> str:
        """Say what is wrong with the choices, or nothing."""
        return (
            "" if len({json.dumps(value) for value in self.values}) > 1 else "expected at least two different choices"
        )


@dataclass(frozen=True)
class Space:
    """A recipe `base`, and its keys that may change."""

    base: TrainConfig
    base_name: str
    axes: Mapping[str, Range | Choices]

    def suggest(self, trial: OptunaTrial) -> dict[str, Any]:
        """Let Optuna pick a value for every key."""
        return {key: axis.suggest(trial, key) for key, axis in self.axes.items()}

    def config(self, values: Mapping[str, Any]) -> TrainConfig:
        """Give the recipe with these values."""
        table: dict[str, Any] = msgspec.to_builtins(self.base)
        for key, value in values.items():
            *path, last = key.split(".")
            at: Any = table
            for part in path:
                at = at.get(part) if isinstance(at, dict) else None
            if not isinstance(at, dict):
                raise UsageError(f"{key}: the recipe has no such table.")
            at[last] = value
        try:
            return msgspec.convert(table, TrainConfig)
        except msgspec.ValidationError as error:
            raise UsageError(f"{error}") from None

    def content(self) -> dict[str, Any]:
        """Give the space as data, for reports and to identify it."""
        axes = {key: axis.values if isinstance(axis, Choices) else axis for key, axis in self.axes.items()}
        return {"base": self.base_name} | {"space": msgspec.to_builtins(axes)}


def read_space(path: Path) -> Space:
    """Read ``base`` (a recipe: a shipped name, or a file beside this one) and the table ``[space]``.

    Each key of the table is a dotted key of the recipe, with a list of choices or ``{low, high, log, step}``.

    Raises
    ------
    UsageError
        For an unknown key, a value that the recipe does not take, an empty space, a range that is none.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"Cannot read the space {path}: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from None
    unknown = sorted(table.keys() - {"base", "space"})
    base, wanted = table.get("base"), table.get("space")
    if unknown or not isinstance(base, str) or not isinstance(wanted, dict) or not wanted:
        raise UsageError(
            f'{path}: expected base = "RECIPE" and a table [space] of keys with their ranges or choices, such as '
            '"fit.learning_rate" = { low = 1e-3, high = 1e-1, log = true }'
            + (f"; got {', '.join(unknown)}." if unknown else ".")
        )
    beside = path.parent / base
    file = beside if beside.is_file() else find_config(base)
    space = Space(load_config(TrainConfig, file), base, dict(_axes(wanted, path)))
    for key, axis in space.axes.items():
        _check_axis(space, key, axis, path)
    return space


def _check_axis(space: Space, key: str, axis: Range | Choices, path: Path) -> None:
    recipes = []
    for value in axis.extremes():
        try:
            recipes.append(recipe(space.config({key: value})))
        except UsageError as error:
            raise UsageError(f"{path}: {key} = {json.dumps(value)}: {error}") from None
    if recipes[0] == recipes[1]:
        raise UsageError(f"{path}: {key} changes nothing about a fit: leave it out.")
    if isinstance(axis, Range) and key == "signal.sfreq_hz":  # the trials are resampled once, before the search
        raise UsageError(f"{path}: {key}: expected a list of rates to choose from, not a range.")


def _axes(table: dict[str, Any], path: Path, prefix: str = "") -> Iterator[tuple[str, Range | Choices]]:
    """Walk the table: ``"fit.max_epochs"``, ``fit.max_epochs`` and ``[space.fit] max_epochs`` are the same key."""
    for name, value in table.items():
        key = prefix + name
        if isinstance(value, dict) and not value.keys() & {"low", "high"}:
            if not value:
                raise UsageError(f"{path}: {key}: expected low and high, or a list of choices, got an empty table.")
            yield from _axes(value, path, f"{key}.")
            continue
        axis: Range | Choices
        if isinstance(value, list):
            axis = Choices(tuple(value))
        else:
            try:
                axis = msgspec.convert(value, Range)
            except msgspec.ValidationError as error:
                raise UsageError(f"{path}: {key}: expected {{ low, high }} or a list of choices: {error}.") from None
        if fault := axis.fault():
            raise UsageError(f"{path}: {key}: {fault}.")
        yield key, axis
