"""The recipe that a sweep chose, as a TOML file that `pretap train` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pretap.files import writing
from pretap_offline.lab.results import Sweep

__all__ = ["write_chosen"]


def write_chosen(found: Sweep, path: Path) -> None:
    """Write the configuration, with what is known about it in a comment."""
    import tomli_w

    lines = [f"# Chosen by `pretap sweep` on {found.setting.created[:10]} from {found.trials.source},"]
    lines.append(f"# {found.setting.protocol}.")
    lines.append(f"# NLL on the inner folds, the best of {len(found.tried)} and so too good: {found.nll:.3f}.")
    if found.nested is not None:
        lines.append(f"# Nested estimate: accuracy {found.nested.accuracy:.3f}, NLL {found.nested.nll:.3f}.")
    with writing(path):
        path.write_text("\n".join(lines) + "\n\n" + tomli_w.dumps(_without_none(found.config)), encoding="utf-8")


def _without_none(value: Any) -> Any:
    """Leave out what is not set; TOML has no word for it."""
    if isinstance(value, dict):
        return {key: _without_none(each) for key, each in value.items() if each is not None}
    return value
