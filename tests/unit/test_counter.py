"""Claims about counters: they decide what was lost, at once, exactly, and whatever the stamps say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretap.errors import StreamRefusedError
from pretap_realtime.signal.counter import Counter
from pretap_realtime.signal.losses import LossDetector
from pretap_realtime.signal.plain_samples import Horizon, count_plain

FS = 1000.0


def is_plain(losses, x_uv, t_s):
    horizon = Horizon(
        n_samples=len(t_s),
        n_to_flat_check=len(t_s),
        n_first=losses.n_first,
        expected=losses.shifts.line.expected,
        quality=1.0,
        is_held=False,
    )
    return count_plain(horizon, 0, x_uv, t_s) > 0


def run(count, t_s, *, cuts=(), losses=None, wraps_at=0):
    """Run a counted stream through a LossDetector; returns it and the breaks with absolute indices."""
    losses = losses or LossDetector(sfreq_hz=FS, counter_wraps_at=wraps_at)
    breaks = []
    for start, b in pairwise([0, *sorted(cuts), len(t_s)]):
        losses.follow_counter(count[start:b], t_s[start:b], n_ahead=0)
        a = start
        while a < b:
            m = min(losses.n_plain, b - a)
            x_uv = np.zeros((m or b - a, 2), np.float32)
            if m and is_plain(losses, x_uv, t_s[a : a + m]):
                losses.accept(t_s[a : a + m])
                a += m
            else:
                checked = losses.check(np.zeros((b - a, 2), np.float32), t_s[a:b])
                breaks += [(a + k.index, k.n_lost, k.why) for k in checked.breaks]
                a = b
    return losses, breaks


def device(n, lost=()):
    """Sample numbers of what arrives when these samples are lost."""
    return np.setdiff1d(np.arange(float(n)), np.asarray(lost, float))


def test_a_loss_is_counted_at_its_first_sample_by_the_counter():
    n = device(5000, [*range(1000, 1037), 3000])
    losses, breaks = run(n, n / FS)
    assert breaks == [
        (1000, 37, "gap: 37 samples lost, by the counter"),
        (2963, 1, "gap: 1 sample lost, by the counter"),
    ]
    assert (losses.counts.n_lost, losses.counts.n_received, losses.counts.n_clock_steps) == (38, 4962, 0)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    seed=st.integers(0, 2**32),
    jitter_s=st.sampled_from([0, 1e-4, 3e-3]),
    share=st.sampled_from([0.001, 0.02]),
    bad=st.sampled_from([0, 0.01]),
    wraps_at=st.sampled_from([0, 256]),
)
def test_sent_is_received_plus_lost_whatever_the_stamps_and_the_chunks(seed, jitter_s, share, bad, wraps_at):
    rng = np.random.default_rng(seed)
    n = np.flatnonzero(rng.random(8000) > share).astype(float)
    t_s = n / FS * 1.0001 + rng.normal(0, jitter_s, n.size) + 1e5
    t_s[rng.random(n.size) < bad] = np.nan
    if rng.random() < 0.5:
        t_s[3000:] -= 1.0  # a clock step
        t_s[5000:5200] = t_s[5200]  # a burst that was stamped when it came
    count = n % wraps_at if wraps_at else n
    losses, breaks = run(count, t_s, cuts=rng.integers(0, n.size, 50), wraps_at=wraps_at)
    assert losses.counts.n_received + losses.counts.n_lost == n[-1] - n[0] + 1
    assert sum(n_lost for _, n_lost, _ in breaks) == losses.counts.n_lost
    assert {at for at, n_lost, _ in breaks if n_lost} == set(np.flatnonzero(np.diff(n) > 1) + 1)


def test_chunks_decide_nothing():
    rng = np.random.default_rng(1)
    n = np.flatnonzero(rng.random(6000) > 0.01).astype(float)
    t_s = n / FS + rng.normal(0, 0.001, n.size)
    whole = run(n, t_s)[1]
    for n_chunk in (1, 7, 50, 999):
        assert run(n, t_s, cuts=range(n_chunk, n.size, n_chunk))[1] == whole


def test_stamps_that_shift_without_the_counter_are_no_loss():
    n = device(5000)
    t_s = n / FS
    t_s[2000:] += 0.3
    losses, breaks = run(n, t_s)
    assert breaks == [(2000, 0, "clock step: +0.300 s")]
    assert losses.counts.n_lost == 0


def test_a_turn_of_the_counter_is_no_loss_and_the_stamps_say_how_many_turns_are_missing():
    n = device(3000, range(1000, 1600))  # two turns of 256, and 88
    losses, breaks = run(n % 256, n / FS, wraps_at=256)
    assert breaks == [(1000, 600, "gap: 600 samples lost, by the counter")]
    assert losses.counts.n_lost == 600


@pytest.mark.parametrize("wrong", [0.0, 999.0, 1e9, 1000.5])
def test_a_counter_that_was_set_anew_breaks_and_is_no_loss(wrong):
    count = device(2000)
    count[1000:] += wrong - 1000
    losses, breaks = run(count, device(2000) / FS)
    assert breaks == [(1000, 0, f"the counter went to {wrong:g}, expected 1000")]
    assert losses.counts.n_lost == 0


def test_a_value_that_is_not_finite_is_no_news():
    n = device(2000, range(1000, 1010))
    count = n.copy()
    count[[0, 500, 995, 996]] = np.nan
    assert [b[:2] for b in run(count, n / FS)[1]] == [(1000, 10)]


@pytest.mark.parametrize("values", [np.zeros(200), np.arange(200) * 2.0, np.tile([0.0, 1.0, 2.0], 70)])
def test_a_channel_that_does_not_count_is_refused(values):
    with pytest.raises(StreamRefusedError, match="The counter does not count samples: among the first 100 values"):
        Counter(wraps_at=0).follow(values, np.arange(len(values)) / FS)


def test_what_was_lost_while_the_stream_was_away_is_counted_where_the_stamps_agree():
    n = device(6000, range(2000, 4000))
    losses, _ = run(n[:2000], n[:2000] / FS)
    losses.reset(sfreq_hz=FS)
    _, breaks = run(n[2000:], n[2000:] / FS + 0.02, losses=losses)
    assert breaks == [(0, 2000, "gap: 2000 samples lost, by the counter")]
    assert losses.counts.n_received + losses.counts.n_lost == 6000


@pytest.mark.parametrize("start", [0, 10_000, 1e9])
def test_another_device_that_comes_back_is_no_loss(start):
    losses, _ = run(device(2000), device(2000) / FS)
    losses.reset(sfreq_hz=FS)
    _, breaks = run(device(2000) + start, device(2000) / FS + 4, losses=losses)
    assert breaks == []
    assert losses.counts.n_lost == 0


def test_a_chunk_that_is_refused_half_way_is_in_the_accounts():
    n = device(2000, range(1500, 1510))
    losses = LossDetector(sfreq_hz=FS)
    losses.follow_counter(n, n / FS, n_ahead=0)
    losses.check(np.zeros((500, 2), np.float32), n[:500] / FS)
    losses.close()
    assert (losses.counts.n_received, losses.counts.n_lost) == (1990, 10)
