"""compare --report: one self-contained page, whatever the recipes are called."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from msgspec.structs import replace as changed

from pretap.cli import pretap
from pretap.errors import PretapError, UsageError
from pretap.recordings.epochs import Epochs
from pretap.recordings.mne_epochs import write_mne_epochs
from pretap_offline.fit.fitting import fit_decoder
from pretap_offline.lab.report.figures import confidence_bins, permutations
from pretap_offline.lab.report.write import write_report
from pretap_offline.lab.results import Comparison, Permutations, read_results
from report_cases import LDA, LSTM, TRAINED, compared, trials

HOSTILE = "</style><script>alert('$x_{$')</script>\"&\x1b\ud800"


class Page(HTMLParser):
    """Parses a page, and checks that all tags are closed in order and that nothing is loaded from elsewhere."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.pictures: list[tuple[str, str, bytes]] = []  # alternative text, type, bytes
        self.headings: list[str] = []
        self.cells: list[str] = []
        self.text = ""
        self._open: list[str] = []
        content = path.read_text(encoding="utf-8")
        assert "http" not in re.sub(r";base64,[^\"]*", "", content)
        assert "url(" not in content
        assert "@import" not in content
        self.feed(content)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        given = dict(attrs)
        assert not {name for name in given if name.startswith("on") or name == "href"}
        if tag == "img":
            kind, data = re.fullmatch(r"data:(image/[a-z+]+);base64,(\S+)", given["src"]).groups()
            self.pictures.append((given["alt"], kind, base64.b64decode(data, validate=True)))
        if tag not in {"img", "meta"}:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if not self._open or self._open[-1] == "style":
            return
        self.text += data
        if self._open[-1] in {"h2", "h3"}:
            self.headings.append(data)
        if self._open[-1] == "td":
            self.cells.append(data)


def reported(found: Comparison, folder: Path, epochs: Epochs | None, command: str = "pretap compare") -> Page:
    write_report(found, folder / "r.html", trials=epochs, command=command)
    return Page(folder / "r.html")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def found(folder) -> Comparison:
    return compared(trials(), folder, {"lda": LDA, HOSTILE: LSTM}, permutations=3, learning_curve=True)


@pytest.fixture(scope="module")
def page(found, folder) -> Page:
    return reported(found, folder, trials(), "pretap compare 'a <b>' --report r.html")


def test_the_page_has_all_scores_of_every_decoder(found, page):
    for each in found.outcomes:
        f = each.figures
        for said in (
            f"{f.accuracy:.3f} ± {f.accuracy_sd:.3f}",
            "{:.3f} to {:.3f}".format(*f.accuracy_ci95),
            f"{f.nll:.3f}",
            f"{f.ece:.3f} ({f.ece_p:.2g})",
            f"{f.auc:.3f}",
            f"{each.permutations.p:.2g}",
            str(each.n_parameters),
        ):
            assert said in page.cells
    (difference,) = found.differences
    assert f"{difference.accuracy:+.3f}" in page.cells
    assert "{:+.3f} to {:+.3f}".format(*difference.nll_ci95) in page.cells


def test_two_channels_of_one_electrode_are_one_place_on_the_maps(tmp_path):
    epochs = trials(channels=("C3", "Cz", "C4", "O1", "T3", "T7"))
    page = reported(compared(epochs, tmp_path, {"lda": LDA}), tmp_path, epochs)
    assert "could not be drawn" not in page.text
    assert any(kind == "image/png" for _, kind, _ in page.pictures)


def test_the_page_holds_everything_needed_to_repeat_the_comparison(found, page):
    for said in (
        *("noise & <rhythms>", found.trials.sha256, found.setting.protocol, found.setting.code, found.setting.created),
        *("40 (20 left, 20 right), 6 channels, 100 Hz", "4 folds, 2 repeats, seeds 0 to 1"),
        "pretap compare 'a <b>' --report r.html",
    ):
        assert said in page.text


def test_the_page_has_sections_only_for_what_the_results_hold(found, page, folder):
    whole = ["Accuracy", "Calibration", "Learning curve", "Permuted labels", "Training", "Mistakes", "On the head"]
    assert [each for each in page.headings if each in whole] == whole
    plain = [changed(each, permutations=None, learning_curve=(), losses=()) for each in found.outcomes]
    shorter = reported(changed(found, outcomes=tuple(plain)), folder, None)
    left = ["Accuracy", "Calibration", "Mistakes", "On the head"]
    assert [each for each in shorter.headings if each in whole] == left
    assert "No maps: the trials were not given (--data)." in shorter.text


def test_every_picture_is_a_whole_svg_or_png(page):
    kinds = [kind for _, kind, _ in page.pictures]
    assert kinds.count("image/svg+xml") == 1 + 2 + 1 + 2 + 1  # accuracy, calibration, learning, permuted, training
    # for each decoder 5 stretches and 1 band; 5 + 5 of LDA, 2 cells of the LSTM
    assert kinds.count("image/png") == 6 + 6 + 10 + 2
    for _, kind, content in page.pictures:
        if kind == "image/svg+xml":
            assert ET.fromstring(content).tag == "{http://www.w3.org/2000/svg}svg"
        else:
            assert content[:8] == b"\x89PNG\r\n\x1a\n"
            assert content[-8:-4] == b"IEND"


def test_a_hostile_name_is_text_everywhere(page):
    assert "script" not in page.tags
    assert page.tags.count("style") == 1
    assert "</style><script>alert('$x_{$')</script>\"&\ufffd\ufffd" in page.cells


def test_a_page_that_cannot_be_written_is_an_error_and_leaves_nothing(found, tmp_path):
    (tmp_path / "r.html").mkdir()
    with pytest.raises(UsageError, match=r"Cannot write .*r\.html"):
        write_report(found, tmp_path / "r.html", trials=None, command="")
    assert [each.name for each in tmp_path.iterdir()] == ["r.html"]


def test_the_losses_of_every_fold_are_kept_and_closed_forms_have_none(found):
    lda, lstm = found.outcomes
    assert lda.losses == []
    assert np.array(lstm.losses).shape == (8, TRAINED.max_epochs)
    assert np.mean(lstm.losses, axis=0)[-1] < np.mean(lstm.losses, axis=0)[0]


def test_an_ensemble_shows_the_filters_of_its_first_member(tmp_path):
    epochs = trials()
    recipes = {"one": LSTM, "two": changed(LSTM, fit=changed(TRAINED, members=2))}
    page = reported(compared(epochs, tmp_path, recipes, repeats=1), tmp_path, epochs)
    assert "Filters of the first of 2 members." in page.text
    maps = {name: [svg for alt, _, svg in page.pictures if alt.startswith(f"{name}: Input")] for name in recipes}
    assert maps["one"] == maps["two"]
    assert len(maps["one"]) == 2


def test_the_losses_of_an_ensemble_are_its_members_mean():
    epochs, losses = trials(), []
    fit_decoder(epochs, changed(LSTM, fit=changed(TRAINED, members=2)), seed=0, losses=losses)
    assert np.array(losses).shape == (2, TRAINED.max_epochs)
    alone: list[list[float]] = []
    fit_decoder(epochs, LSTM, seed=0, losses=alone)
    assert losses[0] == alone[0] != losses[1]


def test_bins_have_equal_mass_and_hold_the_share_correct():
    confidence = np.linspace(0.5, 0.995, 100)
    probs = np.stack([1 - confidence, confidence], axis=1)[None]
    probs[0, 0] = (0.49, 0.51)
    labels = np.where(np.arange(100) % 10 < 3, 0, 1)  # of ten in a row, seven are right
    bins = confidence_bins(labels, probs, rng=np.random.default_rng(0))
    assert bins.shape == (10, 4)
    np.testing.assert_allclose(bins[:, 1], 0.7)
    np.testing.assert_allclose(bins[3, 0], confidence[30:40].mean())


def test_the_grey_band_holds_a_calibrated_decoder_and_not_an_overconfident_one():
    rng = np.random.default_rng(0)
    right = rng.uniform(0.5, 1, 4000)
    labels = (rng.random(4000) < right).astype(np.int64)
    calibrated = np.stack([1 - right, right], axis=1)[None]
    low, high = confidence_bins(labels, calibrated, rng=rng)[:, 2:].T
    share = confidence_bins(labels, calibrated, rng=rng)[:, 1]
    assert ((low <= share) & (share <= high)).sum() >= 8
    sure = 0.5 + np.clip(2 * (right - 0.5), 0, 0.499)
    bins = confidence_bins(labels, np.stack([1 - sure, sure], axis=1)[None], rng=rng)
    assert (bins[3:8, 1] < bins[3:8, 2]).all()


def test_equal_results_give_equal_pictures():
    null = Permutations((0.45, 0.5, 0.55), 0.25)
    assert permutations(null, 0.8) == permutations(null, 0.8)


def test_three_classes_have_maps(tmp_path):
    epochs = trials(n=60, classes=("left", "foot", "right"))
    page = reported(compared(epochs, tmp_path, {"lda": LDA}, repeats=1), tmp_path, epochs)
    assert "foot → right" in page.text
    assert sum(kind == "image/png" for _, kind, _ in page.pictures) == 16


def test_channels_without_a_position_give_no_maps_and_the_page_says_so(tmp_path):
    epochs = trials(channels=("C3", "Cz", "C4", "one", "two", "three"))
    page = reported(compared(epochs, tmp_path, {"lda": LDA}, repeats=1), tmp_path, epochs)
    assert "No maps: standard positions are known for 3 of 6 channels, at least 4 are needed." in page.text
    assert {kind for _, kind, _ in page.pictures} == {"image/svg+xml"}


def test_published_accuracies_appear_only_with_the_data_of_the_competition(found, folder):
    """Matplotlib draws names as outlines, and repeats them in a comment."""

    def lines(subject: str) -> list[str]:
        named = changed(found, trials=changed(found.trials, subject=subject))
        alt, _, svg = reported(named, folder, None).pictures[0]
        assert alt == "Accuracy of each decoder with its 95 % interval"
        return re.findall(rb"<!-- (test set, published: .*?) -->", svg)

    assert lines("bci2-iv-aa") == [
        b"test set, published: winner 2003 (0.84)",
        b"test set, published: second-order bilinear (0.87)",
    ]
    assert lines("") == []


@pytest.fixture
def written(found, tmp_path) -> Path:
    """A folder with trials, a recipe of LDA, and the results of comparing it."""
    write_mne_epochs(trials(), tmp_path / "trials-epo.fif")
    (tmp_path / "lda.toml").write_text('[network]\nkind = "lda"\n[scaling]\nblock_ms = 100.0\n')
    done = invoke("compare", f"{tmp_path}/lda.toml", *data(tmp_path), "--json", f"{tmp_path}/r.json")
    assert done.exit_code == 0, done.output
    return tmp_path


def data(folder: Path) -> tuple[str, ...]:
    return "--data", f"{folder}/trials-epo.fif", "--folds", "4", "--repeats", "1", "--store", f"{folder}/store"


def invoke(*arguments: str):
    return CliRunner().invoke(pretap, arguments)


def said(done) -> str:
    return str(done.exception) if isinstance(done.exception, PretapError) else done.output


def test_compare_writes_the_report_and_from_writes_it_again(written):
    first = invoke("compare", f"{written}/lda.toml", *data(written), "--report", f"{written}/a.html")
    assert first.exit_code == 0, first.output
    again = invoke(
        *("compare", "--from", f"{written}/r.json", "--data", f"{written}/trials-epo.fif"),
        *("--report", f"{written}/b.html"),
    )
    assert again.exit_code == 0, said(again)
    assert f"wrote {written}/b.html" in again.output
    pages = [Page(written / name) for name in ("a.html", "b.html")]
    assert pages[0].pictures == pages[1].pictures
    assert len(pages[0].pictures) == 2 + 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{f}/lda.toml", "--report", "{f}/lda.toml/r.html"), r"Cannot write .*r\.html"),
        (("{f}/lda.toml", "--report", "{f}/x", "--json", "{f}/x"), "x is given twice"),
        (("--report", "{f}/r.html"), "Missing argument 'CONFIG...'"),
        (("--from", "{f}/r.json"), "needs --report FILE.html"),
        (("--from", "{f}/r.json", "--report", "{f}/r.json"), r"r\.json is given twice"),
        (
            ("--from", "{f}/r.json", "--report", "{f}/r.html", "--folds", "3"),
            "--folds: cannot be combined with --from",
        ),
        (("{f}/lda.toml", "--from", "{f}/r.json", "--report", "{f}/r.html"), "CONFIG: cannot be combined with --from"),
        (("--from", "{f}/lda.toml", "--report", "{f}/r.html"), "lda.toml: not the results of"),
        (("--from", "{f}/r.json", "--report", "{f}/r.html", "--data", "{f}/other-epo.fif"), "Give the same data"),
    ],
)
def test_impossible_options_are_refused_and_nothing_is_written(written, arguments, message):
    other = trials(seed=1)
    write_mne_epochs(replace(other, x_uv=other.x_uv + 1), written / "other-epo.fif")
    before = (written / "r.json").read_bytes()
    done = invoke("compare", *(each.format(f=written) for each in arguments))
    assert done.exit_code != 0
    assert re.search(message, said(done)), said(done)
    assert not (written / "r.html").exists()
    assert (written / "r.json").read_bytes() == before
    assert isinstance(read_results(written / "r.json"), Comparison)
