"""The times of samples follow the truth, whatever a device makes of its timestamps; live, and of whole recordings."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_timestamps import Device, follow, share_within
from pretap.config.serve import QualityConfig
from pretap.recordings.xdf.sample_times import sample_times
from pretap.signal.statistics import block_samples
from pretap_realtime.signal.losses import LossDetector
from pretap_realtime.signal.rate import RateCheck

RATES_HZ = (100.0, 250.0, 300.0, 1000.0, 5000.0)
PACKETS = (1, 9, 32, 100)
STAMPINGS = ("dated back", "equal", "quick")
SHAPES = [
    (sfreq_hz, n_packet, stamping)
    for sfreq_hz, n_packet, stamping in product(RATES_HZ, PACKETS, STAMPINGS)
    if n_packet <= 0.1 * sfreq_hz and (n_packet > 1 or stamping == "dated back")
]


def devices(sfreq_hz, n_packet, stamping, *, jitters_s):
    """Each kind of jitter with both drifts."""
    for jitter_s, is_one_sided, ppm in product(jitters_s, (False, True), (-200.0, 200.0)):
        if jitter_s or not is_one_sided:
            yield Device(sfreq_hz, n_packet, stamping, jitter_s, is_one_sided, ppm)


# ---- one piece


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_times_follow_the_truth_and_nothing_is_lost(shape):
    for device in devices(*shape, jitters_s=(0.0, 0.003, 0.01)):
        taken_s = device.take(20.0 if device.sfreq_hz <= 1000 else 10.0)
        found = follow(device.stamp(taken_s, seed=1), sfreq_hz=device.sfreq_hz)
        assert found.counts == (0, 0), device
        assert found.late == (), device
        assert (np.diff(found.times_s) > 0).all(), device
        if device.jitter_s <= 0.003:
            assert share_within((found.times_s - taken_s)[device.n_settled :], device.tolerance_s) >= 0.995, device


@pytest.mark.parametrize("sfreq_hz", RATES_HZ)
@pytest.mark.parametrize("ppm", [-200.0, 0.0, 200.0])
def test_exact_timestamps_come_out_as_they_are(sfreq_hz, ppm):
    t_s = Device(sfreq_hz, 1, drift_ppm=ppm).take(20.0)
    np.testing.assert_array_equal(follow(t_s, sfreq_hz=sfreq_hz).times_s, t_s)


@pytest.mark.parametrize(
    "device",
    [
        Device(250.0, 1, "dated back", 0.01),
        Device(250.0, 10, "equal", 0.01),
        Device(250.0, 10, "dated back", 0.01, is_one_sided=True),
        Device(300.0, 9, "quick", 0.01, is_one_sided=True),
        Device(1000.0, 1, "dated back", 0.01, is_one_sided=True),
        Device(1000.0, 32, "dated back", 0.01),
        Device(1000.0, 100, "equal", 0.01, is_one_sided=True),
    ],
    ids=str,
)
def test_the_stated_uncertainty_covers_95_percent_under_10_ms_of_jitter(device):
    errors_s, uncertainties_s = [], []
    for seed, ppm in enumerate((-200.0, -100.0, 0.0, 100.0, 200.0) * 2):
        drifting = replace(device, drift_ppm=ppm)
        taken_s = drifting.take(60.0)
        found = follow(drifting.stamp(taken_s, seed=seed), sfreq_hz=device.sfreq_hz)
        errors_s.append((found.times_s - taken_s)[device.n_settled :])
        uncertainties_s.append(found.uncertainty_s[device.n_settled :])
    error_s, uncertainty_s = np.concatenate(errors_s), np.concatenate(uncertainties_s)
    assert share_within(error_s, uncertainty_s) >= 0.95  # the delay is that of the device, not of one run
    assert np.median(uncertainty_s) <= 0.01  # and the interval says something


HOURS = [
    *((2, Device(*shape, "dated back", 0.003)) for shape in ((1000.0, 1), (250.0, 1))),
    *((2, Device(*shape, "quick", 0.003)) for shape in ((300.0, 9), (250.0, 10), (256.0, 12))),
    *((1, Device(1000.0, n, "dated back", jitter_s)) for n in (9, 32, 100) for jitter_s in (0.003, 0.01)),
    *((1, Device(250.0, 25, "equal", 0.01, is_one_sided)) for is_one_sided in (False, True)),
    (1, Device(5000.0, 100, "quick", 0.003, is_one_sided=True, drift_ppm=-200.0)),
    (1, Device(100.0, 10, "equal", 0.01, drift_ppm=200.0)),
]


@pytest.mark.long
@pytest.mark.parametrize(("hours", "device"), HOURS, ids=str)
def test_hours_of_jitter_lose_nothing_and_raise_no_alarm_of_the_rate(hours, device):
    t_s = device.stamp(device.take(3600.0 * hours), seed=5)
    found = follow(t_s, sfreq_hz=device.sfreq_hz)
    assert found.counts == (0, 0)
    assert found.late == ()
    assert found.losses.wrong_rate_hz == 0
    n_block = block_samples(round(device.sfreq_hz), device.sfreq_hz)
    rate = RateCheck(device.sfreq_hz, n_block=n_block, percent=QualityConfig().rate_percent)
    blocks = t_s[: len(t_s) // n_block * n_block].reshape(-1, n_block)
    assert {rate.update(block) for block in blocks} == {""}


# ---- whole recordings


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_times_of_a_whole_recording_are_those_of_the_live_stream(shape):
    for device in devices(*shape, jitters_s=(0.0, 0.003)):
        taken_s = device.take(20.0 if device.sfreq_hz <= 1000 else 10.0)
        t_s = device.stamp(taken_s, seed=1)
        whole = sample_times(t_s, device.sfreq_hz)
        assert (whole.starts, whole.bad, whole.n_lost) == ((0,), (), 0), device
        assert whole.rate_hz == pytest.approx(device.sfreq_hz * (1 + 1e-6 * device.drift_ppm), rel=3e-4), device
        apart_s = (follow(t_s, sfreq_hz=device.sfreq_hz).times_s - whole.times_s)[device.n_settled :]
        assert share_within(apart_s, device.tolerance_s) >= 0.995, device


@pytest.mark.long
@pytest.mark.parametrize(("hours", "device"), HOURS, ids=str)
def test_a_recording_of_hours_with_one_gap_has_one_break(hours, device):
    device = replace(device, jitter_s=0.003, drift_ppm=100.0)
    taken_s = device.take(3600.0 * hours)
    at, n_lost = len(taken_s) // 3, round(0.2 * device.sfreq_hz)
    found = sample_times(device.stamp(np.delete(taken_s, slice(at, at + n_lost)), seed=6), device.sfreq_hz)
    assert len(found.starts) == 2
    assert abs(found.starts[1] - at) <= device.n_packet
    assert found.n_lost == pytest.approx(n_lost, abs=device.tolerance_s * device.sfreq_hz)


# ---- breaks


@pytest.mark.parametrize("jitter_s", [0.0, 0.003])
@pytest.mark.parametrize("is_one_sided", [False, True])
@pytest.mark.parametrize("shape", [(250.0, 1, "dated back"), (250.0, 10, "equal"), (1000.0, 32, "dated back")], ids=str)
def test_after_a_gap_times_are_those_of_the_device_again(shape, is_one_sided, jitter_s):
    device = Device(*shape, jitter_s=jitter_s, is_one_sided=is_one_sided, drift_ppm=100.0)
    taken_s = device.take(40.0)
    at, n_lost = int(20.2 * device.sfreq_hz), int(0.4 * device.sfreq_hz)
    taken_s = np.delete(taken_s, slice(at, at + n_lost))
    found = follow(device.stamp(taken_s, seed=3), sfreq_hz=device.sfreq_hz)
    assert found.losses.counts.n_clock_steps == 0
    assert abs(found.losses.counts.n_lost - n_lost) <= (device.tolerance_s * device.sfreq_hz if jitter_s else 0)
    index = np.arange(len(taken_s))
    is_settled = (index >= device.n_settled) & ((index < at) | (index >= at + device.n_settled))
    assert share_within((found.times_s - taken_s)[is_settled], device.tolerance_s) >= 0.995


@pytest.mark.parametrize("step_s", [-5000.0, -0.5, 7200.0])
@pytest.mark.parametrize("jitter_s", [0.0, 0.003])
@pytest.mark.parametrize("shape", [(250.0, 1, "dated back"), (300.0, 9, "quick"), (1000.0, 32, "dated back")], ids=str)
def test_a_step_of_the_clock_is_counted_once_and_loses_nothing(shape, jitter_s, step_s):
    device = Device(*shape, jitter_s=jitter_s, drift_ppm=-100.0)
    taken_s = device.take(40.0)
    at = int(20.2 * device.sfreq_hz) // device.n_packet * device.n_packet
    t_s = device.stamp(taken_s, seed=4)
    t_s[at:] += step_s
    taken_s[at:] += step_s
    found = follow(t_s, sfreq_hz=device.sfreq_hz)
    assert found.counts == (0, 1)
    index = np.arange(len(taken_s))
    is_settled = (index >= device.n_settled) & ((index < at) | (index >= at + device.n_settled))
    assert share_within((found.times_s - taken_s)[is_settled], device.tolerance_s) >= 0.995


@settings(max_examples=25)
@given(
    shape=st.sampled_from([shape for shape in SHAPES if shape[0] <= 300]),
    jitter_s=st.sampled_from([0.0, 0.003, 0.01]),
    is_one_sided=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
    shifts=st.lists(st.tuples(st.floats(0, 1), st.sampled_from([-2.0, -0.05, 0.05, 0.4, 3.0, 5000.0])), max_size=3),
    cuts=st.lists(st.floats(0, 1), max_size=20),
    n_chunk=st.integers(1, 400),
)
def test_chunks_change_no_time(shape, jitter_s, is_one_sided, seed, shifts, cuts, n_chunk):
    device = Device(*shape, jitter_s=jitter_s, is_one_sided=is_one_sided, drift_ppm=100.0)
    t_s = device.stamp(device.take(12.0), seed=seed)
    for place, shift_s in shifts:
        t_s[int(place * len(t_s)) :] += shift_s
    whole_s, whole = in_chunks(t_s, [], sfreq_hz=device.sfreq_hz)
    for edges in (sorted(int(cut * len(t_s)) for cut in cuts), range(n_chunk, len(t_s), n_chunk)):
        times_s, losses = in_chunks(t_s, edges, sfreq_hz=device.sfreq_hz)
        np.testing.assert_array_equal(times_s, whole_s)
        assert losses.counts == whole.counts


def in_chunks(t_s, edges, *, sfreq_hz):
    losses = LossDetector(sfreq_hz=sfreq_hz)
    found = [
        losses.check(np.zeros((b - a, 1), np.float32), t_s[a:b]).times_s for a, b in pairwise([0, *edges, len(t_s)])
    ]
    return np.concatenate(found), losses
