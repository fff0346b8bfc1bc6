"""Tables and the page of a comparison over heads. Used by `run`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pretap.files import write_whole, writing
from pretap_offline.lab.heads.protocols import PROTOCOLS
from pretap_offline.lab.heads.results import GroupScore, HeadComparison, HeadScore, Verdicts
from pretap_offline.lab.report.page import facts, heading, page, paragraph, section, table
from pretap_offline.lab.table import open_console, text_table

_GROUP_COLUMNS = (
    *("protocol", "recipe", "heads", "accuracy", "95 %", "s.e.", "NLL", "gain", "NLL gain", "verdicts right"),
    "go, of them right",
)
_HEAD_COLUMNS = (
    *("protocol", "head", "recipe", "fitted", "scored", "accuracy", "95 %", "NLL", "verdicts right", "fit s"),
)
_TEXTS = ("protocol", "recipe", "head")
_EXPLANATION = (
    "Means over heads; 95 % is Wilson's interval over all trials scored, s.e. the standard error over heads. Gains are "
    "paired differences from {first}, with their standard error over heads. A verdict (go or no-go) is what `pretap "
    "train` says of the trials fitted on. It is right if the trials scored show the same; only verdicts of at least 40 "
    "trials, scored on at least 40, are counted."
)


def print_heads(found: HeadComparison) -> None:
    """Print a table for each group, and one of all heads."""
    console = open_console()
    for group in found.groups:
        console.print(f"{group.name}: {group.source}" if group.source else group.name)
        for head, described in group.heads.items():
            console.print(f"  {head}: {described}")
        console.print(text_table(_GROUP_COLUMNS, _group_rows(found, group.name), left=_TEXTS))
        console.print()
        console.print(text_table(_HEAD_COLUMNS, _head_rows(found, group.name), left=_TEXTS))
        console.print()
    console.print(_EXPLANATION.format(first=found.recipes[0]))
    for note in found.notes:
        console.print(note)


def write_heads_page(found: HeadComparison, path: Path, *, command: str) -> None:
    """Write the tables as one HTML page; the file exists whole or not at all."""
    header = facts(
        [
            ("recipes", ", ".join(found.recipes)),
            ("blocks", f"{found.folds} folds, {found.repeats} repeats, seed {found.seed}"),
            ("code", f"pretap {found.code}"),
            ("libraries", ", ".join(f"{name} {version}" for name, version in found.versions.items())),
            ("computed", found.created),
            ("command", command),
        ],
        code=frozenset(("command", "code")),
    )
    used = {each.protocol for each in found.head_scores}
    protocols = facts([(name, text) for name, text in PROTOCOLS.items() if name in used])
    sections = [header, section("How to read this", _EXPLANATION.format(first=found.recipes[0]), [protocols])]
    for group in found.groups:
        content = [
            facts(list(group.heads.items())),
            table(_GROUP_COLUMNS, _group_rows(found, group.name)),
            heading("Each head"),
            table(_HEAD_COLUMNS, _head_rows(found, group.name)),
        ]
        sections.append(section(group.name, group.source, content))
    if found.notes:
        sections.append(section("Notes", "", [paragraph(note) for note in found.notes]))
    title = f"{len(found.recipes)} recipes on {sum(len(group.heads) for group in found.groups)} heads"
    with writing(path):
        write_whole(path, page(title, sections).encode())


def _group_rows(found: HeadComparison, group: str) -> Iterator[list[str]]:
    for each in found.group_scores:
        if each.group == group:
            yield _group_cells(each, is_first=each.recipe == found.recipes[0])


def _group_cells(each: GroupScore, *, is_first: bool) -> list[str]:
    gain = "-" if is_first else _with_error(each.gain, each.gain_se)
    nll_gain = "-" if is_first else _with_error(each.nll_gain, each.nll_gain_se)
    return [
        each.protocol,
        each.recipe,
        f"{each.n_heads}",
        f"{each.accuracy:.3f}",
        "{:.3f}-{:.3f}".format(*each.accuracy_ci95),
        "-" if each.accuracy_se is None else f"{each.accuracy_se:.3f}",
        f"{each.nll:.3f}",
        gain,
        nll_gain,
        *_verdict_cells(each.verdicts),
    ]


def _head_rows(found: HeadComparison, group: str) -> Iterator[list[str]]:
    wanted = [each for each in found.head_scores if each.group == group]
    for protocol in PROTOCOLS:
        own = [each for each in wanted if each.protocol == protocol]
        for head in dict.fromkeys(each.head for each in own):
            yield from (_head_cells(each) for each in own if each.head == head)


def _head_cells(each: HeadScore) -> list[str]:
    place = [each.protocol, each.head, each.recipe]
    if each.error:
        return [*place, *["-"] * (len(_HEAD_COLUMNS) - len(place) - 1), "failed"]
    return [
        *place,
        f"{each.n_fitted:.0f}",
        f"{each.n_scored}",
        f"{each.accuracy:.3f}",
        "{:.3f}-{:.3f}".format(*each.accuracy_ci95),
        f"{each.nll:.3f}",
        _verdict_cells(each.verdicts)[0],
        f"{each.fit_s:.2f}",
    ]


def _verdict_cells(verdicts: Verdicts) -> tuple[str, str]:
    if not verdicts.n:
        return "-", "-"
    n_go = verdicts.go_right + verdicts.go_wrong
    return f"{verdicts.n_right} of {verdicts.n}", f"{verdicts.go_right} of {n_go}"


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:+.3f}" + ("" if error is None else f" ± {error:.3f}")
