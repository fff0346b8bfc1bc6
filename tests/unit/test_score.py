"""The live pipeline over a file: every event is answered, and nobody is told an estimate that is none."""

import numpy as np

from pretap.recordings.recording import Event, Recording
from pretap_offline.montage import interpolation_weights
from pretap_realtime.cues import truth
from pretap_realtime.pipeline import CueLocked
from pretap_realtime.score import run_over

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


def test_an_event_after_the_last_sample_is_answered_too(make_decoder):
    decoder = make_decoder(channels=CHANNELS)
    x = eeg(300, 8)
    events = [Event(100, "tap/left"), Event(299, "tap/left", 0.002), Event(299, "tap/right", 0.05)]
    mode = CueLocked(decoder, offset_s=0.0, patterns=("tap/*",))
    result = run_over(recording(x, CHANNELS, events), decoder, mode, n_chunk=77)
    assert [d.cue for d in result.decisions] == ["tap/left", "tap/left", "tap/right"]
    assert np.array_equal(result.decisions[1].probs, decoder.decode(x[250:300]))
    assert result.decisions[2].probs is None


def test_with_a_channel_missing_nobody_can_tell_whether_trials_were_trained_on(make_decoder):
    decoder = make_decoder(channels=CHANNELS, interpolation=interpolation_weights(CHANNELS))
    mode = CueLocked(decoder, offset_s=0.0, patterns=("tap/*",))
    result = run_over(recording(eeg(300, 7), CHANNELS[:7], [Event(200, "tap/left")]), decoder, mode, n_chunk=77)
    assert result.n_trained_on is None
    assert result.decisions[0].probs is not None


def test_the_truth_is_the_class_that_a_cue_names(make_decoder):
    manifest = make_decoder(classes=("left", "tap/left", "right")).manifest
    assert truth("tap/left", manifest) == 1
    assert truth("trial/3/end/right", manifest) == 2
    assert truth("rest", manifest) is None
