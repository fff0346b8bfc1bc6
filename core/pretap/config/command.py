"""``pretap config``: prints the configurations that are shipped with pretap. Started by `pretap.cli`."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from pretap.config.reading import shipped_configs
from pretap.errors import UsageError
from pretap.spelling import did_you_mean


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Complete the name of a shipped configuration."""
    return [CompletionItem(name) for name in shipped_configs() if name.startswith(incomplete)]


@click.command()
@click.argument("name", required=False, shell_complete=_complete)
def config(*, name: str | None) -> None:
    """Print the shipped configuration NAME with its comments; without NAME, list all of them.

    Each is a recipe of `pretap train`, except serve: it has every setting of `pretap serve`. To change one, save a
    copy: `pretap config taps > my.toml`, then `pretap train my.toml`.
    """
    shipped = shipped_configs()
    if name is None:
        width = max(map(len, shipped))
        for each in shipped:
            click.echo(f"{each:<{width}}  {_summary(shipped[each])}")
        return
    file = shipped.get(name.removesuffix(".toml"))  # a file of this name may be the one the output is written to
    if file is None:
        known = f"expected one of {', '.join(shipped)}.{did_you_mean(name, shipped)}"
        raise UsageError(f"No shipped configuration {name!r}: {known}")
    click.echo(file.read_text(encoding="utf-8"), nl=False)


def _summary(file: Path) -> str:
    """Return the first sentence of the comment at the top of a file."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        lines.append(line.removeprefix("# "))
    sentence, stop, _ = f"{' '.join(lines)} ".partition(". ")
    return (sentence + stop).strip()
