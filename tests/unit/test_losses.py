"""Claims about stamps: what is a gap, what is only jitter, and that chunks decide nothing."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from pretap.signal.shifts import Break
from pretap_realtime.signal.losses import LossDetector
from pretap_realtime.signal.plain_samples import Horizon, count_plain

T0_S = 1e5
FS = 1000.0
# Shrinking long streams costs minutes and explains little: the seed in the failing example does.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
MANY = settings(deadline=None, max_examples=60, derandomize=True, phases=PHASES)


def feed(t_s, x_uv=None, *, cuts=(), sfreq_hz=FS, losses=None):
    """Run stamps through a LossDetector in chunks; returns it, the clean flags and the breaks with absolute indices."""
    losses = losses or LossDetector(sfreq_hz=sfreq_hz)
    x_uv = np.zeros((len(t_s), 1), np.float32) if x_uv is None else x_uv
    clean, breaks = [], []
    edges = [0, *sorted(cuts), len(t_s)]
    for a, b in pairwise(edges):
        checked = losses.check(x_uv[a:b], t_s[a:b])
        assert [k.index for k in checked.breaks] == sorted(k.index for k in checked.breaks)
        assert all(0 <= k.index < b - a for k in checked.breaks)
        clean.append(checked.clean)
        breaks += [Break(a + k.index, k.n_lost, k.why) for k in checked.breaks]
    return losses, np.concatenate(clean), breaks


def stamps(n, *, lost=None, sfreq_hz=FS, ppm=0.0, t0_s=T0_S):
    """Exact stamps; `lost` maps the first sample after a gap to the samples lost before it."""
    skipped = np.zeros(n)
    for at, n_lost in (lost or {}).items():
        skipped[at:] += n_lost
    return t0_s + (np.arange(n) + skipped) / sfreq_hz * (1 + ppm * 1e-6)


def gauss(n, seed, sd_s=0.003):
    return np.random.default_rng(seed).normal(0, sd_s, n)


def pushes(n, seed, n_push=32, late_s=0.034):
    """Lateness of stamps made once a push and dated back at the nominal rate (as real amplifiers do)."""
    return np.repeat(np.random.default_rng(seed).uniform(0, late_s, n // n_push + 1), n_push)[:n]


# ---- chunks decide nothing


@st.composite
def troubled(draw):
    """A stream with gaps, clock steps, jitter, bad stamps and NaN, cut anywhere."""
    n = 6000
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    t_s = stamps(n, ppm=draw(st.sampled_from([0, 50, -100])), t0_s=draw(st.sampled_from([0.0, 1e5, 1.7e9])))
    jitter = draw(st.sampled_from(["exact", "small", "gauss", "pushes"]))
    t_s += {"exact": 0, "small": rng.normal(0, 1e-4, n), "gauss": rng.normal(0, 3e-3, n), "pushes": pushes(n, 1)}[
        jitter
    ]
    for at in draw(st.lists(st.integers(1, n - 1), max_size=5)):
        t_s[at:] += draw(st.sampled_from([0.001, 0.012, 0.0125, 0.2, 3.0, 5000.0, -0.012, -1.0]))
    for at in draw(st.lists(st.integers(0, n - 1), max_size=4)):
        t_s[at : at + 40] += draw(st.sampled_from([0.1, 5.0, -5.0])) * np.linspace(1, 0, t_s[at : at + 40].size)
    t_s[rng.random(n) < draw(st.sampled_from([0, 0.01]))] = draw(st.sampled_from([np.nan, np.inf, 1e300]))
    x_uv = rng.standard_normal((n, 3)).astype(np.float32)
    x_uv[rng.random((n, 3)) < draw(st.sampled_from([0, 0.01, 0.3]))] = np.nan
    return t_s, x_uv, draw(st.lists(st.integers(0, n), max_size=30)), draw(st.integers(1, 400))


@settings(MANY, max_examples=35)
@given(troubled())
def test_any_chunks_give_the_same_breaks_flags_and_figures(case):
    t_s, x_uv, cuts, step = case
    whole, clean, breaks = feed(t_s, x_uv)
    for other in (cuts, range(step, len(t_s), step), range(1, 400)):
        losses, other_clean, other_breaks = feed(t_s, x_uv, cuts=other)
        assert other_breaks == breaks
        np.testing.assert_array_equal(other_clean, clean)
        assert losses.counts == whole.counts
        assert losses.rate_hz == whole.rate_hz
        assert losses.smallest_gap_samples == whole.smallest_gap_samples
    assert sum(b.n_lost for b in breaks) == whole.counts.n_lost
    assert 0.99 * FS <= whole.rate_hz <= 1.01 * FS
    np.testing.assert_array_equal(clean, np.isfinite(x_uv).all(axis=1) & (np.abs(t_s) < 1e10))


# ---- exact stamps


@MANY
@given(st.dictionaries(st.integers(200, 2999), st.integers(1, 100_000), max_size=6), st.sampled_from([0.0, 1e5, 1.7e9]))
@example({200: 12}, 1e5)
def test_exact_stamps_show_each_gap_at_its_first_sample_with_its_exact_length(lost, t0_s):
    losses, clean, breaks = feed(stamps(3000, lost=lost, t0_s=t0_s), cuts=range(10, 3000, 10))
    assert [(b.index, b.n_lost) for b in breaks] == sorted(lost.items())
    assert [b.why for b in breaks] == [f"gap: {n} sample{'s' * (n > 1)} lost" for _, n in sorted(lost.items())]
    assert losses.counts.n_received + losses.counts.n_lost == 3000 + sum(lost.values())  # sent = received + lost
    assert clean.all()


@MANY
@given(st.dictionaries(st.integers(1, 2000), st.integers(1, 3000), min_size=1, max_size=6))
@example({1: 12})
def test_gaps_within_the_first_150_ms_break_at_once_and_are_counted_exactly_a_little_later(lost):
    losses, _, breaks = feed(stamps(3000, lost=lost))
    assert losses.counts.n_lost == sum(b.n_lost for b in breaks) == sum(lost.values())
    assert set(lost) <= {b.index for b in breaks}
    assert losses.counts.n_clock_steps == 0


def test_a_single_lost_sample_is_seen_because_its_neighbours_stand_two_samples_apart():
    losses, _, breaks = feed(stamps(2000, lost={700: 1, 1400: 1}))
    assert [(b.index, b.n_lost) for b in breaks] == [(700, 1), (1400, 1)]
    assert 1.5 <= losses.smallest_gap_samples < 1.5001


@pytest.mark.parametrize("sfreq_hz", [100.0, 250.0, 512.0, 1000.0, 2048.0, 20_000.0])
@pytest.mark.parametrize("ppm", [0, 50, -500, 1500])
def test_a_drifting_clock_is_no_loss_and_gaps_are_exact_at_any_rate(sfreq_hz, ppm):
    n = int(40 * sfreq_hz)
    losses, _, breaks = feed(stamps(n, lost={n // 2: 7}, sfreq_hz=sfreq_hz, ppm=ppm), sfreq_hz=sfreq_hz)
    assert breaks == [Break(n // 2, 7, "gap: 7 samples lost")]
    assert losses.rate_hz == pytest.approx(sfreq_hz / (1 + ppm * 1e-6), rel=1e-9)


def test_50_ppm_of_drift_for_ten_minutes_is_no_loss():
    losses, _, breaks = feed(stamps(600_000, ppm=50), cuts=range(1000, 600_000, 1000))
    assert breaks == []
    assert losses.rate_hz == pytest.approx(1000 / 1.00005, rel=1e-9)


def test_the_rate_never_leaves_1_percent_of_nominal():
    assert feed(stamps(12_000, sfreq_hz=900))[0].rate_hz == pytest.approx(990)
    assert feed(stamps(12_000, sfreq_hz=1100))[0].rate_hz == pytest.approx(1010)
    assert LossDetector(sfreq_hz=FS).rate_hz == FS


def test_a_clock_step_breaks_and_is_no_loss():
    t_s = stamps(4000)
    t_s[1500:] -= 0.25
    t_s[2500:] += 3601.0  # more than an hour forward
    losses, clean, breaks = feed(t_s)
    assert breaks == [Break(1500, 0, "clock step: -0.250 s"), Break(2500, 0, "clock step: +3601.000 s")]
    assert (losses.counts.n_clock_steps, losses.counts.n_lost) == (2, 0)
    assert clean.all()


def test_one_wild_stamp_is_counted_and_taken_back():
    t_s = stamps(4000, lost={3000: 12})
    t_s[1500] += 5.0
    t_s[2000] -= 5.0
    losses, _, breaks = feed(t_s)
    assert [(b.index, b.n_lost) for b in breaks] == [(1500, 5000), (1501, -5000), (2000, 0), (2001, 0), (3000, 12)]
    assert (losses.counts.n_lost, losses.counts.n_clock_steps) == (12, 0)


@pytest.mark.parametrize("seed", range(20))
def test_exact_stamps_that_begin_to_jitter_cost_no_loss(seed):
    t_s = stamps(30_000) + np.where(np.arange(30_000) < 10_000, 0, gauss(30_000, seed))
    losses, _, _ = feed(t_s)
    assert losses.counts.n_lost == 0
    assert losses.counts.n_clock_steps <= 1  # a step of less than a sample may stand


# ---- jittered stamps


def test_an_hour_of_3_ms_jitter_and_100_ppm_of_drift_is_no_loss():
    n = 3_600_000
    losses, clean, breaks = feed(stamps(n, ppm=100) + gauss(n, 0), cuts=range(1000, n, 1000))
    assert (losses.counts.n_lost, losses.counts.n_clock_steps) == (0, 0)
    assert [b.index for b in breaks if b.index > 1000] == []
    assert len(breaks) < 10
    assert losses.rate_hz == pytest.approx(1000 / 1.0001, rel=2e-5)
    assert 20 < losses.smallest_gap_samples < 30
    assert clean.all()


@pytest.mark.parametrize("sfreq_hz", [250.0, 512.0, 1000.0, 2048.0])
@pytest.mark.parametrize("seed", range(5))
def test_pushes_of_32_samples_stamped_up_to_34_ms_late_are_no_loss(sfreq_hz, seed):
    n = int(60 * sfreq_hz)
    losses, _, breaks = feed(stamps(n, sfreq_hz=sfreq_hz, ppm=-100) + pushes(n, seed), sfreq_hz=sfreq_hz)
    assert (losses.counts.n_lost, losses.counts.n_clock_steps) == (0, 0)
    assert len(breaks) < 20


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("jitter", ["gauss", "pushes"])
def test_a_lasting_200_ms_hole_under_jitter_breaks_at_once_and_is_counted(jitter, seed):
    n, at = 20_000, 4000 + 1313 * seed
    late, tolerance = (gauss(n, seed), 1) if jitter == "gauss" else (pushes(n, seed), 15)
    losses, _, breaks = feed(stamps(n, lost={at: 200}, ppm=100) + late)
    hole = [b for b in breaks if b.index >= at][:2]
    assert (hole[0].index, hole[0].n_lost, hole[0].why) == (at, 0, "late timestamps, being watched")
    assert at + 249 <= hole[1].index <= at + 300  # 0.25 s, or 8 pushes
    assert hole[1].n_lost == losses.counts.n_lost == pytest.approx(200, abs=tolerance)
    assert losses.counts.n_clock_steps == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_clock_that_steps_back_under_jitter_is_counted_once(seed):
    t_s = stamps(20_000) + gauss(20_000, seed)
    t_s[9000:] -= 0.5
    losses, _, breaks = feed(t_s)
    assert next(b.why for b in breaks if b.index > 1000) == "early timestamps, being watched"
    assert (losses.counts.n_clock_steps, losses.counts.n_lost) == (1, 0)


def test_a_backlog_after_a_stall_breaks_and_is_no_loss():
    n, stall = 20_000, 700
    t_s = stamps(n) + pushes(n, 3)
    t_s[9000 : 9000 + stall] = np.maximum(t_s[9000 : 9000 + stall], t_s[9000 + stall])  # all stamped at its end
    losses, _, breaks = feed(t_s)
    watched = [b for b in breaks if b.index > 1100]
    assert {b.why for b in watched} == {"late timestamps, being watched"}
    assert watched[0].index == 9000
    assert all(250 <= b.index - a.index < 270 for a, b in pairwise(watched))  # no window of 0.5 s fits between
    assert (losses.counts.n_lost, losses.counts.n_clock_steps) == (0, 0)


@pytest.mark.parametrize("seed", range(20))
def test_a_hole_in_the_first_second_of_jittered_stamps_breaks_though_it_is_not_counted(seed):
    losses, _, breaks = feed(stamps(3000, lost={500: 200}) + gauss(3000, seed))
    assert 500 in [b.index for b in breaks]
    assert losses.counts.n_lost == 0


# ---- values and stamps that are no numbers


def test_non_finite_values_break_once_a_run_and_name_the_channel():
    x_uv = np.zeros((300, 5), np.float32)
    x_uv[100:103, 3] = np.nan
    x_uv[102, 1] = np.inf
    x_uv[200, 0] = -np.inf
    losses, clean, breaks = feed(stamps(300), x_uv, cuts=[101, 102, 250])
    assert breaks == [Break(100, 0, "non-finite: channel 3"), Break(200, 0, "non-finite: channel 0")]
    np.testing.assert_array_equal(np.flatnonzero(~clean), [100, 101, 102, 200])
    assert losses.counts.n_nonfinite == 4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("values", "is_plain"), [((np.inf, -np.inf), False), ((3e38, 3e38), True)], ids=["inf", "huge"]
)
def test_infinities_of_both_signs_and_huge_values_raise_no_warning(values, is_plain):
    losses, _, _ = feed(stamps(2000))
    x_uv = np.zeros((10, 2), np.float32)
    x_uv[4] = values
    horizon = Horizon(
        n_samples=10,
        n_to_flat_check=10,
        n_first=losses.n_first,
        expected=losses.shifts.line.expected,
        quality=1.0,
        is_held=False,
    )
    assert count_plain(horizon, 0, x_uv, T0_S + np.arange(2000, 2010) / FS) == (10 if is_plain else 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_bad_stamps_break_and_never_enter_the_estimates(bad):
    t_s = stamps(3000, lost={1001: 12})
    t_s[[0, 1000, 2000]] = bad
    losses, clean, breaks = feed(t_s)
    bad_at = [(0, 0), (1000, 0), (2000, 0)]
    assert [(b.index, b.n_lost) for b in breaks] == sorted([*bad_at, (1001, 12)])
    np.testing.assert_array_equal(np.flatnonzero(~clean), [0, 1000, 2000])
    assert (losses.counts.n_bad_timestamps, losses.counts.n_lost, losses.counts.n_received) == (3, 12, 3000)
    assert losses.rate_hz == pytest.approx(1000, rel=1e-9)


# ---- the object


def test_reset_forgets_stamps_and_rate_and_keeps_the_counts():
    losses = LossDetector(sfreq_hz=FS)
    x_uv = np.zeros((3000, 1), np.float32)
    x_uv[5] = np.nan
    t_s = stamps(3000, lost={1000: 12}, ppm=100)
    t_s[2000:] -= 1
    t_s[2500] = np.nan
    feed(t_s, x_uv, losses=losses)
    losses.reset(sfreq_hz=FS)
    assert (losses.rate_hz, losses.smallest_gap_samples) == (1000, 1.5)
    _, _, breaks = feed(stamps(1000, t0_s=7.0), losses=losses)
    assert breaks == []
    assert (losses.counts.n_received, losses.counts.n_lost, losses.counts.n_clock_steps) == (4000, 12, 1)
    assert (losses.counts.n_nonfinite, losses.counts.n_bad_timestamps) == (1, 1)


def test_an_empty_chunk_says_nothing():
    losses = LossDetector(sfreq_hz=FS)
    checked = losses.check(np.zeros((0, 4), np.float32), np.zeros(0))
    assert (checked.clean.shape, checked.breaks, losses.counts.n_received) == ((0,), (), 0)


def test_wrong_shapes_and_rates_are_refused_with_their_values():
    with pytest.raises(ValueError, match=r"got \(4,\) and \(4,\)"):
        LossDetector(sfreq_hz=FS).check(np.zeros(4, np.float32), np.zeros(4))
    with pytest.raises(ValueError, match=r"got \(4, 2\) and \(3,\)"):
        LossDetector(sfreq_hz=FS).check(np.zeros((4, 2), np.float32), np.zeros(3))
    with pytest.raises(ValueError, match="got nan"):
        LossDetector(sfreq_hz=float("nan"))


def test_stamps_that_jump_by_more_than_a_second_and_come_back_are_bad_stamps():
    t_s = stamps(3000)
    t_s[1000:1010] = 1e-5
    losses, _, breaks = feed(t_s)
    assert (
        losses.counts.n_bad_timestamps,
        losses.counts.n_lost,
        losses.counts.n_clock_steps,
        losses.shifts.stepped_s,
    ) == (
        10,
        0,
        0,
        0.0,
    )
    assert breaks[-1].index == 1010
    rng = np.random.default_rng(0)
    t_s = stamps(30_000) + rng.normal(0, 3e-3, 30_000)
    t_s[20_000:20_010] = 1e-5
    losses, _, _ = feed(t_s)
    assert (losses.counts.n_bad_timestamps, losses.counts.n_lost, losses.counts.n_clock_steps) == (10, 0, 0)


def test_the_sum_of_the_steps_of_the_clock_is_known():
    t_s = stamps(5000)
    t_s[1000:] -= 1.0
    t_s[3000:] -= 0.5
    losses, _, _ = feed(t_s)
    assert losses.counts.n_clock_steps == 2
    assert losses.shifts.stepped_s == pytest.approx(-1.5, abs=1e-6)
    t_s = stamps(3000)
    t_s[1000:] -= 4000.0  # no time of this session
    losses, _, _ = feed(t_s)
    assert (losses.counts.n_clock_steps, losses.shifts.stepped_s) == (1, 0.0)


def test_a_loss_that_waits_for_proof_is_counted_when_nothing_follows():
    losses, _, _ = feed(stamps(60, lost={40: 7}))
    assert losses.counts.n_lost == 0
    losses.close()
    assert losses.counts.n_lost == 7
    losses.close()
    assert losses.counts.n_lost == 7


@pytest.mark.parametrize("real_hz", [250.0, 850.0, 1150.0, 4000.0])
def test_a_rate_that_is_wrong_from_the_start_is_measured(real_hz):
    losses, _, _ = feed(stamps(2500) * 1000 / real_hz)
    assert losses.wrong_rate_hz == pytest.approx(real_hz, rel=0.01)


def test_a_start_with_a_loss_jitter_or_a_pause_is_no_wrong_rate():
    assert feed(stamps(3000, lost={200: 370}))[0].wrong_rate_hz == 0
    late_s = np.repeat(np.random.default_rng(0).uniform(-0.034, 0.034, 100), 32)  # of each push of 32 samples
    assert feed(stamps(3200) + late_s)[0].wrong_rate_hz == 0
    t_s = stamps(3000)
    t_s[:] += np.where(np.arange(3000) > 20, 2.0, 0.0)
    assert feed(t_s)[0].wrong_rate_hz == 0


@pytest.mark.parametrize("sigma_s", [0.0, 3e-3], ids=["exact", "jittered"])
@pytest.mark.parametrize("ahead_s, n_lost", [(0.0, 0), (2.0, 1000)], ids=["from the past", "all in the future"])
def test_a_step_from_the_past_into_the_future_is_no_loss(sigma_s, ahead_s, n_lost):
    """Of samples that come as they are taken, on a clock that is `ahead_s` ahead."""
    t_s = stamps(30_000) + ahead_s + np.random.default_rng(0).normal(0, sigma_s, 30_000)
    t_s[20_000:] += 1.0
    losses = LossDetector(sfreq_hz=FS)
    taken_s = stamps(30_000).tolist()
    for start in range(0, 30_000, 10):
        losses.check(np.zeros((10, 1), np.float32), t_s[start : start + 10], now_s=taken_s[start + 9])
    assert (losses.counts.n_lost, losses.counts.n_clock_steps) == (n_lost, 0 if n_lost else 1)
