"""Trials of MNE, in and out: the same bits, the same classes, the order of recording where it is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import pytest

from pretap.errors import DataError, UsageError
from pretap.recordings.epochs import Epochs
from pretap.recordings.mne_epochs import (
    epochs_from_mne,
    epochs_to_mne,
    is_epochs_file,
    make_info,
    read_mne_epochs,
    write_mne_epochs,
)
from pretap.recordings.named import open_any
from pretap_offline.trials.source import read_trials


def trials(*, n=12, n_classes=3, sfreq_hz=250.0, n_samples=125, channels=("C3", "Cz", "C4", "X1"), at_s=None) -> Epochs:
    x = np.random.default_rng(0).normal(50_000, 20, (n, n_samples, len(channels)))
    return Epochs(
        x_uv=x.astype(np.float32),
        labels=np.arange(n) % n_classes,
        classes=("zeta", "alpha", "mid", "d", "e")[:n_classes],
        channels=channels,
        sfreq_hz=sfreq_hz,
        window_end_ms=-132.0,
        source="noise",
        subject="s1",
        at_s=at_s,
    )


def test_trials_written_and_read_again_are_the_same_to_the_bit(tmp_path: Path) -> None:
    path = tmp_path / "x-epo.fif"
    before = trials(at_s=np.arange(12) * 0.8 + 3)
    write_mne_epochs(before, path)
    after = read_mne_epochs(path)
    np.testing.assert_array_equal(after.x_uv, before.x_uv)
    np.testing.assert_array_equal(after.labels, before.labels)
    assert after.trial_ids == before.trial_ids
    assert (after.classes, after.channels, after.sfreq_hz) == (before.classes, before.channels, before.sfreq_hz)
    assert (after.window_end_ms, after.subject, after.source) == (-132.0, "s1", "x-epo.fif")
    assert after.is_in_order
    np.testing.assert_allclose(after.at_s, before.at_s, atol=1e-9)
    assert read_trials(str(path), part="train").trial_ids == before.trial_ids
    recording = open_any(str(path), part="test")
    assert recording.trials is not None
    assert recording.trials.trial_ids == before.trial_ids
    assert recording.events[1].text == "trial/0/end/zeta"


def test_trials_of_several_files_stay_in_order_and_apart(tmp_path: Path) -> None:
    at_s = np.array([1.0, 2, 3, 1, 2, 3, 0.5, 1, 2, 3, 4, 5])
    files = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2])
    back = epochs_from_mne(epochs_to_mne(replace(trials(at_s=at_s), files=files)))
    assert back.is_in_order
    gaps_s = np.diff(back.at_s)
    np.testing.assert_allclose(gaps_s[[0, 1, 3, 4, 6, 7]], [1, 1, 1, 1, 0.5, 1], atol=0.005)
    assert gaps_s[[2, 5]].min() > 125 / 250


def test_without_an_order_none_is_claimed() -> None:
    assert not epochs_from_mne(epochs_to_mne(trials())).is_in_order
    shuffled = epochs_to_mne(trials(at_s=np.arange(12) * 0.8))[[3, 1, 2]]
    assert not epochs_from_mne(shuffled).is_in_order


def test_epochs_cut_by_mne_keep_their_event_codes_and_window() -> None:
    raw = mne.io.RawArray(np.arange(3000)[None] * 1e-6, mne.create_info(["Cz"], 250.0, "eeg"), verbose="error")
    events = np.array([[500, 0, 7], [900, 0, 3], [1300, 0, 7]])
    cut = mne.Epochs(
        raw, events, {"go": 7, "no": 3}, tmin=-0.2, tmax=-0.04, baseline=None, preload=True, verbose="error"
    )
    epochs = epochs_from_mne(cut)
    assert epochs.classes == ("no", "go")  # by code
    assert epochs.labels.tolist() == [1, 0, 1]
    assert epochs.window_end_ms == -40.0
    assert epochs.x_uv[:, -1, 0].round(3).tolist() == [490, 890, 1290]
    assert epochs.at_s.tolist() == [490 / 250, 890 / 250, 1290 / 250]


def test_bad_channels_and_other_types_are_taken_and_left_as_for_recordings() -> None:
    info = mne.create_info(["C3", "EOG", "C4"], 100.0, ["eeg", "eog", "eeg"])
    info["bads"] = ["C3"]
    made = mne.EpochsArray(np.zeros((2, 3, 10)) + 1e-6 * np.arange(3)[:, None], info, verbose="error")
    epochs = epochs_from_mne(made)
    assert epochs.channels == ("C3", "C4")
    assert epochs.x_uv[0, 0].tolist() == [0, 2]
    with pytest.raises(DataError, match="no EEG channels"):
        epochs_from_mne(made.copy().pick("eog", verbose="error"))


def test_files_that_cannot_be_read_or_written_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none-epo\.fif does not exist"):
        read_mne_epochs(tmp_path / "none-epo.fif")
    path = tmp_path / "x-epo.fif"
    write_mne_epochs(trials(), path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match="cannot be read as trials"):
        read_mne_epochs(path)
    with pytest.raises(UsageError, match=r"ends in -epo\.fif"):
        write_mne_epochs(trials(), tmp_path / "x.fif")
    with pytest.raises(DataError, match="expected labelled trials"):
        write_mne_epochs(replace(trials(), labels=None), path)


def test_names_of_files_with_trials() -> None:
    assert all(is_epochs_file(Path(name)) for name in ("a-epo.fif", "a_epo.fif", "A-EPO.FIF", "a-epo.fif.gz"))
    assert not any(is_epochs_file(Path(name)) for name in ("a_raw.fif", "epo.mat", "a-epo.txt"))


def test_positions_are_those_of_mne_for_each_electrode() -> None:
    info = make_info(("EEG C3-Ref", "T3", "X1"), sfreq_hz=100.0)
    expected = mne.create_info(["C3", "T7"], 100.0, "eeg").set_montage("standard_1005", verbose="error")
    for ours, theirs in zip(info["chs"][:2], expected["chs"], strict=True):
        np.testing.assert_allclose(ours["loc"][:3], theirs["loc"][:3], atol=1e-6)
    assert not np.isfinite(info["chs"][2]["loc"][:3]).all() or not info["chs"][2]["loc"][:3].any()
    assert make_info(("E1", "E2"), sfreq_hz=100.0)["dig"] is None
