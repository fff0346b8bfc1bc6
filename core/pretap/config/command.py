"""``pretap config``: prints the configurations that are shipped with pretap. Started by `pretap.cli`."""

from __future__ import annotations

from pathlib import Path

import click

from pretap.config.reading import shipped_configs
from pretap.errors import UsageError


@click.command()
@click.argument("name", required=False)
def config(*, name: str | None) -> None:
    """Print the shipped configuration NAME with its comments; without NAME, list all of them.

    Each is a recipe of `pretap train`, except serve: it has every setting of `pretap serve`. To change one, save a
    copy: `pretap config own-cap > my.toml`, then `pretap train my.toml`.
    """
    shipped = shipped_configs()
    if name is None:
        width = max(map(len, shipped))
        for each, file in shipped.items():
            click.echo(f"{each:<{width}}  {_summary(file)}")
        return
    if name not in shipped:
        raise UsageError(f"No shipped configuration {name!r}: expected one of {', '.join(shipped)}.")
    click.echo(shipped[name].read_text(encoding="utf-8"), nl=False)


def _summary(file: Path) -> str:
    """Return the first sentence of the comment at the top of a file."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        lines.append(line.removeprefix("# "))
    sentence, stop, _ = f"{' '.join(lines)} ".partition(". ")
    return (sentence + stop).strip()
