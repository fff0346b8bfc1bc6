"""Cues from a trigger channel: each is at a sample, whatever the timestamps say, and `score` decides as live."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pretap.config.serve import CueConfig, ServeConfig
from pretap.recordings.recording import Event, Recording
from pretap_realtime.decide.modes import CueLocked
from pretap_realtime.decide.pipeline import Pipeline
from pretap_realtime.score.run import run_over
from pretap_realtime.signal.chunk import Chunk, Cue

FS = 100.0
N_WINDOW = 50


@pytest.mark.parametrize("jitter_s", [0.0, 0.003, 0.02])
@pytest.mark.parametrize("packet", [1, 9])
def test_a_code_of_a_trigger_channel_gets_one_window_however_the_stream_is_cut_and_in_score_too(
    make_decoder, packet, jitter_s
):
    decoder = make_decoder(sfreq_hz=FS, n_window=N_WINDOW)
    n, offset_s = 3000, -0.13
    rng = np.random.default_rng(5)
    x = rng.normal(0, 20, (n, 4)).astype(np.float32)
    last = np.minimum(np.arange(n) // packet * packet + packet - 1, n - 1)  # of each sample's packet
    t = 1000.0 + np.arange(n) / FS + np.abs(rng.normal(0, jitter_s, n))[last]
    t = np.maximum.accumulate(t) + 1e-7 * np.arange(n)
    rows = np.sort(rng.choice(np.arange(1000, n), 40, replace=False))
    codes = [Event(int(row), "7") for row in rows]

    def decide(cuts):
        pipeline = Pipeline(decoder, CueLocked(decoder, offset_s=offset_s, patterns=("7",)))
        found = []
        for start, stop in pairwise([0, *cuts, n]):
            here = tuple(Cue(np.nan, "7", row=int(row - start)) for row in rows if start <= row < stop)
            found += pipeline.process(Chunk(x[start:stop], t[start:stop], cues=here))
        return [(d.sample, d.probs.tobytes()) for d in found]

    whole = decide(())
    assert len(whole) == len(rows)
    assert decide(range(1, n)) == whole
    assert decide(range(7, n, 7)) == whole
    assert np.abs([sample - (row - 13) for (sample, _), row in zip(whole, rows, strict=True)]).max() <= 1

    recording = Recording(
        channels=decoder.manifest.channels,
        sfreq_hz=FS,
        n_samples=n,
        events=tuple(codes),
        read=lambda start, stop: x[start:stop],
        source="test",
        t_s=t,
    )
    scored = []
    mode = CueLocked(decoder, offset_s=offset_s, patterns=("7",))
    config = ServeConfig(cue=CueConfig(channel="TTL"))
    run_over(recording, decoder, mode, n_chunk=100, on_decisions=scored.extend, settings=config)
    assert [(d.sample, d.probs.tobytes()) for d in scored] == whole
