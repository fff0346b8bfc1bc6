"""A faulty signal is described, a good one is not, and chunk boundaries decide nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretap.config.serve import QualityConfig
from pretap.signal.channels import mirrored
from pretap.signal.statistics import Statistics, block_samples, gather_statistics
from pretap_realtime.signal.block_checks import describe_unit_error
from pretap_realtime.signal.quality import GOOD, QualityCheck
from pretap_realtime.signal.rate import RateCheck
from signal_cases import (
    FS,
    NAMES,
    PAIR_WORDS,
    PLACES,
    N,
    eeg,
    exchanged,
    hurt,
    known,
    reordered,
    stamps,
    wave,
    words_of,
)

# -- what is right ---------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    head=st.integers(0, 5),
    uv=st.floats(3, 60),
    offset_uv=st.floats(-80_000, 80_000),
    blink=st.booleans(),
)
def test_nothing_is_said_of_a_good_signal_of_this_or_another_head(seed, head, uv, offset_uv, blink):
    x = eeg(25, seed=seed, head=head, uv=uv)
    if blink:  # one of 0.3 s each two seconds
        front = np.exp(PLACES[:, 1] - 2)
        for start in range(300, len(x) - 60, 400):
            x[start : start + 60] += 8 * uv * (np.sin(np.pi * np.arange(60) / 60) ** 2)[:, None] * front
    assert words_of((x + np.float32(offset_uv)).astype(np.float32)) == []


# -- what is wrong ---------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    name=st.sampled_from(NAMES),
    kind=st.sampled_from(["rail", "clip", "50", "60", "loud", "noise", "dead", "nan"]),
)
def test_a_bad_electrode_is_named_with_its_fault(seed, name, kind):
    def change(x):
        noise = np.random.default_rng(seed).standard_normal(len(x))
        if kind == "nan":
            noise[::40] = np.nan
        return {
            "rail": np.full(len(x), 187_500),
            "clip": np.clip(x + wave(len(x), 1.3, 200), -100, 100),
            "50": x + wave(len(x), 50, 100),
            "60": x + wave(len(x), 60, 100),
            "loud": 500 * noise,
            "noise": 50 * noise,
            "dead": 0.3 * noise,
            "nan": x + noise,
        }[kind]

    fault = {
        "rail": "railed",
        "clip": "railed",
        "50": "dominated by 50 Hz",
        "60": "dominated by 60 Hz",
        "loud": "much too large beside the others",
        "noise": "noise: unlike all others",
        "dead": "much too small beside the others",
        "nan": "non-finite values",
    }[kind]
    (said,) = words_of(hurt(eeg(4, seed=seed), name, change))
    assert said.startswith(f"{name}: {fault}")


def test_the_fault_is_named_after_a_second_and_a_quarter_and_gone_as_long_after_its_end():
    x = eeg(10)
    x[600:1200, 8] = 187_500  # from 3 s to 6 s
    quality = QualityCheck(NAMES, known(), QualityConfig(), sfreq_hz=FS, n_window=100)
    quality.update(x, stamps(len(x)))
    assert quality.next_change == 600 + 5 * 50
    assert quality.take_change().bad == {8: "railed: cut off at the amplifier's limit"}
    assert quality.next_change == 1200 + 5 * 50
    assert quality.take_change() == GOOD


def test_a_window_longer_than_the_blocks_that_count_is_clean_when_its_electrodes_are_good_again():
    x = eeg(20)
    x[600:1200, 8] = 187_500
    quality = QualityCheck(NAMES, known(), QualityConfig(), sfreq_hz=FS, n_window=600)  # 3 s
    quality.update(x, stamps(len(x)))
    assert quality.take_change().bad
    assert quality.next_change >= 1200 + 600
    assert quality.take_change() == GOOD


def with_common_mains(x, uv):
    """All electrodes with mains, in slightly different amplitudes; the average reference takes most of it off."""
    uv_each = uv * np.random.default_rng(7).uniform(0.95, 1.05, N)
    return (x + wave(len(x), 50, 1.0)[:, None] * uv_each).astype(np.float32)


@pytest.mark.parametrize("trained_uv", [0, 80])
def test_mains_that_all_electrodes_have_in_common_are_no_fault_of_one(trained_uv):
    train = with_common_mains(eeg(100, seed=50), trained_uv).reshape(-1, 100, N)
    x = with_common_mains(eeg(10, seed=1), 80)
    assert words_of(x, statistics=lambda: gather_statistics(train, sfreq_hz=FS)) == []
    (said,) = words_of(hurt(x, "Cz", lambda each: each + wave(len(each), 50, 1000)), statistics=known)
    assert said.startswith("Cz: dominated by 50 Hz")


def test_noise_on_one_electrode_is_found_below_mains_that_all_have_in_common():
    train = with_common_mains(eeg(100, seed=50), 80).reshape(-1, 100, N)
    noise = np.random.default_rng(0).normal(0, 100, round(6 * FS)).astype(np.float32)
    x = hurt(with_common_mains(eeg(6, seed=1), 80), "FC4", lambda _: noise)
    said = words_of(x, statistics=lambda: gather_statistics(train, sfreq_hz=FS))
    assert [each.split(":")[0] for each in said] == ["FC4"]


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1e-6, "10^6 times too small: volts taken for microvolts"),
        (1e-3, "10^3 times too small: millivolts taken for microvolts"),
        (1e3, "10^3 times too large: microvolts taken for millivolts"),
        (1e6, "10^6 times too large: microvolts taken for volts"),
    ],
)
def test_another_unit_is_named_within_two_blocks(factor, words):
    x = eeg(4)
    x[400:] *= np.float32(factor)
    quality = QualityCheck(NAMES, known(), QualityConfig(), sfreq_hz=FS, n_window=100)
    quality.update(x, stamps(len(x)))
    assert quality.next_change == 400 + 3 * 50
    (said,) = quality.take_change().faults
    assert words in said


@pytest.mark.parametrize("ratio", [0.011, 1.0, 99.0, 0.0, math.nan])
def test_a_ratio_within_a_hundred_is_no_unit(ratio):
    assert describe_unit_error(ratio) == ""


def test_a_signal_fifty_times_too_large_is_said_to_be_without_naming_a_unit():
    (said,) = words_of(50 * eeg(4))
    assert said == "all electrodes are more than 30 times larger than in the training"


@pytest.mark.parametrize("head", [0, 3])
@pytest.mark.parametrize(
    ("order", "words"),
    [
        (exchanged(*((k, k + 8) for k in range(8))), "connectors 1 and 2 of 8 channels are swapped"),
        (exchanged(*((k, 7 - k) for k in range(4))), "connector 1 of 8 channels is plugged in the wrong way round"),
        (exchanged((6, 10)), "C3 with C4 swapped"),
        ([N - 1, *range(N - 1)], "the signals come one channel later than the stream's labels say"),
        (
            np.random.default_rng(5).permutation(N).tolist(),
            "many electrodes do not match their labels",
        ),
    ],
)
def test_a_swapped_cap_is_named_on_this_head_and_on_another(order, words, head):
    (said,) = words_of(reordered(eeg(15, head=head), order))
    assert said.startswith(f"swapped cap: {words}")


def test_a_mirrored_cap_is_named_on_the_head_of_the_training_only():
    mirror = [NAMES.index(mirrored(name)) for name in NAMES]
    (said,) = words_of(reordered(eeg(15, seed=3), mirror))
    assert said.startswith("swapped cap: left and right are mirrored")
    assert words_of(reordered(eeg(15, head=3), mirror)) == []


def test_connectors_are_those_of_the_stream_not_of_the_bundle():
    """The bundle's channels come in another order from an amplifier with two connectors of eight."""
    order = np.random.default_rng(2).permutation(N)  # channel k of the bundle is channel order[k] of the stream
    partner = [int(np.flatnonzero(order == (i + 8) % 16)[0]) for i in order]
    quality = QualityCheck(NAMES, known(), QualityConfig(), sfreq_hz=FS, n_window=100, order=order.tolist())
    x = reordered(eeg(15), partner)
    quality.update(x, stamps(len(x)))
    assert "connectors 1 and 2 of 8 channels are swapped" in quality.take_change().describe(NAMES)


def test_the_cap_is_compared_without_the_electrodes_that_are_bad():
    x = reordered(eeg(25), exchanged((6, 10)))
    x[:, 0] = 187_500
    assert words_of(x)[-1].startswith(PAIR_WORDS)


@pytest.mark.parametrize("changes", [{"cap": False}, {"statistics": None}])
def test_the_cap_is_not_compared_where_that_is_off_or_nothing_is_known(changes):
    assert words_of(reordered(eeg(15), exchanged((6, 10))), **changes) == []


def test_without_statistics_rails_mains_and_rate_are_still_seen():
    x = hurt(hurt(eeg(20), "C3", lambda x: 0 * x + 187_500), "Cz", lambda x: x + wave(len(x), 50, 200))
    t_s = stamps(len(x), rate_hz=FS * 1.02)
    said = words_of(x, t_s=t_s, statistics=None)[-1]
    assert "the samples come at 204 Hz, the stream says 200 Hz" in said
    assert "C3: railed" in said
    assert "Cz: dominated by 50 Hz" in said


def test_missing_and_flat_electrodes_are_left_to_the_interpolation():
    x = eeg(15)
    x[:, 3] = 0  # missing: zeros
    x[:, 5] = 12.5
    quality = QualityCheck(NAMES, known(), QualityConfig(), sfreq_hz=FS, n_window=100, missing=[3])
    quality.update(x, stamps(len(x)))
    assert quality.next_change > 2**60


# -- the rate --------------------------------------------------------------------------------------------------------


def said_of(check: RateCheck, t_s) -> str:
    check.add(t_s)
    return check.update()


def rate_said(ends_s) -> set[str]:
    """What a rate check says of blocks that end at these times; within a block timestamps are dated back."""
    check = RateCheck(1000.0, n_block=250, percent=0.5)
    return {said_of(check, end_s - np.arange(250)[::-1] / 1000) for end_s in ends_s} - {""}


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    drift=st.floats(-2e-4, 2e-4),
    jitter_ms=st.sampled_from([0.0, 0.01, 3.0, 30.0]),
    gaps=st.lists(st.tuples(st.integers(1, 399), st.floats(-5, 5)), max_size=3),
    seed=st.integers(0, 99),
)
def test_drift_of_a_crystal_jitter_gaps_and_clock_steps_are_no_drifted_rate(drift, jitter_ms, gaps, seed):
    ends_s = np.arange(400) * 0.25 * (1 + drift)
    for at, step_s in gaps:
        ends_s[at:] += step_s
    ends_s += np.random.default_rng(seed).uniform(-jitter_ms, jitter_ms, 400) / 1000
    assert rate_said(ends_s) == set()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(factor=st.one_of(st.floats(0.2, 0.97), st.floats(1.03, 5)), seed=st.integers(0, 99))
def test_a_rate_far_off_is_named_in_spite_of_jitter(factor, seed):
    jitter_s = np.random.default_rng(seed).uniform(-0.01, 0.01, 100)
    (said,) = rate_said(np.arange(100) * 0.25 / factor + jitter_s)
    assert said.startswith("the samples come at ")
    assert float(said.split()[4]) == pytest.approx(1000 * factor, rel=0.02)


@pytest.mark.parametrize(
    ("sfreq_hz", "n_packet", "step_s"), [(250.0, 10, 0.0), (250.0, 10, 4e-4), (256.0, 12, 1e-4), (300.0, 9, 1e-5)]
)
def test_packets_at_exactly_the_nominal_rate_are_no_drifted_rate(sfreq_hz, n_packet, step_s):
    n = np.arange(int(7200 * sfreq_hz))  # two hours
    t_s = (n // n_packet + 1) * n_packet / sfreq_hz + n % n_packet * step_s
    n_block = round(0.25 * sfreq_hz)
    check = RateCheck(sfreq_hz, n_block=n_block, percent=0.5)
    assert {said_of(check, t_s[k : k + n_block]) for k in range(0, len(t_s) - n_block, n_block)} == {""}


# -- statistics --------------------------------------------------------------------------------------------------------


def test_statistics_are_those_of_the_blocks():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((50, 100, 3)) * (1.0, 10.0, 100.0) + 1e4).astype(np.float32)
    found = gather_statistics(x, sfreq_hz=200.0)
    blocks = x.astype(np.float64).reshape(100, 50, 3)
    np.testing.assert_allclose(found.scale_uv, np.median(blocks.std(axis=1), axis=0))
    assert np.all((found.spread > 0.02) & (found.spread < 0.1))
    assert np.trace(found.covariance) == pytest.approx(3)
    np.testing.assert_allclose(found.covariance.sum(axis=0), 0, atol=1e-9)  # against the common average


@pytest.mark.parametrize(
    ("n_window", "sfreq_hz", "n_block"),
    [(500, 1000.0, 250), (50, 100.0, 25), (8, 1000.0, 50), (40, 200.0, 20), (1, 1.0, 2)],
)
def test_a_block_is_a_quarter_of_a_second_or_half_a_window(n_window, sfreq_hz, n_block):
    assert block_samples(n_window, sfreq_hz) == n_block


def test_statistics_survive_tensors_to_float32():
    again = Statistics.from_tensors(known().tensors())
    assert again is not None
    np.testing.assert_allclose(again.scale_uv, known().scale_uv, rtol=1e-6)
    np.testing.assert_allclose(again.covariance, known().covariance, atol=1e-6)
    assert Statistics.from_tensors({}) is None


def test_statistics_of_dead_channels_and_single_samples_are_finite():
    for shape in ((1, 1, 2), (3, 7, 2)):
        found = gather_statistics(np.zeros(shape, np.float32), sfreq_hz=1000.0)
        assert all(np.isfinite(tensor).all() for tensor in found.tensors().values())


@pytest.mark.parametrize("value", [1e16, 1e25, 3e38, -3e38])
def test_values_that_are_no_voltage_are_a_fault_and_no_error(value):
    x = eeg(20)
    x[5 * round(FS) :, :] = np.float32(value)
    assert any("non-finite" in words for words in words_of(x))
    x = eeg(20)
    x[500:510] = np.float32(value)  # once: no lasting fault
    assert words_of(x) == []
