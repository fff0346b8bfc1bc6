"""The lab: hosts with clocks of their own, and the programs of an experiment on them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import Lab, why_impossible


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """An empty lab; its processes and namespaces end with the test."""
    if why := why_impossible():
        pytest.skip(why)
    lab = Lab(tmp_path)
    try:
        yield lab
    finally:
        lab.close()
