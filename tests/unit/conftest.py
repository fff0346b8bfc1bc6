"""Fixtures that several unit tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundle_files import manifest, weights
from pretap.bundle.file import write_bundle


@pytest.fixture(scope="session")
def good_bundle(tmp_path_factory) -> bytes:
    """The bytes of a valid bundle."""
    path = tmp_path_factory.mktemp("good") / "good.safetensors"
    write_bundle(path, manifest(), weights())
    return path.read_bytes()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    """A file to overwrite: for hypothesis, which runs many examples in one test."""
    return tmp_path_factory.mktemp("scratch") / "scratch.safetensors"


@pytest.fixture(scope="module")
def config_file(tmp_path_factory) -> Path:
    """A file to overwrite: for hypothesis, which runs many examples in one test."""
    return tmp_path_factory.mktemp("config") / "config.toml"
