"""The bundles that come with the package. Used by everything that reads a bundle by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pretap.files import existing_file

BUNDLES: Final = Path(__file__).parents[1] / "bundles"
BEST: Final = "ensemble-1000hz"  # most amplifiers run at 250 Hz or more; a stream of 100 Hz would be resampled to it


def shipped_bundles(folder: Path = BUNDLES) -> dict[str, Path]:
    """Map the name of each shipped bundle to its file."""
    return {file.stem: file for file in sorted(folder.glob("*.safetensors"))}


def find_bundle(name: str | Path, *, folder: Path = BUNDLES) -> Path:
    """Find a bundle by its path, or by the name of a shipped one; otherwise return `name` as a path."""
    shipped = (file for file in shipped_bundles(folder).values() if str(name) in (file.stem, file.name))
    return existing_file(name) or next(shipped, Path(name))
