"""Names the recipes of a comparison, and refuses the same one twice. Used by the command ``pretap compare``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

from pretap.config.reading import find_config
from pretap.config.train import TrainConfig
from pretap.errors import UsageError


def named_recipes(configs: Sequence[str]) -> dict[str, Path]:
    """Name each configuration after its file, preceded by as many folders as it takes to make the names unique."""
    files = [find_config(config).resolve() for config in configs]
    for file in files:
        if files.count(file) > 1:
            raise UsageError(f"{file} is given twice: leave one of them out.")
    paths = [file.with_suffix("") for file in files]
    names = {}
    for path, file in zip(paths, files, strict=True):
        parts = next(
            path.parts[-n:]
            for n in range(1, len(path.parts) + 1)
            if sum(other.parts[-n:] == path.parts[-n:] for other in paths) == 1
        )
        names["/".join(parts)] = file
    return names


def check_differ(recipes: Mapping[str, TrainConfig]) -> None:
    """Refuse two names for the same recipe."""
    from pretap_offline.lab.fits import recipe

    for first, second in combinations(recipes, 2):
        if recipe(recipes[first]) == recipe(recipes[second]):
            raise UsageError(f"{first} and {second} are the same recipe: leave one of them out.")
