"""The quality of a signal in the pipeline: what each policy does to decisions."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretap.config.serve import QualityConfig
from pretap.errors import StreamRefusedError, UsageError
from pretap_offline.trials.montage import interpolation_weights
from pretap_realtime.decide.modes import CueLocked, FreeRunning
from pretap_realtime.decide.pipeline import Pipeline
from pretap_realtime.signal.chunk import Chunk, Cue
from pretap_realtime.signal.quality import check_policy
from signal_cases import (
    FS,
    NAMES,
    N,
    eeg,
    known,
    stamps,
    wave,
)

# -- in the pipeline ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def decoder(make_decoder):
    return make_decoder(
        sfreq_hz=FS, n_window=100, channels=NAMES, interpolation=interpolation_weights(NAMES), statistics=known()
    )


def faulty(seed: int) -> np.ndarray:
    """A cut-off electrode from 1 to 5 s, mains on another, and another unit from 8 s to 9 s."""
    x = eeg(12, seed=seed)
    x[200:1000, 6] = np.clip(x[200:1000, 6] + wave(800, 1.3, 200), -100, 100)
    x[500:1500, 10] += wave(1000, 50, 150)
    x[1600:1800] *= np.float32(1e3)
    return x


def run(decoder, x, cuts, *, policy, mode=None, t_s=None):
    mode = mode or FreeRunning(decoder, hop=10)
    pipeline = Pipeline(decoder, mode, max_interpolated=0.2, quality=QualityConfig(policy=policy))
    t_s = stamps(len(x)) if t_s is None else t_s
    edges = [0, *sorted(cuts), len(x)]
    decisions = []
    for start, stop in pairwise(edges):
        decisions += pipeline.process(Chunk(x[start:stop], t_s[start:stop]))
        decisions += pipeline.catch_up()
    return decisions, pipeline


@pytest.fixture(scope="module")
def one_by_one(decoder):
    """Decide on a faulty signal, 10 samples at a time; each policy and seed is worked out once."""
    return cache(lambda policy, seed: run(decoder, faulty(seed), range(10, 2400, 10), policy=policy)[0])


def as_rows(decisions):
    return [(d.t_s, None if d.probs is None else tuple(d.probs.tolist()), d.why, d.quality) for d in decisions]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    cuts=st.lists(st.integers(1, 2399), max_size=60, unique=True),
    policy=st.sampled_from(["flag", "mask", "hold"]),
    seed=st.integers(0, 3),
)
def test_chunking_changes_nothing(decoder, one_by_one, cuts, policy, seed):
    expected = one_by_one(policy, seed)
    any_way, _ = run(decoder, faulty(seed), cuts, policy=policy)
    assert as_rows(any_way) == as_rows(expected)
    assert {d.quality for d in expected} > {1.0, 0.0, 1 - 1 / N}


def test_flag_says_it_and_lowers_the_quality_but_changes_no_probability(decoder):
    x = faulty(0)
    decisions, pipeline = run(decoder, x, range(10, len(x), 10), policy="flag")
    plain = decoder.stream(10).process(x)
    assert [tuple(d.probs) for d in decisions if d.probs is not None] == [tuple(o.probs) for o in plain]
    shares = [d.quality for d in decisions]
    assert {1.0, 1 - 1 / N, 1 - 2 / N, 0.0} == set(shares)
    assert all(d.probs is None or not d.why for d in decisions)
    assert (pipeline.front_end.status.describe(), pipeline.front_end.status.bad) == ("", ())


def test_hold_gives_no_verdict_while_it_lasts_and_says_why(decoder):
    x = faulty(0)
    decisions, _ = run(decoder, x, range(10, len(x), 10), policy="hold")
    held = [d for d in decisions if d.why.startswith("held: ")]
    assert {d.why.split(":")[1].strip() for d in held} >= {
        "C3",
        "C4",
        "wrong unit? The signal is about 10^3 times too large",
    }
    first_s, last_s = held[0].t_s - 500, held[-1].t_s - 500
    assert first_s == pytest.approx(1 + 5 * 0.25, abs=0.3)
    assert last_s == pytest.approx(9 + 5 * 0.25, abs=0.3)
    assert all(d.quality < 1 for d in held)
    assert all(d.quality == 1 for d in decisions if not d.why)


def test_mask_lets_the_neighbours_stand_in_and_a_wrong_unit_hold(decoder):
    x = faulty(0)
    decisions, _ = run(decoder, x, range(10, len(x), 10), policy="mask")
    whys = [d.why for d in decisions if d.why and d.probs is None]
    assert "1 of 16 electrodes masked: C3; interpolated from their neighbours" in whys
    assert "all electrodes are back" in whys
    held = {d.why for d in decisions if d.probs is not None and d.why}
    assert all("wrong unit?" in why for why in held)
    assert held
    # what stands in C3 no longer matters
    other = x.copy()
    other[600:990, 6] += 7.0
    masked = [d for d in decisions if 500 + 3.5 < d.t_s < 500 + 4.9]
    again, _ = run(decoder, other, range(10, len(x), 10), policy="mask")
    assert as_rows(masked) == as_rows([d for d in again if 500 + 3.5 < d.t_s < 500 + 4.9])
    assert {d.quality for d in masked if d.probs is not None} <= {1 - 1 / N, 1 - 2 / N}


def test_a_cued_decision_carries_the_quality_too(decoder):
    x = faulty(0)
    pipeline = Pipeline(
        decoder,
        CueLocked(decoder, offset_s=0.0, patterns=("tap",)),
        max_interpolated=0.2,
        quality=QualityConfig(policy="hold"),
    )
    asked = [pipeline.ask(Cue(500 + at_s, "tap"), arrived_s=0.0) for at_s in (0.9, 4.0, 11.5)]
    decisions = pipeline.process(Chunk(x, stamps(len(x))))
    assert asked == [[], [], []]
    assert [d.quality for d in decisions] == [1.0, 1 - 2 / N, 1.0]
    assert [bool(d.why) for d in decisions] == [False, True, False]


def test_flat_electrodes_count_as_not_good_and_are_replaced_as_ever(decoder):
    x = eeg(5)
    x[:, 3] = 0
    decisions, pipeline = run(decoder, x, range(10, len(x), 10), policy="hold")
    assert decisions[-1].probs is not None
    assert not decisions[-1].why
    assert decisions[-1].quality == 1 - 1 / N
    assert pipeline.front_end.status.describe() == "1 of 16 electrodes flat: FC3; interpolated from their neighbours"


def test_mask_is_refused_at_the_start_for_a_bundle_that_cannot_interpolate(make_decoder, decoder):
    settings_ = QualityConfig(policy="mask")
    check_policy(settings_, decoder)
    with pytest.raises(UsageError, match="expected a bundle that can interpolate"):
        check_policy(settings_, make_decoder(interpolation=None))
    with pytest.raises(UsageError, match='choose "flag" or "hold"'):
        check_policy(settings_, make_decoder(interpolation=np.zeros((4, 4))))
    check_policy(QualityConfig(policy="hold"), make_decoder(interpolation=None))


def test_a_first_window_in_another_unit_is_refused_and_the_unit_named(decoder):
    with pytest.raises(StreamRefusedError, match="volts taken for microvolts"):
        run(decoder, eeg(2) * np.float32(1e-6), [], policy="flag")
