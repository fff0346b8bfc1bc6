"""Completion of names in a shell: recipes and bundles. Used by the command modules; imports no numpy."""

from __future__ import annotations

from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem

from pretap.bundle.shipped import shipped_bundles
from pretap.config.reading import shipped_configs


def _complete(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Return the names that begin with `incomplete`; the shell adds files if there is none."""
    found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return [CompletionItem(incomplete, type="file"), *found]


def complete_recipe(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Complete the name of a shipped recipe, or a file."""
    return _complete((name for name in shipped_configs() if name != "serve"), incomplete)


def complete_bundle(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG001
    """Complete the name of a shipped bundle, or a file."""
    return _complete(shipped_bundles(), incomplete)
