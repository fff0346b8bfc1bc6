"""What amplifiers' own software writes: EDF, BDF and BrainVision, read in microvolts with their annotations."""

from __future__ import annotations

import edfio
import mne
import numpy as np
import pytest

from pretap.recordings.continuous import open_recording

FS, N = 200.0, 1000
CHANNELS = ["C3", "Cz", "C4"]


@pytest.fixture
def raw():
    """Sines of 10, 20 and 30 uV, in volts as MNE keeps them, with two annotations."""
    t_s = np.arange(N) / FS
    x_uv = np.stack([10 * (k + 1) * np.sin(2 * np.pi * (5 + k) * t_s) for k in range(3)])
    raw = mne.io.RawArray(x_uv * 1e-6, mne.create_info(CHANNELS, FS, "eeg"), verbose="error")
    return raw.set_annotations(mne.Annotations([1.0, 2.5], [0.0, 0.0], ["tap/left", "tap/right"]))


@pytest.mark.parametrize("name", ["head.edf", "head.vhdr"])
def test_a_recording_comes_back_in_microvolts_with_its_events(raw, tmp_path, name):
    path = tmp_path / name
    mne.export.export_raw(path, raw, verbose="error")
    recording = open_recording(path)
    assert (recording.channels, recording.sfreq_hz, recording.n_samples) == (tuple(CHANNELS), FS, N)
    expected = raw.get_data().T * 1e6  # (n_samples, n_channels)
    assert recording.read(0, N) == pytest.approx(expected, abs=0.1)
    assert np.array_equal(recording.read(300, 321), recording.read(0, N)[300:321])
    taps = [event for event in recording.events if "tap" in event.text]  # BrainVision begins with 'New Segment'
    assert [event.sample for event in taps] == [200, 500]
    assert "tap/left" in taps[0].text
    assert "tap/right" in taps[1].text


def test_a_bdf_of_24_bits_comes_back_in_microvolts(raw, tmp_path):
    path = tmp_path / "head.bdf"
    signals = [
        edfio.BdfSignal(x * 1e6, FS, label=name, physical_dimension="uV", physical_range=(-3200, 3200))
        for name, x in zip(CHANNELS, raw.get_data(), strict=True)
    ]
    edfio.Bdf(signals).write(path)
    recording = open_recording(path)
    assert recording.channels == tuple(CHANNELS)
    assert recording.read(0, N) == pytest.approx(raw.get_data().T * 1e6, abs=0.001)
