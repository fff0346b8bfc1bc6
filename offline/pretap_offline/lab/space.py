"""The search space SPACE.toml: a recipe, and the keys that a sweep may change with their limits. Used by `sweep`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pretap.config.reading import find_config, load_config, read_toml
from pretap.config.train import TrainConfig
from pretap.errors import UsageError
from pretap_offline.lab.fits import recipe

if TYPE_CHECKING:
    from optuna.trial import Trial as OptunaTrial


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers from `low` to `high`, integers if both are; drawn uniformly, on a logarithmic scale, or in steps."""

    low: int | float
    high: int | float
    log: bool = False
    step: int | float | None = None

    def suggest(self, trial: OptunaTrial, key: str) -> int | float:
        """Return a value picked by Optuna."""
        if isinstance(self.low, int) and isinstance(self.high, int) and not isinstance(self.step, float):
            return int(trial.suggest_int(key, self.low, self.high, log=self.log, step=self.step or 1))
        return float(trial.suggest_float(key, self.low, self.high, log=self.log, step=self.step))

    def extremes(self) -> tuple[Any, ...]:
        """Return the limits; if both fit the recipe, so do all values in between."""
        return (self.low, self.high)

    def fault(self) -> str:
        """Return what is wrong with the range, or an empty text."""
        if not self.low < self.high:
            return f"expected low < high, got {self.low:g} and {self.high:g}"
        if self.log and self.low <= 0:
            return f"log needs low > 0, got {self.low:g}"
        if self.log and self.step is not None:
            return "log and step cannot be combined"
        if self.step is not None and not 0 < self.step <= self.high - self.low:
            return f"expected a step above 0 that fits between low and high, got {self.step:g}"
        return ""


@dataclass(frozen=True)
class Choices:
    """One of several values of any kind, passed to Optuna as JSON because it accepts neither lists nor tables."""

    values: tuple[Any, ...]

    def suggest(self, trial: OptunaTrial, key: str) -> Any:
        """Return a value picked by Optuna."""
        return json.loads(trial.suggest_categorical(key, [json.dumps(value) for value in self.values]))

    def extremes(self) -> tuple[Any, ...]:
        """Return all values; each must fit the recipe."""
        return self.values

    def fault(self) -> str:
        """Return what is wrong with the choices, or an empty text."""
        n_different = len({json.dumps(value) for value in self.values})
        return "" if n_different > 1 else "expected at least two different choices"


@dataclass(frozen=True)
class Space:
    """A recipe `base`, and those of its keys that may change."""

    base: TrainConfig
    base_name: str
    axes: Mapping[str, Range | Choices]

    def suggest(self, trial: OptunaTrial) -> dict[str, Any]:
        """Return a value picked by Optuna for every key."""
        return {key: axis.suggest(trial, key) for key, axis in self.axes.items()}

    def config(self, values: Mapping[str, Any]) -> TrainConfig:
        """Return the recipe with these values."""
        table: dict[str, Any] = msgspec.to_builtins(self.base)
        for key, value in values.items():
            *path, last = key.split(".")
            target: Any = table
            for part in path:
                target = target.get(part) if isinstance(target, dict) else None
            if not isinstance(target, dict):
                raise UsageError(f"{key}: the recipe has no such table.")
            target[last] = value
        try:
            return msgspec.convert(table, TrainConfig)
        except msgspec.ValidationError as error:
            raise UsageError(f"{error}") from None

    def content(self) -> dict[str, Any]:
        """Return the space as plain data, for reports and as its identity."""
        axes = {key: axis.values if isinstance(axis, Choices) else axis for key, axis in self.axes.items()}
        return {"base": self.base_name} | {"space": msgspec.to_builtins(axes)}


def read_space(path: Path) -> Space:
    """Read ``base`` (a recipe: a shipped name, or a file in the same folder) and the table ``[space]``.

    Each key of the table is a dotted key of the recipe, with a list of choices or ``{low, high, log, step}``.

    Raises
    ------
    UsageError
        If a key is unknown, a value does not fit the recipe, the space is empty, or a range is invalid.
    """
    table = read_toml(path, what="space")
    unknown = sorted(table.keys() - {"base", "space"})
    base, wanted = table.get("base"), table.get("space")
    if unknown or not isinstance(base, str) or not isinstance(wanted, dict) or not wanted:
        raise UsageError(
            f'{path}: expected base = "RECIPE" and a table [space] of keys with their ranges or choices, such as '
            '"fit.learning_rate" = { low = 1e-3, high = 1e-1, log = true }'
            + (f"; got {', '.join(unknown)}." if unknown else ".")
        )
    local = path.parent / base
    file = local if local.is_file() else find_config(base)
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
        raise UsageError(f"{path}: {key} does not affect the fit: leave it out.")
    if isinstance(axis, Range) and key == "signal.sfreq_hz":  # the trials are resampled once, before the search
        raise UsageError(f"{path}: {key}: expected a list of rates to choose from, not a range.")


def _axes(table: dict[str, Any], path: Path, prefix: str = "") -> Iterator[tuple[str, Range | Choices]]:
    """Yield the keys; ``"fit.max_epochs"``, ``fit.max_epochs`` and ``[space.fit] max_epochs`` are the same key."""
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
