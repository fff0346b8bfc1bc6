"""Tables that `pretap compare` and `pretap sweep` print."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from pretap_offline.lab.results import Chosen, Comparison, Difference, Outcome, Sweep

DIFFERENCE_COLUMNS = ("accuracy", "95 %", "p", "NLL", "95 %", "p")
_WIDTH = 10_000  # if the output is not a terminal, so that nothing is cut or wrapped


def print_comparison(found: Comparison) -> None:
    """Print the configurations, the best accuracy first, and their differences from the first one given."""
    console = open_console()
    console.print(f"{found.trials.n_trials} trials, {found.setting.protocol}; the same folds for all.\n")
    console.print(_outcomes(found.best_first, "name", "accuracy", "95 %", "NLL", "ECE (p)", "slope", "p"))
    console.print()
    console.print(_outcomes(found.best_first, "name", "kind", "kappa", "AUC", "parameters", "fit s", "forward"))
    if found.differences:
        console.print(f"\nAgainst {found.differences[0].against} (corrected resampled t-test over all folds):")
        rows = ([each.name, *difference_cells(each)] for each in found.differences)
        console.print(text_table(("name", *DIFFERENCE_COLUMNS), rows))


def outcome_cells(each: Outcome) -> dict[str, str]:
    """Format an outcome, by column; the report has all columns in this order."""
    f = each.figures
    return {
        "name": each.name,
        "kind": each.kind,
        "accuracy": f.describe_accuracy(),
        "95 %": "{:.3f} to {:.3f}".format(*f.accuracy_ci95),
        "NLL": f"{f.nll:.3f}",
        "ECE (p)": f"{f.ece:.3f} ({f.ece_p:.2g})",
        "slope": "-" if f.slope is None else f"{f.slope:.2f}",
        "kappa": f"{f.kappa:.2f}",
        "AUC": f"{f.auc:.3f}",
        "p": "-" if each.permutations is None else f"{each.permutations.p:.2g}",
        "parameters": f"{each.n_parameters}",
        "fit s": f"{each.fit_s:.2f}",
        "forward": "yes" if each.forward_only else "no",
    }


def _outcomes(outcomes: Sequence[Outcome], *columns: str) -> Table:
    rows = [outcome_cells(each) | {"95 %": "{:.3f}-{:.3f}".format(*each.figures.accuracy_ci95)} for each in outcomes]
    return text_table(columns, ([cells[column] for column in columns] for cells in rows))


def difference_cells(found: Difference) -> tuple[str, ...]:
    """Format a difference for the columns `DIFFERENCE_COLUMNS`."""
    return (
        f"{found.accuracy:+.3f}",
        "{:+.3f} to {:+.3f}".format(*found.accuracy_ci95),
        f"{found.accuracy_p:.2g}",
        f"{found.nll:+.3f}",
        "{:+.3f} to {:+.3f}".format(*found.nll_ci95),
        f"{found.nll_p:.2g}",
    )


def text_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: Sequence[str] = ("name", "kind", "chosen")
) -> Table:
    """Return a table without lines; the columns `left` are aligned to the left, the others to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right")
    for row in rows:
        table.add_row(*row)
    return table


def print_sweep(found: Sweep) -> None:
    """Print the choices of the outer folds, the nested estimate, and the choice on all trials."""
    console = open_console()
    console.print(f"{found.trials.n_trials} trials, {found.setting.protocol}.\n")
    if found.nested is not None:
        columns = ("repeat", "fold", "inner NLL", "NLL", "accuracy", "temperature", "chosen")
        console.print(text_table(columns, map(_choice_cells, found.chosen)))
        n = found.nested
        console.print(
            f"\nnested estimate: accuracy {n.describe_accuracy()} (95 % interval "
            f"{n.accuracy_ci95[0]:.3f} to {n.accuracy_ci95[1]:.3f}), NLL {n.nll:.3f}, ECE {n.ece:.3f} "
            f"(p {n.ece_p:.2g}), kappa {n.kappa:.2f}, AUC {n.auc:.3f}\n",
        )
    faults = [each.fault for each in found.tried if each.fault]
    n_diverged = sum(each.nll is None for each in found.tried) - len(faults)
    console.print(
        f"chosen on all trials: {_values(found.values)}; inner NLL {found.nll:.3f}, optimistic "
        f"because it is the best of {len(found.tried)} ({n_diverged} diverged)",
    )
    if faults:
        console.print(f"{len(faults)} combinations could not be built, the first because: {faults[0]}")


def _choice_cells(each: Chosen) -> list[str]:
    figures = (f"{x:.3f}" for x in (each.inner_nll, each.nll, each.accuracy))
    return [f"{each.repeat}", f"{each.fold}", *figures, f"{each.temperature:.2f}", _values(each.values)]


def _values(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} = {f'{x:.4g}' if isinstance(x, float) else json.dumps(x)}" for key, x in values.items())


def open_console() -> Console:
    """Open the console for tables; if the output is not a terminal, nothing is cut or wrapped."""
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=_WIDTH)
