"""Writes the report of a comparison: one HTML file with scores, explanations and scalp maps. Used by `compare`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pretap.config.train import EvaluationConfig, TrainConfig
from pretap.errors import DataError, UsageError
from pretap.extras import import_extra
from pretap.files import write_whole, writing
from pretap.recordings.epochs import Epochs
from pretap.spelling import counted
from pretap_offline.evaluate.decision_patterns import Group, decision_patterns
from pretap_offline.evaluate.metrics import calibration_error, draw_labels
from pretap_offline.figure_style import not_drawn
from pretap_offline.lab.fits import data_sha256
from pretap_offline.lab.report import figures, texts
from pretap_offline.lab.report.page import PNG, cards, facts, heading, page, paragraph, picture, section, table
from pretap_offline.lab.report.patterns import patterns_of
from pretap_offline.lab.report.topographies import Topographies
from pretap_offline.lab.results import Comparison, Outcome
from pretap_offline.lab.table import DIFFERENCE_COLUMNS, difference_cells, outcome_cells
from pretap_offline.trials.montage import MIN_ON_MAP
from pretap_offline.trials.report import describe_counts

_PUBLISHED = {
    "bci2-iv-aa": {
        "test set, published: winner 2003 (0.84)": 0.84,
        "test set, published: second-order bilinear (0.87)": 0.87,
    }
}
"""Published accuracies on the withheld test part, by subject (Wang et al., IEEE TBME 51(6), 2004, and later)."""
_MAX_DIAGRAMS = 6  # of calibration


def check_report(found: Comparison | None = None, trials: Epochs | None = None) -> None:
    """Check before the work that the libraries are installed, and that the results `found` belong to `trials`."""
    for name in ("matplotlib", "mne"):
        import_extra(name, needed_by="--report")
    if found is not None and trials is not None and data_sha256(trials) != found.trials.sha256:
        raise UsageError(
            f"The results were computed on {found.trials.source} (sha256 {found.trials.sha256[:16]}), but --data holds "
            f"{trials.source} (sha256 {data_sha256(trials)[:16]}). Give the same data, or leave out --data and with it "
            "the scalp maps."
        )


def write_report(found: Comparison, path: Path, *, trials: Epochs | None, command: str) -> None:
    """Write the page; the file exists whole or not at all.

    Each configuration is fitted once more for its scalp maps, on all of `trials` from the first seed. Without trials,
    the maps are left out. `command` is the command line of the user.
    """
    best_first = found.best_first
    sections = [
        _header(found, command),
        _accuracy(found, best_first),
        _calibration(found, best_first),
        *_learning_curve(best_first),
        *_permutations(best_first),
        *_training(found, best_first),
        _mistakes(found, best_first),
        _maps(found, best_first, trials),
    ]
    title = counted(len(best_first), "decoder", "decoders compared")
    content = page(f"{title}: {found.trials.source}", sections)
    with writing(path):
        write_whole(path, content.encode())


def _header(found: Comparison, command: str) -> str:
    trials, setting = found.trials, found.setting
    counts = np.bincount(trials.labels, minlength=len(trials.classes))
    named = describe_counts(counts, trials.classes)
    seeds = f"{setting.seed} to {setting.seed + setting.repeats - 1}" if setting.repeats > 1 else f"{setting.seed}"
    return facts(
        [
            ("data", trials.source + (f" (subject {trials.subject})" if trials.subject else "")),
            ("sha256 of the data", trials.sha256),
            (
                "trials",
                f"{trials.n_trials} ({named}), {counted(len(trials.channels), 'channel')}, {trials.sfreq_hz:g} Hz",
            ),
            ("protocol", setting.protocol),
            ("folds, repeats, seeds", f"{setting.folds} folds, {counted(setting.repeats, 'repeat')}, seeds {seeds}"),
            ("code", f"pretap {setting.code}"),
            ("libraries", ", ".join(f"{name} {version}" for name, version in setting.versions.items())),
            ("computed", setting.created),
            ("command", command),
        ],
        code=frozenset(("command", "sha256 of the data", "code")),
    )


def _accuracy(found: Comparison, best_first: Sequence[Outcome]) -> str:
    n, best = found.trials.n_trials, best_first[0].figures.accuracy
    chance = max(np.bincount(found.trials.labels)) / n
    error = 100 * np.sqrt(best * (1 - best) / n)
    how = texts.ACCURACY.format(n=n, accuracy=best, error=error, chance=chance)
    plot = figures.accuracies(best_first, chance=chance, published=_PUBLISHED.get(found.trials.subject, {}))
    columns = (
        *("decoder", "kind", "accuracy", "95 %", "NLL", "ECE (p)", "slope", "kappa", "AUC"),
        *("perm. p", "parameters", "fit s", "forward"),
    )
    content = [
        table(columns, ([*outcome_cells(each).values()] for each in best_first), best_first=True),
        cards([picture(plot, alt="Accuracy of each decoder with its 95 % interval")]),
    ]
    if found.differences:
        content += [
            heading(f"Differences from {found.differences[0].against}"),
            paragraph(texts.DIFFERENCES),
            table(
                ("decoder", *DIFFERENCE_COLUMNS), ([each.name, *difference_cells(each)] for each in found.differences)
            ),
        ]
    return section("Accuracy", how, content)


def _calibration(found: Comparison, best_first: Sequence[Outcome]) -> str:
    labels, rng = np.array(found.trials.labels), np.random.default_rng(found.setting.seed)
    expected = _calibrated_error(np.array(best_first[0].probs), rng)
    how = texts.CALIBRATION.format(expected=expected)
    shown = []
    for number, each in enumerate(best_first[:_MAX_DIAGRAMS]):
        probs, f = np.array(each.probs), each.figures
        bins = figures.confidence_bins(labels, probs, rng=rng)
        drawn = figures.reliability(bins, probs, large=number == 0)
        caption = f"{each.name}: ECE {f.ece:.3f} (p {f.ece_p:.2g}), slope {outcome_cells(each)['slope']}"
        shown.append(picture(drawn, alt=f"Reliability of {each.name}", caption=caption))
    content = [cards(shown)]
    if len(best_first) > _MAX_DIAGRAMS:
        content.append(paragraph(f"The {_MAX_DIAGRAMS} most accurate of {len(best_first)} decoders are shown."))
    return section("Calibration", how, content)


def _calibrated_error(probs: NDArray[np.float64], rng: np.random.Generator) -> float:
    """Compute the mean ECE of perfectly calibrated decoders with the probabilities of the first repeat."""
    drawn = draw_labels(rng.random((200, probs.shape[1], 1)), probs[0])  # (n_draws, n_trials)
    return float(np.mean([calibration_error(labels, probs[0]) for labels in drawn]))


def _learning_curve(best_first: Sequence[Outcome]) -> list[str]:
    drawn = [each for each in best_first if each.learning_curve]
    if not drawn:
        return []
    plot = picture(figures.learning_curves(drawn), alt="Learning curves")
    return [section("Learning curve", texts.LEARNING_CURVE, [cards([plot])])]


def _permutations(best_first: Sequence[Outcome]) -> list[str]:
    shown = []
    for each in best_first:
        found = each.permutations
        if found is not None:
            drawn = figures.permutations(found, each.figures.accuracy)
            caption = f"{each.name}: p {found.p:.2g} ({len(found.accuracies)} permutations)"
            shown.append(picture(drawn, alt=f"Accuracies of {each.name} on permuted labels", caption=caption))
    return [section("Permuted labels", texts.PERMUTATIONS, [cards(shown)])] if shown else []


def _training(found: Comparison, best_first: Sequence[Outcome]) -> list[str]:
    shown = []
    for each in best_first:
        if each.losses:
            drawn = figures.training(np.array(each.losses), n_classes=len(found.trials.classes))
            caption = f"{each.name}: {counted(len(each.losses), 'fit')}"
            shown.append(picture(drawn, alt=f"Training loss of {each.name}", caption=caption))
    return [section("Training", texts.TRAINING, [cards(shown)])] if shown else []


def _mistakes(found: Comparison, best_first: Sequence[Outcome]) -> str:
    from sklearn.metrics import confusion_matrix

    labels, classes = np.array(found.trials.labels), found.trials.classes
    predicted = [np.array(each.probs).argmax(axis=2) for each in best_first]  # (n_repeats, n_trials) each
    columns = [f"{truth} → {prediction}" for truth in classes for prediction in classes]
    rows = []
    for each, own in zip(best_first, predicted, strict=True):
        shares = confusion_matrix(np.tile(labels, len(own)), own.ravel(), normalize="true", labels=range(len(classes)))
        rows.append([each.name, *(f"{100 * share:.1f} %" for share in shares.ravel())])
    wrong = (np.concatenate(predicted) != labels).mean(axis=0)  # (n_trials,)
    always, never = int((wrong == 1).sum()), int((wrong == 0).sum())
    text = (
        f"Of {len(labels)} trials, every decoder decodes {never} correctly in every repeat, and {always} wrongly in "
        "every repeat."
    )
    return section("Mistakes", texts.MISTAKES, [table(["decoder", *columns], rows), paragraph(text)])


def _maps(found: Comparison, best_first: Sequence[Outcome], trials: Epochs | None) -> str:
    if trials is None:
        return section("On the head", "", [paragraph("No maps: the trials were not given (--data).")])
    drawing = Topographies(trials.channels)
    if len(drawing.placed) < MIN_ON_MAP:
        text = (
            f"No maps: standard positions are known for {len(drawing.placed)} of "
            f"{counted(len(trials.channels), 'channel')}, at least {MIN_ON_MAP} are needed."
        )
        return section("On the head", "", [paragraph(text)])
    content = []
    for each in best_first:
        content.append(heading(f"{each.name} ({each.kind})"))
        for group in decision_patterns(trials, np.mean(each.probs, axis=0)):
            content += _drawn(group, drawing, name=each.name)
        content += _filters(each, drawing, trials, seed=found.setting.seed)
    return section("On the head", texts.HEAD, content)


def _filters(outcome: Outcome, drawing: Topographies, trials: Epochs, *, seed: int) -> Iterator[str]:
    """Fit on all trials, and draw the patterns of the filters."""
    from threadpoolctl import threadpool_limits

    from pretap_offline.fit.fitting import fit_decoder
    from pretap_offline.fit.parts import part_recipes
    from pretap_offline.training import prepare

    config = msgspec.convert(outcome.config, TrainConfig)
    epochs = prepare(trials, replace(config, evaluation=EvaluationConfig(folds=0)))
    for part in part_recipes(config):
        first = replace(part, fit=replace(part.fit, members=1))  # it has the seed of the ensemble
        try:
            with threadpool_limits(1):
                decoder, tensors = fit_decoder(epochs, first, seed=seed)
        except DataError as error:
            yield paragraph(f"No maps of the filters: the fit on all trials failed. {error}")
            return
        if part.fit.members > 1:
            yield paragraph(f"Filters of the first of {part.fit.members} members.")
        for group in patterns_of(decoder, tensors, epochs):
            yield from _drawn(group, drawing, name=outcome.name)


def _drawn(group: Group, drawing: Topographies, *, name: str) -> list[str]:
    try:
        maps = drawing.draw(group)
    except Exception as error:  # noqa: BLE001 - MNE and Matplotlib raise anything, and no figure may end a comparison
        return [heading(group.title, level=4), paragraph(not_drawn("The maps", error))]
    pictures = (
        picture(drawn, kind=PNG, alt=f"{name}: {group.title}, {each.title}", caption=each.title)
        for drawn, each in zip(maps, group.maps, strict=True)
    )
    return [heading(group.title, level=4), cards(pictures, heads=True)]
