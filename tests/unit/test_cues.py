"""Which markers are cues, and what is said of the others."""

from __future__ import annotations

import pytest

from pretap.config.reading import load_config
from pretap.config.serve import ServeConfig
from pretap.errors import UsageError
from pretap_realtime.decide.cues import TRIAL_ENDS, CuePatterns
from pretap_realtime.decide.modes import describe_hop
from pretap_realtime.serve.summary import Summary


def test_a_marker_that_fits_no_pattern_is_named_once_and_counted():
    cues = CuePatterns(["tap/*", "1"])
    found = [cues.match(text) for text in ("tap/left", "1", "tab/left", "tab/left", "2\x1b[2J")]
    assert found == [True, True, False, False, False]
    assert cues.take_news() == [
        "no decision at the marker 'tab/left': expected a cue like 'tap/*', '1'",
        "no decision at the marker '2?[2J': expected a cue like 'tap/*', '1'",
    ]
    assert not cues.match("tab/left")
    assert cues.take_news() == []
    assert cues.n_unmatched == 4
    assert "markers that fit no cue pattern: 4" in str(Summary(n_unmatched=cues.n_unmatched))


@pytest.mark.parametrize(
    "cue_after_s, told", [(0.13, "; the cue comes 130 ms after that sample"), (0.0, ""), (-0.2, "")]
)
def test_the_latency_at_cues_tells_how_long_after_its_last_sample_a_cue_comes(cue_after_s, told):
    summary = Summary(cue_after_s=cue_after_s)
    summary.latencies.add(0.14)
    (line,) = [line for line in str(summary).splitlines() if line.startswith("latency")]
    assert line.endswith(f" ms{told}")


@pytest.mark.parametrize(
    "hop_ms, sfreq_hz, told",
    [
        (50.0, 1000.0, "50 ms"),
        (50.0, 250.0, "48 ms (12 samples; 50 ms asked for)"),
        (0.9, 1000.0, "1 ms (1 sample; 0.9 ms asked for)"),
    ],
)
def test_a_hop_that_samples_do_not_allow_is_told_beside_the_one_that_was_asked_for(hop_ms, sfreq_hz, told):
    assert describe_hop(hop_ms, sfreq_hz) == told


def test_markers_of_a_replay_that_are_no_cues_are_expected():
    cues = CuePatterns(TRIAL_ENDS)
    assert not any(cues.match(text) for text in ("trial/3/start", "trial/3/start/left", "loop/2"))
    assert all(cues.match(text) for text in ("trial/3/end", "trial/3/end/left"))
    assert (cues.n_unmatched, cues.take_news()) == (0, [])


def test_countless_different_markers_are_counted_but_not_all_named():
    cues = CuePatterns(["tap"])
    assert not any(cues.match(f"frame {k}") for k in range(1000))
    assert len(cues.take_news()) == 20
    assert cues.n_unmatched == 1000


def test_cues_come_from_one_source_and_are_decided_alone():
    assert load_config(ServeConfig, values={"cue.channel": "TTL"}).cue.is_on
    with pytest.raises(UsageError, match='query = "name=task" and channel = "TTL" both name the source of the cues'):
        load_config(ServeConfig, values={"cue.channel": "TTL", "cue.query": "name=task"})
    with pytest.raises(UsageError, match=r'cue\.channel = "TTL" decides once per cue'):
        load_config(ServeConfig, values={"cue.channel": "TTL", "policy.dwell_ms": 100.0})
