"""The ring equals ``x[-n:]``, whatever the chunks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretap.errors import DataError
from pretap.signal.ring import Ring

MODEST = settings(deadline=None, max_examples=60)


def samples(start: int, stop: int, n_channels: int) -> np.ndarray:
    """Each value is its own address: 10 * sample + channel."""
    return (10 * np.arange(start, stop)[:, None] + np.arange(n_channels)).astype(np.float32)


def stamps(start: int, stop: int) -> np.ndarray:
    return 1e5 + np.arange(start, stop) / 1000


@st.composite
def rings_and_pushes(draw):
    capacity = draw(st.integers(1, 9))
    sizes = draw(st.lists(st.integers(0, 3 * capacity), max_size=12))
    return capacity, draw(st.integers(1, 3)), sizes


@given(rings_and_pushes())
@MODEST
def test_every_available_window_equals_the_same_slice_of_the_recording(case):
    capacity, n_channels, sizes = case
    ring, n = Ring(capacity, n_channels), 0
    for size in sizes:
        ring.append(samples(n, n + size, n_channels), stamps(n, n + size))
        n += size
        assert (ring.n_seen, ring.n_held) == (n, min(n, capacity))
        for end in range(n - ring.n_held, n + 1):
            for length in range(end - (n - ring.n_held) + 1):
                np.testing.assert_array_equal(ring.window(end, length), samples(end - length, end, n_channels))
                np.testing.assert_array_equal(ring.timestamps(end, length), stamps(end - length, end))


@given(rings_and_pushes())
@MODEST
def test_future_samples_and_overwritten_samples_are_an_index_error(case):
    capacity, n_channels, sizes = case
    ring = Ring(capacity, n_channels)
    for size in sizes:
        ring.append(np.zeros((size, n_channels), np.float32))
        for end, length in (
            (ring.n_seen + 1, 1),
            (ring.n_seen + capacity + 1, capacity),
            (ring.n_seen, ring.n_held + 1),
            (ring.n_seen - ring.n_held, 1),
        ):
            with pytest.raises(IndexError, match=f"among the {ring.n_held} held of {ring.n_seen}"):
                ring.window(end, length)
            with pytest.raises(IndexError):
                ring.timestamps(end, length)


@given(rings_and_pushes(), st.integers(0, 20))
@MODEST
def test_after_a_reset_a_ring_behaves_as_a_new_one(case, n_before):
    capacity, n_channels, sizes = case
    used, new, n = Ring(capacity, n_channels), Ring(capacity, n_channels), 0
    used.append(np.full((n_before, n_channels), -1, np.float32), np.full(n_before, -1.0))
    used.reset()
    assert (used.n_seen, used.n_held) == (0, 0)
    for size in sizes:
        for ring in (used, new):
            ring.append(samples(n, n + size, n_channels), stamps(n, n + size))
        n += size
        np.testing.assert_array_equal(used.window(n, used.n_held), new.window(n, new.n_held))
        np.testing.assert_array_equal(used.timestamps(n, used.n_held), new.timestamps(n, new.n_held))


def test_a_window_is_a_contiguous_float32_view_of_the_ring_itself():
    ring = Ring(4, 2)
    ring.append(samples(0, 4, 2))
    window = ring.window(4, 4)
    assert window.flags.c_contiguous
    assert window.dtype == np.float32
    assert np.shares_memory(window, ring.window(3, 1))  # no copy was made


def test_a_pushed_chunk_is_copied_so_its_owner_may_reuse_it():
    ring, chunk = Ring(4, 2), samples(0, 3, 2)
    ring.append(chunk)
    chunk[:] = np.nan
    np.testing.assert_array_equal(ring.window(3, 3), samples(0, 3, 2))


@pytest.mark.parametrize("shape", [(2,), (3, 1), (3, 3), (1, 3, 2)])
def test_a_chunk_that_numpy_would_stretch_to_the_ring_s_channels_is_refused(shape):
    ring = Ring(4, 2)
    with pytest.raises(DataError, match=r"Expected samples of shape \(n_new, 2\)"):
        ring.append(np.zeros(shape, np.float32))
    assert ring.n_seen == 0
