"""Replacing electrodes: the bundle's matrix against MNE's own interpolation, and the electrodes' judge."""

from itertools import pairwise

import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretap.recordings.competition import CHANNELS
from pretap.recordings.mne_epochs import standard_montage
from pretap.signal.interpolation import can_interpolate, interpolating_matrix, max_interpolated
from pretap_offline.trials.montage import interpolation_weights, known_positions
from pretap_realtime.signal.electrodes import Electrodes


@pytest.fixture(scope="module")
def weights():
    return interpolation_weights(CHANNELS)


@pytest.mark.parametrize("bads", [["C3"], ["O1", "O2"], ["C3", "FC3", "C1", "CP3"]])
def test_any_set_of_electrodes_is_replaced_as_mne_replaces_it(weights, bads):
    x = np.random.default_rng(0).normal(size=(len(CHANNELS), 50))
    info = mne.create_info(list(CHANNELS), 1000.0, "eeg").set_montage(standard_montage())
    evoked = mne.EvokedArray(x.copy(), info, verbose="error")
    evoked.info["bads"] = bads
    evoked.interpolate_bads(verbose="error")
    lost = [CHANNELS.index(name) for name in bads]
    x[lost] = 1e6  # what stands there does not matter
    assert np.abs(interpolating_matrix(weights, lost) @ x - evoked.data).max() < 1e-8


def test_a_constant_on_all_electrodes_is_a_constant_on_the_replaced_one(weights):
    matrix = interpolating_matrix(weights, [3, 7])
    assert np.abs(matrix.sum(axis=1) - 1).max() < 1e-9


def test_a_channel_without_a_known_position_has_no_part_in_it():
    channels = ("C3", "Cz", "AUX1", "C4", "O1", "Fz")
    weights = interpolation_weights(channels)
    assert not weights[2].any()
    assert not weights[:, 2].any()
    assert [can_interpolate(weights, k) for k in range(6)] == [True, True, False, True, True, True]


def test_too_few_positions_make_no_matrix():
    assert interpolation_weights(("C3", "Cz", "C4", "O1")) is None
    assert interpolation_weights(("x1", "x2", "x3", "x4", "x5")) is None


def test_electrodes_are_found_under_their_other_names():
    assert known_positions(("EEG C3-Ref", "T3", "nothing")) == {"EEG C3-Ref": "C3", "T3": "T7"}


# -- the judge -----------------------------------------------------------------------------------------------------

FS = 100.0


def eeg(n=400, seed=0):
    return np.random.default_rng(seed).normal(0, 20, (n, len(CHANNELS))).astype(np.float32)


def follow(electrodes, x, cuts=()):
    """What comes out, one entry a sample (None where nothing), and the changes with the sample that they follow."""
    out, changes, seen = [], [], 0
    edges = [0, *sorted(min(c, len(x)) for c in cuts), len(x)]
    for a, b in pairwise(edges):
        for run in electrodes.repair(x[a:b]):
            out += [None] * run.n_samples if run.x_uv is None else list(run.x_uv)
            seen += run.n_samples
            if run.change:
                changes.append((seen, run.change))
    return out, changes


@pytest.fixture
def electrodes(weights):
    def make(**more):
        return Electrodes(CHANNELS, weights, max_share=0.15, sfreq_hz=FS, n_window=50, **more)

    return make


def test_living_electrodes_pass_untouched(electrodes):
    x = eeg()
    out, changes = follow(electrodes(), x)
    assert np.array_equal(np.array(out), x)
    assert changes == []


def test_a_flat_electrode_is_replaced_after_a_quarter_of_a_second_and_comes_back_after_one(electrodes, weights):
    x = eeg()
    x[100:200, 5] = 3.0
    judge = electrodes()
    out, changes = follow(judge, x)
    name = CHANNELS[5]
    assert [at for at, _ in changes] == [125, 300]
    assert changes[0][1] == f"1 of 28 electrodes flat: {name}; interpolated from their neighbours"
    assert changes[1][1] == "all electrodes are back"
    expected = x.copy()
    expected[125:300, 5] = (x[125:300] * interpolating_matrix(weights, [5])[5]).sum(axis=1)
    assert np.array_equal(np.array(out), expected)


def test_a_missing_channel_is_replaced_from_the_first_sample(electrodes):
    x = eeg()
    x[:, 5] = 0
    judge = electrodes(missing=(5,))
    out, changes = follow(judge, x)
    assert changes == []
    assert judge.describe() == "1 of 28 electrodes missing: FC5; interpolated from their neighbours"
    assert np.array(out)[:, 5].std() > 1


def test_a_missing_and_a_flat_electrode_are_told_apart(electrodes):
    x = eeg()
    x[:, [5, 7]] = 0
    judge = electrodes(missing=(5,))
    _, changes = follow(judge, x)
    assert changes[0][1].startswith(f"2 of 28 electrodes missing: {CHANNELS[5]}; flat: {CHANNELS[7]}; interpolated")


def test_with_too_many_flat_nothing_comes_out_until_they_are_back(electrodes):
    x = eeg(600)
    x[100:200, :5] = 0
    out, changes = follow(electrodes(), x)
    assert "at most 4 may be interpolated" in changes[0][1]
    assert [k for k, row in enumerate(out) if row is None] == list(range(125, 300))


def test_without_the_matrix_a_flat_electrode_stops_the_decoding():
    electrodes = Electrodes(CHANNELS, None, max_share=0.5, sfreq_hz=FS, n_window=50)
    x = eeg()
    x[:, 5] = 0
    out, changes = follow(electrodes, x)
    assert "this bundle cannot interpolate, train it again" in changes[0][1]
    assert out[24] is not None
    assert out[25:] == [None] * 375


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 400), max_size=10), flat=st.sets(st.integers(0, 27), max_size=4))
def test_chunks_decide_nothing(weights, cuts, flat):
    x = eeg()
    x[80:230, sorted(flat)] = 0

    def run(at):
        return follow(Electrodes(CHANNELS, weights, max_share=0.15, sfreq_hz=FS, n_window=50), x, at)

    (whole, changes), (pieces, other_changes) = run(()), run(cuts)
    assert changes == other_changes
    assert np.array_equal(np.array(whole), np.array(pieces))


def test_how_many_may_be_replaced():
    assert [max_interpolated(n, 0.15) for n in (4, 7, 8, 28, 64)] == [0, 1, 1, 4, 9]
    assert max_interpolated(20, 0.15) == 3
