"""The bundles that come with the package, by name."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

__all__ = ["BEST", "BUNDLES", "find_bundle", "shipped_bundles"]

BUNDLES: Final = Path(__file__).parents[1] / "bundles"
BEST: Final = "ensemble-1000hz"  # most amplifiers run at 250 Hz or more; a stream of 100 Hz would be resampled to it


def shipped_bundles(folder: Path = BUNDLES) -> dict[str, Path]:
    """Give the file of each shipped bundle, by name."""
    return {file.stem: file for file in sorted(folder.glob("*.safetensors"))}


def find_bundle(name: str | Path, *, folder: Path = BUNDLES) -> Path:
    """Find a bundle: a file, or the name of one that is shipped (``ensemble-1000hz``); else the path as given."""
    path = Path(name)
    with contextlib.suppress(OSError):  # a name too long for a file is an unknown name
        if path.exists() and not path.is_dir():
            return path
    return next((file for stem, file in shipped_bundles(folder).items() if str(name) in (stem, file.name)), path)
