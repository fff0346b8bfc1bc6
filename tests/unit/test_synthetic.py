"""The synthetic subject: known answers, the same samples for the same seed, and files that our readers take back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import cross_val_score

from pretap.errors import UsageError
from pretap.recordings.competition import CHANNELS, LABELS_NAME, read_competition
from pretap.recordings.continuous import open_recording
from pretap_offline.synthetic.command import simulate, simulate_epochs, simulate_raw, write_competition_mat
from pretap_offline.synthetic.head import draw_plan


@pytest.fixture(scope="module")
def raw():
    return simulate_raw(seed=3, n_seconds=90.0, sfreq_hz=250.0)


def test_the_recording_has_the_competitions_channels_and_amplitudes_of_real_eeg(raw) -> None:
    assert tuple(raw.ch_names) == CHANNELS
    assert (raw.n_times, raw.info["sfreq"]) == (22_500, 250.0)
    rms_uv = raw.get_data().std(axis=1) * 1e6
    assert rms_uv.min() > 4
    assert rms_uv.max() < 40


def test_taps_come_about_once_a_second_and_never_into_the_window_of_the_next(raw) -> None:
    taps_s = np.array([a["onset"] for a in raw.annotations if a["description"].startswith("tap/")])
    texts = [str(a["description"]) for a in raw.annotations if a["description"].startswith("tap/")]
    steps_s = np.diff(np.sort(taps_s))
    assert steps_s.min() > 0.63
    assert np.median(steps_s) == pytest.approx(1.0, abs=0.1)
    assert abs(texts.count("tap/left") - texts.count("tap/right")) <= 10
    assert np.allclose(taps_s * 250, np.rint(taps_s * 250), atol=1e-6)  # each on a sample


def test_a_rest_holds_no_tap_and_lasts_5_to_10_seconds(raw) -> None:
    taps_s = np.array([a["onset"] for a in raw.annotations if a["description"].startswith("tap/")])
    rests = [(a["onset"], a["duration"]) for a in raw.annotations if a["description"] == "rest"]
    assert len(rests) == 2
    for onset_s, duration_s in rests:
        assert 5 <= duration_s <= 10
        assert np.min(np.abs(taps_s - (onset_s + duration_s / 2))) >= duration_s / 2 + 0.99


def test_seed_and_session_fix_every_sample() -> None:
    def samples(seed: int, session: int) -> np.ndarray:
        return np.asarray(simulate_raw(seed=seed, session=session, n_seconds=5.0, sfreq_hz=100.0).get_data())

    first = samples(1, 0)
    assert np.array_equal(first, samples(1, 0))
    assert not np.array_equal(first, samples(1, 1))
    assert not np.array_equal(first, samples(2, 0))


def test_another_session_is_the_same_head_with_other_taps() -> None:
    """Right minus left at the window's end looks the same over the electrodes; that of another head does not."""

    def topography(seed: int, session: int) -> np.ndarray:
        epochs, _ = simulate_epochs(seed=seed, session=session, n_train=300, n_test=1, sfreq_hz=100.0)
        x = epochs.x_uv[:, -5:].mean(axis=1) - epochs.x_uv[:, :5].mean(axis=1)  # (n_epochs, n_channels)
        return np.asarray(x[epochs.labels == 1].mean(axis=0) - x[epochs.labels == 0].mean(axis=0))

    same, other = topography(0, 1), topography(1, 0)
    assert np.corrcoef(topography(0, 0), same)[0, 1] > 0.93 > np.corrcoef(topography(0, 0), other)[0, 1]


def test_trials_are_the_half_seconds_that_end_130_ms_before_each_tap_of_the_recording() -> None:
    plan = draw_plan(np.random.default_rng([7, 1, 0]), 60.0)  # the taps of seed 7, session 0
    train, test = simulate_epochs(seed=7, n_train=9, n_test=3, sfreq_hz=1000.0)
    raw = simulate_raw(seed=7, n_seconds=plan.taps_s[11] + 0.5 + 1e-9, sfreq_hz=1000.0)
    assert len(raw.annotations) == 12
    x_uv = raw.get_data().T * 1e6  # (n_samples, n_channels)
    trials = [*train.x_uv, *test.x_uv]
    for annotation, trial, label in zip(raw.annotations, trials, [*train.labels, *test.labels], strict=True):
        last = round((annotation["onset"] - 0.130) * 1000)
        assert np.max(np.abs(trial - x_uv[last - 499 : last + 1])) <= 0.05 + 1e-4  # rounded to 0.1 uV
        assert annotation["description"] == ("tap/left", "tap/right")[label]
    assert (train.classes, train.channels, train.window_end_ms) == (("left", "right"), CHANNELS, -130.0)
    assert train.source == "synthetic subject, seed 7"


def test_the_readiness_potential_is_negative_across_from_the_hand_and_largest_at_the_windows_end() -> None:
    train, _ = simulate_epochs(seed=0, n_train=400, n_test=1, sfreq_hz=100.0)
    right_minus_left = train.x_uv[train.labels == 1].mean(axis=0) - train.x_uv[train.labels == 0].mean(axis=0)
    course = right_minus_left - right_minus_left[:5].mean(axis=0)  # (n_samples, n_channels)
    c3, c4 = course[:, CHANNELS.index("C3")], course[:, CHANNELS.index("C4")]
    assert c3[-5:].mean() < -5  # the right hand is moved by the left hemisphere
    assert c4[-5:].mean() > 5
    assert abs(c3[-5:].mean()) > 2 * abs(c3[20:25].mean())


@pytest.mark.parametrize("seed", range(5))
def test_shrinkage_lda_is_clearly_above_chance_and_not_perfect(seed: int) -> None:
    epochs, _ = simulate_epochs(seed=seed, n_train=300, n_test=1, sfreq_hz=100.0)
    x = epochs.x_uv - epochs.x_uv.mean(axis=2, keepdims=True)  # average reference
    x = x - x[:, :5].mean(axis=1, keepdims=True)  # the first 50 ms as the baseline
    features = x.reshape(300, 5, 10, 28).mean(axis=2).reshape(300, -1)  # five window means
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    accuracy = cross_val_score(lda, features, epochs.labels, cv=5).mean()
    assert 0.82 <= accuracy <= 0.96


# -- files ---------------------------------------------------------------------------------------------------------


def test_a_mat_gives_back_the_trials_and_the_answers_and_the_same_bytes_again(tmp_path: Path) -> None:
    train, test = simulate_epochs(seed=5, n_train=8, n_test=4, sfreq_hz=100.0)
    for name in ("a.mat", "b.mat"):
        write_competition_mat(tmp_path / name, train, test)
    assert (tmp_path / "a.mat").read_bytes() == (tmp_path / "b.mat").read_bytes()
    for part, epochs in (("train", train), ("test", test)):
        again = read_competition(tmp_path / "a.mat", part=part)
        assert np.array_equal(again.x_uv, epochs.x_uv)
        assert np.array_equal(again.labels, epochs.labels)
        assert again.trial_ids == epochs.trial_ids
        assert (again.channels, again.sfreq_hz, again.subject) == (CHANNELS, 100.0, "synthetic-5")
        assert again.source.startswith("synthetic subject, seed 5, ")


def run(*arguments: object):
    return CliRunner().invoke(simulate, [str(each) for each in arguments])


def test_the_command_writes_a_fif_that_opens_with_its_taps_as_events(tmp_path: Path) -> None:
    out = tmp_path / "s_raw.fif"
    result = run(out, "--seconds", 20, "--sfreq-hz", 250, "--seed", 4)
    assert result.exit_code == 0, result.output
    recording = open_recording(out)
    assert (recording.n_samples, recording.sfreq_hz, recording.channels) == (5000, 250.0, CHANNELS)
    assert recording.subject == "synthetic-4"
    raw = simulate_raw(seed=4, n_seconds=20, sfreq_hz=250)
    assert recording.read(0, 5000) == pytest.approx(raw.get_data().T * 1e6, abs=1e-3)
    expected = [(round(a["onset"] * 250), a["description"]) for a in raw.annotations]
    assert [(event.sample, event.text) for event in recording.events] == expected
    left = sum(text == "tap/left" for _, text in expected)
    assert f"{left} taps left, {len(expected) - left} right, 0 rests, 250 Hz, 28 channels" in result.output
    assert isinstance(run(out).exception, UsageError)


def test_the_command_writes_trials_that_the_reader_finds_in_their_directory(tmp_path: Path) -> None:
    out = tmp_path / "new"
    result = run(out, "--epochs", "--n-train", 6, "--n-test", 2, "--sfreq-hz", 100)
    assert result.exit_code == 0, result.output
    assert result.output.count("\n") == 1
    assert (out / LABELS_NAME).is_file()
    assert len(read_competition(out, part="train")) == 6
    assert len(read_competition(out, part="test")) == 2
    again = run(out, "--epochs", "--n-train", 6, "--n-test", 2, "--sfreq-hz", 100)
    assert isinstance(again.exception, UsageError)
    assert run(out, "--epochs", "--n-train", 6, "--n-test", 2, "--sfreq-hz", 100, "--force").exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("x.edf",),
        ("x.edf", "--epochs"),
        ("x_raw.fif", "--n-train", "5"),
        ("x.mat", "--epochs", "--seconds", "5"),
        ("x_raw.fif", "--sfreq-hz", "50"),
        ("x_raw.fif", "--seconds", "0"),
        ("x_raw.fif", "--seed", "-1"),
        ("x.mat", "--epochs", "--n-test", "0"),
    ],
)
def test_an_option_without_effect_is_refused_and_nothing_is_written(tmp_path: Path, arguments) -> None:
    result = run(tmp_path / arguments[0], *arguments[1:])
    assert isinstance(result.exception, UsageError)
    assert list(tmp_path.iterdir()) == []
