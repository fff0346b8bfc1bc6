"""The live pipeline over a recording: every event gets a decision, and dishonest estimates are recognized."""

from dataclasses import replace

import numpy as np
import pytest

from pretap.config.train import SignalConfig, TrainConfig, TrialsConfig
from pretap.networks import LstmSpec
from pretap.recordings.recording import Event, Recording
from pretap_offline.trials.cut import cut_trials
from pretap_offline.trials.montage import interpolation_weights
from pretap_realtime.decide.cues import truth
from pretap_realtime.decide.modes import CueLocked, FreeRunning
from pretap_realtime.score.run import run_over

CHANNELS = ("Fz", "C3", "Cz", "C4", "Pz", "O1", "O2", "FC1")


def recording(x, channels, events):
    return Recording(
        channels=channels,
        sfreq_hz=100.0,
        n_samples=len(x),
        events=tuple(events),
        read=lambda start, stop: x[start:stop],
        source="test",
    )


def eeg(n, n_channels):
    return np.random.default_rng(0).normal(0, 20, (n, n_channels)).astype(np.float32)


def test_an_event_after_the_last_sample_gets_a_decision_too(make_decoder):
    decoder = make_decoder(channels=CHANNELS)
    x = eeg(300, 8)
    events = [Event(100, "tap/left"), Event(299, "tap/left", 0.002), Event(299, "tap/right", 0.05)]
    mode = CueLocked(decoder, offset_s=0.0, patterns=("tap/*",))
    decisions = []
    run_over(recording(x, CHANNELS, events), decoder, mode, n_chunk=77, on_decisions=decisions.extend)
    assert [d.cue for d in decisions] == ["tap/left", "tap/left", "tap/right"]
    assert np.array_equal(decisions[1].probs, decoder.decode(x[250:300]))
    assert decisions[2].probs is None


@pytest.mark.parametrize("n_chunk", [1, 7, 300, 1000])
def test_every_sample_of_a_recording_is_counted(make_decoder, n_chunk):
    decoder = make_decoder(channels=CHANNELS)
    decisions = []
    result = run_over(
        recording(eeg(333, 8), CHANNELS, []),
        decoder,
        FreeRunning(decoder, hop=10),
        n_chunk=n_chunk,
        on_decisions=decisions.extend,
    )
    assert (result.n_received, result.n_lost) == (333, 0)
    assert sum(d.probs is not None for d in decisions) == (333 - 50) // 10 + 1


def test_with_a_missing_channel_the_number_of_trained_trials_is_unknown(make_decoder):
    decoder = make_decoder(channels=CHANNELS, interpolation=interpolation_weights(CHANNELS))
    mode = CueLocked(decoder, offset_s=0.0, patterns=("tap/*",))
    source, decisions = recording(eeg(300, 7), CHANNELS[:7], [Event(200, "tap/left")]), []
    result = run_over(source, decoder, mode, n_chunk=77, on_decisions=decisions.extend)
    assert result.n_trained_on is None
    assert decisions[0].probs is not None


def test_the_truth_of_a_cue_is_the_class_that_it_names(make_decoder):
    manifest = make_decoder(classes=("left", "tap/left", "right")).manifest
    assert truth("tap/left", manifest) == 1
    assert truth("trial/3/end/right", manifest) == 2
    assert truth("rest", manifest) is None


@pytest.mark.parametrize("with_timestamps", [False, True])
@pytest.mark.parametrize("sfreq_hz", [1000.0, 512.0, 256.0, 250.0, 100.0])
def test_offline_trials_are_the_windows_that_are_decoded_live(make_decoder, sfreq_hz, with_timestamps):
    n = 8000
    x = eeg(n, 8)
    rng = np.random.default_rng(1)
    samples = np.sort(rng.choice(np.arange(800, n - 300), 12, replace=False))
    events = [Event(int(s), f"tap/{'lr'[k % 2]}", late) for k, (s, late) in enumerate(zip(samples, LATE, strict=True))]
    t_s = np.arange(n) / 1000.0 + 5.0
    t_s[4000:] += 3.0
    timing = {"t_s": t_s, "segments": (0, 4000)} if with_timestamps else {}
    source = replace(recording(x, CHANNELS, events), sfreq_hz=1000.0, **timing)
    config = TrainConfig(
        network=LstmSpec(hidden=(6,)),
        signal=SignalConfig(sfreq_hz=sfreq_hz),
        events={"l": ("tap/l",), "r": ("tap/r",)},
        trials=TrialsConfig(reject_uv=0.0, flat_uv=0.0),
    )
    epochs, _ = cut_trials([source], config)
    decoder = make_decoder(channels=CHANNELS, sfreq_hz=sfreq_hz, n_window=epochs.n_samples)
    mode, decisions = CueLocked(decoder, offset_s=-0.13, patterns=("tap/*",)), []
    run_over(source, decoder, mode, n_chunk=77, on_decisions=decisions.extend)
    decided = [d for d in decisions if d.probs is not None]
    assert len(decided) == len(epochs) >= 9
    assert np.abs(decoder.decode(epochs.x_uv) - np.array([d.probs for d in decided])).max() < 1e-4
    start_s = 5.0 if with_timestamps else 0.0
    assert epochs.at_s == pytest.approx([d.t_s - start_s for d in decided], abs=1e-6)


LATE = [0.0, 0.0004, -0.0003, 0.0, 0.0002, 0.0005, -0.0005, 0.0, 0.0001, 0.0, -0.0002, 0.0003]
