"""pretap compare --heads: what is fitted and scored on each head, verdicts, means and errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lab_cases import trials
from pretap.bundle.file import load
from pretap.cli import pretap
from pretap.config.train import ScalingConfig, TrainConfig
from pretap.errors import DataError, PretapError, UsageError
from pretap.networks import LdaSpec
from pretap.recordings.epochs import Epochs, join
from pretap.recordings.mne_epochs import write_mne_epochs
from pretap_offline.evaluate.evaluation import evaluate_trials
from pretap_offline.lab.heads.config import files_of, read_heads
from pretap_offline.lab.heads.protocols import few_splits, head_splits, session_splits
from pretap_offline.lab.heads.reading import HeadReader
from pretap_offline.lab.heads.results import HeadScore, Verdicts
from pretap_offline.lab.heads.summary import group_scores
from pretap_offline.training import train

LDA = TrainConfig(network=LdaSpec(), scaling=ScalingConfig(block_ms=100.0, divide_uv=10.0))
LDA_TOML = '[scaling]\nblock_ms = 100.0\ndivide_uv = 10.0\n[network]\nkind = "lda"\n'
HEADS = """
[trials]
window_ms = [-430, -130]
[[group]]
name = "lab"
source = "a synthetic lab"
head = [{ name = "strong", files = ["strong-*-epo.fif"] }, { name = "noise", files = ["noise-*-epo.fif"] }]
"""


PROTOCOLS = ("blocks", "sessions", "heads", "few-20", "few-40")


def session(*, seed: int, effect_uv: float) -> Epochs:
    return trials(n=60, effect_uv=effect_uv, in_order=True, seed=seed)


SESSIONS = {
    "strong-2": session(seed=1, effect_uv=15.0),
    "strong-10": session(seed=2, effect_uv=15.0),
    "noise-1": session(seed=3, effect_uv=0.0),
    "noise-2": session(seed=4, effect_uv=0.0),
}


def of_head(name: str) -> Epochs:
    """The trials of both sessions of a head, in the window of the heads file."""
    return join([each.crop(-430, -130) for file, each in SESSIONS.items() if file.startswith(name)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("heads")
    for name, each in SESSIONS.items():
        write_mne_epochs(each, root / f"{name}-epo.fif")
    (root / "lda.toml").write_text(LDA_TOML)
    (root / "heads.toml").write_text(HEADS)
    return root


def compare(folder: Path, *arguments: str):
    chosen = [part for name in PROTOCOLS for part in ("--protocol", name)]
    common = ("--heads", f"{folder}/heads.toml", "--store", f"{folder}/store", *chosen)
    return CliRunner().invoke(pretap, ["compare", f"{folder}/lda.toml", *common, *arguments])


@pytest.fixture(scope="module")
def compared(folder) -> dict[str, Any]:
    done = compare(folder, "--json", f"{folder}/found.json", "--report", f"{folder}/found.html")
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads((folder / "found.json").read_bytes())


def scores(found: dict[str, Any], protocol: str, head: str) -> dict[str, Any]:
    wanted = {"protocol": protocol, "head": head, "recipe": "lda"}
    (each,) = (each for each in found["head_scores"] if wanted.items() <= each.items())
    return each


# -- protocols -----------------------------------------------------------------------------------------------------


def test_a_session_is_scored_by_a_decoder_of_all_before_it():
    short = session(seed=0, effect_uv=0.0).select(slice(0, 10))
    whole = join([short, short, session(seed=1, effect_uv=0.0)])
    folds = session_splits(whole)
    found = [(each.fit_on.tolist(), each.score_on.tolist()) for each in folds]
    assert found == [(list(range(20)), list(range(20, 80)))]  # from 10 trials nothing is fitted
    assert session_splits(session(seed=0, effect_uv=0.0)) == []
    assert session_splits(replace(whole, at_s=None)) == []


@pytest.mark.parametrize(
    ("n", "numbers", "first_scored"), [(39, [], 0), (40, [20], 20), (99, [20, 40], 40), (100, [20, 40, 80], 80)]
)
def test_few_trials_are_all_scored_on_the_same_ones(n, numbers, first_scored):
    folds = few_splits(trials(n=n, in_order=True))
    assert [len(each.fit_on) for each in folds.values()] == numbers
    assert [f"few-{number}" for number in numbers] == list(folds)
    for each, number in zip(folds.values(), numbers, strict=True):
        assert each.fit_on.tolist() == list(range(number))
        assert each.score_on.tolist() == list(range(first_scored, n))


def test_a_trial_that_overlaps_the_scored_ones_is_not_fitted():
    overlapping = replace(trials(n=40, in_order=True), at_s=np.arange(40) * 0.3)  # windows of half a second
    assert few_splits(overlapping)["few-20"].fit_on.tolist() == list(range(19))


def test_each_head_is_scored_by_a_decoder_of_the_others():
    found = [(each.fit_on.tolist(), each.score_on.tolist()) for each in head_splits([2, 1, 2])]
    assert found == [([2, 3, 4], [0, 1]), ([0, 1, 3, 4], [2]), ([0, 1, 2], [3, 4])]


# -- the heads file ------------------------------------------------------------------------------------------------


def test_files_are_in_the_order_of_their_numbers_and_cropped_to_the_window(folder):
    heads = read_heads(folder / "heads.toml")
    group = heads.group[0]
    files = files_of(group.head[0], path=folder / "heads.toml")
    assert files == [str(folder / name) for name in ("strong-2-epo.fif", "strong-10-epo.fif")]
    found = HeadReader(heads, folder / "heads.toml").read(LDA, group, group.head[0])
    np.testing.assert_allclose(found.x_uv, of_head("strong").x_uv, atol=1e-4)
    assert found.n_samples == 30
    assert found.files.tolist() == [0] * 60 + [1] * 60
    assert found.is_in_order


def test_events_choose_and_name_the_classes_of_trials(folder, tmp_path):
    three = trials(n=30, n_classes=3, in_order=True)
    write_mne_epochs(three, tmp_path / "a-epo.fif")
    text = (
        '[[group]]\nname = "g"\nhead = [{ name = "a", files = ["a-epo.fif"], trials = { exclude = ["Cz"] } }]\n'
        '[group.events]\nfeet = ["f*"]\nhand = ["left"]\n'
    )
    (tmp_path / "heads.toml").write_text(text)
    heads = read_heads(tmp_path / "heads.toml")
    found = HeadReader(heads, tmp_path / "heads.toml").read(LDA, heads.group[0], heads.group[0].head[0])
    assert (found.classes, found.channels) == (("feet", "hand"), ("C3", "C4"))
    wanted = [{0: 1, 2: 0}[label] for label in three.labels.tolist() if label != 1]
    assert found.labels.tolist() == wanted


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (("strong-*", "absent-*"), UsageError, r"head 'strong' has no file .*absent-\*-epo\.fif"),
        (("strong-*", "$NO_SUCH_FOLDER/a"), UsageError, r"variable \$NO_SUCH_FOLDER, which is not set"),
        (("window_ms", "windw_ms"), UsageError, "unknown field `windw_ms`.*window_ms"),
        (("-430", "-730"), DataError, r"lab, strong: .*expected trials from -730 to -130 ms"),
        (('name = "noise"', 'name = "strong"'), UsageError, "head of group 'lab' 'strong' is there twice"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(folder, tmp_path, monkeypatch, change, error, message):
    monkeypatch.delenv("NO_SUCH_FOLDER", raising=False)
    file = folder / "wrong.toml"
    file.write_text(HEADS.replace(*change))

    def read_first() -> Epochs:
        heads = read_heads(file)
        return HeadReader(heads, file).read(LDA, heads.group[0], heads.group[0].head[0])

    with pytest.raises(error, match=message):
        read_first()


# -- results -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("protocol", "head"), [("sessions", "strong"), ("heads", "noise"), ("few-40", "strong")])
def test_a_score_is_that_of_the_bundle_that_train_makes_of_the_same_trials(compared, protocol, head, tmp_path):
    own = of_head(head)
    fit_on, score_on = {
        "sessions": (own.select(slice(0, 60)), own.select(slice(60, 120))),
        "heads": (of_head("strong"), own),
        "few-40": (own.select(slice(0, 40)), own.select(slice(80, 120))),
    }[protocol]
    train(fit_on, LDA, tmp_path / "b.safetensors", seed=0, progress=False)
    wanted = evaluate_trials(load(tmp_path / "b.safetensors"), score_on).scores
    found = scores(compared, protocol, head)
    assert (found["n_fitted"], found["n_scored"]) == (len(fit_on), len(score_on))
    assert found["accuracy"] == pytest.approx(wanted.accuracy, abs=1e-9)
    assert found["accuracy_ci95"] == pytest.approx(wanted.accuracy_ci95)
    assert found["nll"] == pytest.approx(wanted.nll, abs=1e-4)


def test_blocks_are_scored_as_compare_scores_the_head_alone(compared, tmp_path):
    write_mne_epochs(of_head("strong"), tmp_path / "one-epo.fif")
    (tmp_path / "lda.toml").write_text(LDA_TOML)
    options = ("--folds", "5", "--repeats", "1", "--store", f"{tmp_path}/store", "--json", f"{tmp_path}/alone.json")
    done = CliRunner().invoke(
        pretap, ["compare", f"{tmp_path}/lda.toml", "--data", f"{tmp_path}/one-epo.fif", *options]
    )
    assert done.exit_code == 0, done.output
    (alone,) = json.loads((tmp_path / "alone.json").read_bytes())["outcomes"]
    found = scores(compared, "blocks", "strong")
    assert found["accuracy"] == pytest.approx(alone["figures"]["accuracy"])
    assert found["nll"] == pytest.approx(alone["figures"]["nll"], abs=1e-4)


def test_verdicts_are_counted_as_right_if_the_scored_trials_show_the_same(compared):
    def verdicts(protocol: str, head: str) -> dict[str, int]:
        return {name: n for name, n in scores(compared, protocol, head)["verdicts"].items() if n}

    assert verdicts("sessions", "strong") == {"go_right": 1}
    assert verdicts("sessions", "noise") == {"no_go_right": 1}
    assert verdicts("heads", "noise") == {"go_wrong": 1}  # a decoder of the strong head promises what it cannot keep
    assert verdicts("heads", "strong") == {"no_go_right": 1}
    assert verdicts("few-20", "strong") == {}  # 20 trials promise nothing
    assert verdicts("few-40", "strong") == {"go_right": 1}


def test_the_second_run_fits_nothing_and_finds_the_same(folder, compared):
    done = compare(folder, "--json", f"{folder}/again.json")
    n_fits, n_kept = done.stderr.split(" fits, ")[0], done.stderr.split(" fits, ")[1].split()[0]
    assert n_fits == n_kept
    again = json.loads((folder / "again.json").read_bytes())
    assert again["group_scores"] == compared["group_scores"]
    row = next(line for line in done.stdout.splitlines() if line.startswith("sessions") and " lda " in line)
    assert f"{compared['group_scores'][1]['accuracy']:.3f}" in row


def test_only_aggregates_leave_the_study(folder, compared):
    def longest(value: Any) -> int:
        if isinstance(value, dict):
            return max(map(longest, value.values()), default=0)
        if isinstance(value, list):
            is_figures = all(isinstance(each, int | float) for each in value)
            return max([len(value) if is_figures else 0, *map(longest, value)])
        return 0

    assert longest(compared) == 2  # an interval
    page = (folder / "found.html").read_text(encoding="utf-8")
    assert "a synthetic lab" in page
    assert "<img" not in page


def test_a_recipe_that_cannot_read_a_head_is_left_out_there_and_named(folder):
    few = ["--protocol", "few-20", "--store", f"{folder}/store"]
    (folder / "csp.toml").write_text('[network]\nkind = "csp"\nfilters = 6\n')
    done = CliRunner().invoke(
        pretap,
        ["compare", f"{folder}/lda.toml", f"{folder}/csp.toml", "--heads", f"{folder}/heads.toml", *few],
    )
    assert done.exit_code == 0, done.output
    assert "lab, strong: csp is left out. network.filters = 6: expected at most the 3 channels." in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("few-20")]
    assert {(row[1], row[2]) for row in rows} == {("lda", "2"), ("strong", "lda"), ("noise", "lda")}


def test_means_and_differences_are_over_the_heads_that_all_recipes_fitted():
    def each(recipe: str, head: str, accuracy: float, **more: Any) -> HeadScore:
        place = {"recipe": recipe, "group": "g", "head": head, "protocol": "sessions"}
        return HeadScore(**place, n_scored=100, accuracy=accuracy, nll=1 - accuracy, **more)

    first = [each("a", "h1", 0.6), each("a", "h2", 0.8), each("a", "h3", 0.9)]
    second = [each("b", "h1", 0.7), each("b", "h2", 0.7), each("b", "h3", 0.0, error="diverged")]
    a, b = group_scores([*first, *second], recipes=["a", "b"])
    assert (a.n_heads, b.n_heads) == (2, 2)
    assert (a.accuracy, b.accuracy) == (pytest.approx(0.7), pytest.approx(0.7))
    gains = np.array([0.1, -0.1])
    assert b.gain == pytest.approx(gains.mean())
    assert b.gain_se == pytest.approx(gains.std(ddof=1) / np.sqrt(2))
    assert b.nll_gain == pytest.approx(-gains.mean())
    assert Verdicts(1, 2, 3, 4) + Verdicts(1, 1, 1, 1) == Verdicts(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "synthetic"), "--data: cannot be combined with --heads"),
        (("--permutations", "3", "--unit", "uV"), "--unit, --permutations: cannot be combined with --heads"),
    ],
)
def test_options_without_effect_are_refused(folder, arguments, message):
    done = compare(folder, *arguments)
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)


def test_a_protocol_needs_heads(folder):
    done = CliRunner().invoke(pretap, ["compare", f"{folder}/lda.toml", "--data", "synthetic", "--protocol", "blocks"])
    assert isinstance(done.exception, PretapError)
    assert "give --heads too" in str(done.exception)


def test_only_trials_that_were_cut_alike_are_joined():
    first, second = SESSIONS["noise-1"], SESSIONS["noise-2"]
    found = join([first, second.pick(("Cz", "C3", "C4"))])
    np.testing.assert_array_equal(found.x_uv[60:], second.x_uv)
    assert found.trial_ids[:60] == first.trial_ids
    with pytest.raises(DataError, match="expected trials as in noise"):
        join([first, second.crop(-430, -130)])
