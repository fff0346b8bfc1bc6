"""Cues: texts, numbers and the codes of a trigger channel decide live what they decide in the recording."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from pretap.bundle.file import load

N = 600
OFFSET = 10  # samples from the end of the window to the cue


@pytest.fixture
def session(start, kit, bundle, tmp_path):
    """Serve a recorded session with a table [cue], play it, and return what the service and `score` decided."""

    def run(amp, cue, play, *, n_cues, markers=None):
        folder, config = tmp_path / "session", tmp_path / "serve.toml"
        rows = "\n".join(f"{key} = {value}" for key, value in cue.items())
        config.write_text(f"[cue]\n{rows}\noffset_ms = {-1000 * OFFSET / 100}\n")
        service = start(
            "serve", str(bundle), "--query", f"name={amp.name}", "--config", str(config), "--record", str(folder)
        )
        service.wait_for("RUNNING")
        for each in filter(None, (amp, markers)):
            kit.until(lambda each=each: f"recording '{each.name}'" in (folder / "record.log").read_text(), each.name)
        play()

        def verdicts():
            lines = map(json.loads, (folder / "decisions.jsonl").read_text().splitlines())
            return [line for line in lines if line["type"] == "verdict"]

        kit.until(lambda: len(verdicts()) >= n_cues, "a verdict for each cue")
        assert service.interrupt() == 0
        result = tmp_path / "score.json"
        score = start("score", str(bundle), str(folder / "session.xdf"), "--config", str(config), "--json", str(result))
        assert score.wait() == 0, score.said
        return verdicts(), json.loads(result.read_text())["decisions"], service.said, score.said

    return run


def playing(amp, x, markers, sent):
    """Return a function that plays samples, and each marker (sample, value) before the samples that follow it."""

    def play():
        markers.wait_for_reader()
        for sample, value in [*sent, (len(x), None)]:
            amp.push(x[amp.n : sample])
            if value is not None:
                markers.outlet.push_sample([value], amp.t0_s + sample / 100)

    return play


def decided(rows):
    return [(row["cue"], row["label"], row["p"], row["why"]) for row in rows]


def expected(bundle, x, cues):
    """The decisions on (sample, text), computed from the samples that were sent."""
    decoder, rows = load(bundle), []
    for sample, text in cues:
        probs = decoder.decode(x[sample - OFFSET - 49 : sample - OFFSET + 1])
        names = decoder.manifest.classes
        rows.append((text, names[int(probs.argmax())], dict(zip(names, probs.tolist(), strict=True)), ""))
    return rows


@pytest.mark.parametrize("format", ["float32", "int16"])
def test_codes_of_a_trigger_channel_decide_live_as_in_the_recording(session, kit, bundle, format):  # noqa: A002
    amp = kit.Amplifier(labels=("C3", "TTL", "Cz", "C4", "O1"), format=format)
    x = kit.eeg(N, 5)
    if format == "int16":
        x = np.round(x)
    x[:, 1] = 0
    x[:20, 1] = 8  # held from before: no event
    for first, stop, code in [(100, 103, 1), (200, 230, 2), (230, 231, 1), (300, 301, 255), (400, N, 2)]:
        x[first:stop, 1] = code
    patterns = {"channel": '"TTL"', "patterns": '["1", "2"]'}
    live, scored, said, scored_said = session(amp, patterns, lambda: amp.push(x), n_cues=4)
    eeg = np.ascontiguousarray(x[:, [0, 2, 3, 4]])
    assert decided(live) == expected(bundle, eeg, [(100, "1"), (200, "2"), (230, "1"), (400, "2")])
    assert decided(scored) == decided(live)
    assert [row["t"] - amp.t0_s for row in live] == pytest.approx([0.9, 1.9, 2.2, 3.9], abs=1e-6)
    for text in (said, scored_said):
        assert text.count("no decision at the marker '255': expected a cue like '1', '2'") == 1
        assert "markers that fit no cue pattern: 1" in text


@pytest.mark.parametrize("format", ["int32", "int64", "float64"])
def test_a_number_is_a_cue_like_the_same_text(session, kit, bundle, format):  # noqa: A002
    amp, x = kit.Amplifier(), kit.eeg(N)
    markers = kit.Amplifier(labels=("code",), kind="Markers", format=format, sfreq_hz=0.0)

    sent = [(100, 1), (200, 2), (300, 7), (400, 1)]
    cue = {"query": f'"name={markers.name}"', "patterns": '["1", "2"]'}
    live, scored, said, _ = session(amp, cue, playing(amp, x, markers, sent), n_cues=3, markers=markers)
    assert decided(live) == expected(bundle, x, [(100, "1"), (200, "2"), (400, "1")])
    assert decided(scored) == decided(live)
    assert said.count("no decision at the marker '7'") == 1


def test_white_space_around_a_marker_is_ignored_and_a_misspelt_one_is_named_once(session, kit, bundle):
    amp, x = kit.Amplifier(), kit.eeg(N)
    markers = kit.Amplifier(labels=("marker",), kind="Markers", format="string", sfreq_hz=0.0)

    sent = [(100, "tap/left\r\n"), (150, "tap/rihgt"), (200, " tap/right\n"), (250, "tap/rihgt"), (300, "\r\n")]
    cue = {"query": f'"name={markers.name}"', "patterns": '["tap/left", "tap/right"]'}
    live, scored, said, scored_said = session(amp, cue, playing(amp, x, markers, sent), n_cues=2, markers=markers)
    assert decided(live) == expected(bundle, x, [(100, "tap/left"), (200, "tap/right")])
    assert decided(scored) == decided(live)
    for text in (said, scored_said):
        assert text.count("no decision at the marker 'tap/rihgt': expected a cue like 'tap/left', 'tap/right'") == 1
        assert "markers that fit no cue pattern: 2" in text
    assert re.search(r"2 decisions, 0 skipped", said)
