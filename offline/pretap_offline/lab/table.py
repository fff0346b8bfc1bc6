"""What `pretap compare` prints."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from pretap_offline.lab.results import Comparison, Difference, Outcome

__all__ = ["print_comparison"]

_WIDTH = 200  # of what is not a terminal: nothing is cut or wrapped


def print_comparison(found: Comparison) -> None:
    """Print the configurations, best accuracy first, and the differences to the first one given."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    console.print(f"{found.trials.n_trials} trials, {found.setting.protocol}.\n", soft_wrap=True)
    console.print(_outcomes(found))
    if found.differences:
        console.print(f"\nAgainst {found.differences[0].against} (corrected resampled t-test over all folds):")
        console.print(_differences(found.differences))


def _outcomes(found: Comparison) -> Table:
    table = _table(
        "name",
        "kind",
        "accuracy",
        "95 %",
        "NLL",
        "ECE (p)",
        "slope",
        "kappa",
        "AUC",
        "weights",
        "fit s",
        "forward",
        "p",
    )
    for each in sorted(found.outcomes, key=lambda each: -each.figures.accuracy):
        table.add_row(*_row(each))
    return table


def _row(each: Outcome) -> list[str]:
    f = each.figures
    low, high = f.accuracy_ci95
    return [
        each.name,
        each.kind,
        f"{f.accuracy:.3f} ± {f.accuracy_sd:.3f}",
        f"{low:.3f}-{high:.3f}",
        f"{f.nll:.3f}",
        f"{f.ece:.3f} ({f.ece_p:.2g})",
        "-" if f.slope is None else f"{f.slope:.2f}",
        f"{f.kappa:.2f}",
        f"{f.auc:.3f}",
        f"{each.n_parameters}",
        f"{each.fit_s:.2f}",
        "yes" if each.forward_only else "no",
        "-" if each.permutations is None else f"{each.permutations.p:.2g}",
    ]


def _differences(found: tuple[Difference, ...]) -> Table:
    table = _table("name", "accuracy", "95 %", "p", "NLL", "95 %", "p")
    for each in found:
        table.add_row(
            each.name,
            f"{each.accuracy:+.3f}",
            "{:+.3f} to {:+.3f}".format(*each.accuracy_ci95),
            f"{each.accuracy_p:.2g}",
            f"{each.nll:+.3f}",
            "{:+.3f} to {:+.3f}".format(*each.nll_ci95),
            f"{each.nll_p:.2g}",
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in {"name", "kind"} else "right")
    return table
