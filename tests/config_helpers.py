"""Short ways to read a configuration, for the tests of configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretap.config import load_config
from pretap.config.serve import ServeConfig
from pretap.config.train import TrainConfig
from pretap.errors import UsageError

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.toml"))
NETWORK = ("network.kind=lstm", "network.hidden=[4]")


def train(*overrides: str) -> TrainConfig:
    return load_config(TrainConfig, overrides=[*NETWORK, *overrides])


def serve(*overrides: str) -> ServeConfig:
    return load_config(ServeConfig, overrides=overrides)


def refusal(kind, *overrides: str) -> str:
    with pytest.raises(UsageError) as error:
        load_config(kind, overrides=[*(NETWORK if kind is TrainConfig else ()), *overrides])
    return str(error.value)
