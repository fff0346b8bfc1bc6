"""The band-pass as a recursion: SciPy's Butterworth filter, or refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import butter, sosfilt

from lane_cases import FS, SMALL, SMALL_TENSORS, VARIANTS, X, all_tensors, examples, make_manifest, small
from pretap.decoder.decoder import Decoder
from pretap.networks import RecomputeError
from pretap.networks.bandpass import BANDPASS, RunningBandpass, second_order_sections
from pretap_offline.fit.bandpass import bandpass_impulse


@given(
    low=st.floats(0.01, 0.4),
    width=st.floats(0.03, 0.45),
    order=st.integers(1, 8),
    sfreq_hz=st.sampled_from([50.0, 102.4, 1000.0, 5000.0]),
    seed=st.integers(0, 2**32),
)
@examples(60)
def test_the_recursion_equals_scipy_s_butterworth_filter(low, width, order, sfreq_hz, seed):
    band_hz = low * sfreq_hz, min(low + width, 0.49) * sfreq_hz
    impulse = bandpass_impulse(band_hz, order=order, sfreq_hz=sfreq_hz, n_steps=100)
    sections = second_order_sections(impulse, band_hz, order=order, sfreq_hz=sfreq_hz)
    assert sections.shape == (order, 3)
    x = np.random.default_rng(seed).normal(size=(100, 3))
    expected = sosfilt(butter(order, band_hz, "bandpass", fs=sfreq_hz, output="sos"), x, axis=0)
    running = RunningBandpass(sections, n_lanes=1, n_inputs=3)
    found = [running.step(np.array([0]), row[None])[0] for row in x]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


GOOD = bandpass_impulse((8, 20), order=2, sfreq_hz=FS, n_steps=30)
FOREIGN = {
    "another band": bandpass_impulse((8, 21), order=2, sfreq_hz=FS, n_steps=30),
    "another order": bandpass_impulse((8, 20), order=3, sfreq_hz=FS, n_steps=30),
    "another rate": bandpass_impulse((8, 20), order=2, sfreq_hz=101.0, n_steps=30),
    "upside down": -GOOD,
    "one value off": GOOD + 1e-6 * np.eye(30)[17],
    "random": np.random.default_rng(0).normal(size=30),
}


@pytest.mark.parametrize("impulse", FOREIGN.values(), ids=list(FOREIGN))
@pytest.mark.parametrize("engine", ["auto", "numpy"])
def test_windows_are_recomputed_if_the_band_pass_is_not_a_butterworth_filter(impulse, engine):
    with pytest.raises(RecomputeError, match="not the Butterworth filter that it names, so it has no recursion"):
        second_order_sections(impulse, (8, 20), order=2, sfreq_hz=FS)
    decoder = small(engine, SMALL_TENSORS | {BANDPASS: impulse})
    assert decoder.engine == "numpy"
    stream = decoder.stream(4)
    assert stream.describe().startswith(
        "numpy: every window is recomputed, its band-pass is not the Butterworth filter"
    )
    for o in stream.process(X):
        np.testing.assert_array_equal(o.probs, decoder.decode(X[o.n_end - 30 : o.n_end]))


def test_a_filter_whose_values_are_not_finite_is_refused():
    with pytest.raises(RecomputeError):
        second_order_sections(np.where(np.arange(30) == 5, np.nan, GOOD), (8, 20), order=2, sfreq_hz=FS)


def test_members_with_different_band_passes_have_no_compiled_engine():
    manifest = make_manifest(SMALL.network, n_window=30, n_channels=3, n_classes=2, scaling=SMALL.scaling, n_members=2)
    tensors = all_tensors(np.random.default_rng(0), manifest)
    assert Decoder(manifest, tensors, engine="auto").engine == ("compiled" if VARIANTS else "numpy")
    other = tensors | {f"members.1.{BANDPASS}": FOREIGN["another band"]}
    assert Decoder(manifest, other, engine="auto").engine == "numpy"
