"""`score` and `tune` read a recording as the bundle's recipe describes it, and choose the events anew."""

from __future__ import annotations

import numpy as np
import pytest

from pretap.config.recording import RecordingConfig
from pretap.errors import DataError
from pretap.recordings.named import open_any
from xdf_files import write_streams


def test_a_recording_is_described_by_the_recipe_and_by_the_options_that_replace_it(tmp_path):
    eeg = {
        "name": "Amp", "kind": "EEG", "format": "float32", "t_s": np.arange(500) / 100,
        "values": np.random.default_rng(0).normal(0, 20, (500, 2)),
    }  # fmt: skip
    path = str(write_streams(tmp_path / "a.xdf", eeg))  # of rate 0, without labels
    with pytest.raises(DataError, match=r"\[recording\] sfreq_hz = 100"):
        open_any(path, part="test")
    recipe = RecordingConfig(sfreq_hz=100.0, channels=("C3", "C4"), markers=("a stream of the training",))
    opened = open_any(path, part="test", recipe=recipe)
    assert (opened.sfreq_hz, opened.channels, opened.events) == (100.0, ("C3", "C4"), ())
    again = open_any(path, part="test", recipe=recipe, config=RecordingConfig(eeg=("C4",), unit="mV"))
    np.testing.assert_allclose(again.read(0, 500), 1000 * opened.read(0, 500), rtol=1e-6)
    described = RecordingConfig(unit="uV", sfreq_hz=100.0)
    assert len(open_any("synthetic:1", part="test", sfreq_hz=100.0, recipe=described).channels) == 28
