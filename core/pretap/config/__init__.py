"""Configurations for training and serving: TOML files read into checked structs. Imports no numpy."""

from pretap.config.reading import find_config, load_config

__all__ = ["find_config", "load_config"]
