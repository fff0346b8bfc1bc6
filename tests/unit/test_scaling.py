"""Each step of the scaling against values worked out by hand, their order, and what an electrode's offset costs."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pretap.signal.scaling import Scaling

# (n_window=5, n_channels=2)
X = np.array([[1, 3], [5, 11], [2, 8], [6, 0], [10, -2]], np.float32)


def test_the_default_only_divides_by_200_microvolts():
    np.testing.assert_array_equal(Scaling().apply(X), X.astype(np.float64) / 200)


def test_average_reference_subtracts_the_mean_over_channels_from_each_sample():
    expected = [[-1, 1], [-3, 3], [-3, 3], [3, -3], [6, -6]]
    np.testing.assert_array_equal(Scaling(reference="average", divide_uv=1).apply(X), expected)


def test_the_baseline_is_the_mean_of_each_channel_s_first_samples():
    expected = [[-2, -4], [2, 4], [-1, 1], [3, -7], [7, -9]]  # means of two samples: 3 and 7
    np.testing.assert_array_equal(Scaling(n_baseline=2, divide_uv=1).apply(X), expected)


def test_blocks_are_means_and_the_last_one_ends_with_the_window_so_the_first_sample_is_dropped():
    expected = [[3.5, 9.5], [8, -1]]  # samples 1-2 and 3-4
    np.testing.assert_array_equal(Scaling(n_block=2, divide_uv=1).apply(X), expected)


def test_the_order_is_reference_then_baseline_then_blocks_then_division():
    scaling = Scaling(reference="average", n_baseline=1, n_block=2, divide_uv=4)
    # referenced, channel 0: -1 -3 -3 3 6; minus sample 0, which the blocks then drop: 0 -2 -2 4 7; blocks: -2, 5.5
    np.testing.assert_array_equal(scaling.apply(X), [[-0.5, 0.5], [1.375, -1.375]])


@pytest.mark.parametrize(("n_window", "n_block", "n_steps"), [(500, 50, 10), (500, 1, 500), (7, 2, 3), (3, 4, 0)])
def test_n_steps_counts_complete_blocks(n_window, n_block, n_steps):
    scaling = Scaling(n_block=n_block)
    assert scaling.n_steps(n_window) == n_steps
    assert scaling.apply(np.zeros((n_window, 1))).shape == (n_steps, 1)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
@pytest.mark.parametrize("scaling", [Scaling(), Scaling(reference="average", n_baseline=2, n_block=2)])
def test_the_arithmetic_is_float64_whatever_came_in_and_the_input_stays_as_it_was(dtype, scaling):
    x = X.astype(dtype)
    result = scaling.apply(x)
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, scaling.apply(X.astype(np.float64)))
    np.testing.assert_array_equal(x, X.astype(dtype))


def eighths(shape):
    """Values in steps of 0.125 uV: they stay exact in float32 on top of 100 mV (where a float32 step is 0.0078 uV)."""
    return arrays(np.int32, shape, elements=st.integers(-800, 800)).map(lambda k: (k / 8).astype(np.float32))


@given(x=eighths((20, 4)), offsets_mv=arrays(np.int32, 4, elements=st.integers(-100, 100)))
@settings(deadline=None, max_examples=60)
def test_offsets_of_100_mv_on_each_electrode_cost_nothing_after_a_baseline(x, offsets_mv):
    scaling = Scaling(reference="average", n_baseline=7, n_block=3)
    with_offset = x + (1000 * offsets_mv).astype(np.float32)
    assert with_offset.dtype == np.float32
    np.testing.assert_allclose(scaling.apply(with_offset), scaling.apply(x), rtol=0, atol=1e-12)


@given(x=eighths((20, 4)), common_mv=st.integers(-100, 100))
@settings(deadline=None, max_examples=60)
def test_a_common_offset_of_100_mv_costs_nothing_after_the_average_reference(x, common_mv):
    scaling = Scaling(reference="average")
    np.testing.assert_allclose(scaling.apply(x + np.float32(1000 * common_mv)), scaling.apply(x), rtol=0, atol=1e-12)


def test_the_same_offset_would_cost_a_thousandth_of_a_microvolt_in_float32():
    """Why `apply` works in float64: this is the error it avoids."""
    x = np.random.default_rng(0).integers(-80, 80, (500, 1)).astype(np.float32) / 8
    offset = x + np.float32(1e5)
    in_float32 = (offset - offset[:50].mean(axis=0, dtype=np.float32)) - (x - x[:50].mean(axis=0))
    assert np.abs(in_float32).max() > 1e-3
    scaling = Scaling(n_baseline=50, divide_uv=1)
    assert np.abs(scaling.apply(offset) - scaling.apply(x)).max() < 1e-9


@given(
    x=eighths((3, 11, 2)),
    n_baseline=st.integers(0, 11),
    n_block=st.integers(1, 11),
    reference=st.sampled_from(["none", "average"]),
)
@settings(deadline=None, max_examples=60)
def test_many_windows_are_scaled_as_each_alone_and_the_scaling_is_linear(x, n_baseline, n_block, reference):
    scaling = Scaling(reference=reference, n_baseline=n_baseline, n_block=n_block, divide_uv=10)
    alone = np.stack([scaling.apply(window) for window in x])
    np.testing.assert_allclose(scaling.apply(x), alone, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        scaling.apply(3 * x[0] - x[1]), 3 * scaling.apply(x[0]) - scaling.apply(x[1]), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize(
    "bad",
    [{"reference": "cz"}, {"n_baseline": -1}, {"n_block": 0}, {"divide_uv": 0}, {"divide_uv": -1}, {"divide_mv": 1}],
)
def test_a_scaling_out_of_range_cannot_be_read_from_a_bundle(bad):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(bad, Scaling)


# -- decimation ----------------------------------------------------------------------------------------------------


def scaled(scaling, x, fir):
    return scaling.apply(x, decimation=scaling.decimation(np.atleast_2d(fir), n_window=x.shape[-2]))


def test_the_last_kept_sample_is_the_last_of_the_window_and_none_is_from_before_it():
    """The signal is its own sample number; the taps pick the newest sample, then the oldest of their span."""
    x = np.arange(500.0)[:, None]
    scaling = Scaling(decimate=10, n_taps=59, n_start=30, divide_uv=1)
    assert scaling.filter_lengths(500) == [30, 40, 50, 59]
    assert scaling.n_steps(500) == 50
    newest, oldest = np.zeros((2, 4, 59))
    newest[:, 0] = 1.0
    oldest[np.arange(4), [29, 39, 49, 58]] = 1.0
    np.testing.assert_array_equal(scaled(scaling, x, newest)[:, 0], [29, 29, *range(29, 500, 10)])
    np.testing.assert_array_equal(scaled(scaling, x, oldest)[:, 0], [0, 0, 0, 0, 0, *range(1, 442, 10)])


def test_baseline_and_blocks_count_decimated_samples():
    x = np.arange(8.0)[:, None]
    scaling = Scaling(decimate=2, n_taps=2, n_start=2, n_baseline=1, n_block=2, divide_uv=1)
    # pairs (0 1) (2 3) (4 5) (6 7): means 0.5 2.5 4.5 6.5; less the first: 0 2 4 6; in twos: 1 5
    np.testing.assert_array_equal(scaled(scaling, x, [0.5, 0.5]), [[1.0], [5.0]])


def test_the_decimation_is_the_causal_filter_of_scipy_at_the_kept_samples():
    rng = np.random.default_rng(0)
    x, taps = rng.normal(size=(3, 100, 2)), rng.normal(size=13)
    filtered = scipy.signal.lfilter(taps, 1.0, x, axis=1)
    expected = filtered[:, [15, 15, 22, 29, 36, 43, 50, 57, 64, 71, 78, 85, 92, 99]]
    scaling = Scaling(decimate=7, n_taps=13, n_start=13, divide_uv=1)
    np.testing.assert_allclose(scaled(scaling, x, taps), expected, rtol=0, atol=1e-12)


def test_a_window_shorter_than_the_longest_filter_has_the_shorter_ones():
    scaling = Scaling(decimate=10, n_taps=59, n_start=30)
    assert scaling.filter_lengths(45) == [35, 45]
    assert (scaling.n_steps(45), scaling.n_steps(29)) == (4, 0)


def test_a_first_filter_longer_than_the_longest_is_refused():
    with pytest.raises(ValueError, match="n_start = 4: expected at most n_taps = 3"):
        Scaling(decimate=2, n_taps=3, n_start=4)


def test_decimating_without_a_filter_is_refused():
    with pytest.raises(ValueError, match="decimate = 2 without a filter would alias"):
        Scaling(decimate=2)
