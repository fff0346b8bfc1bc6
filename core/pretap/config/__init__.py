"""Configurations: read and checked, for serving and for training. Imports no numpy."""

from pretap.config.reading import find_config, load_config

__all__ = ["find_config", "load_config"]
