"""`pretap serve` as a real process on real LSL."""

from __future__ import annotations

import json
import re
import secrets

import numpy as np
import pytest

from pretap.bundle.file import load
from pretap_realtime.lsl.inlets import Inlet
from real_lsl import resolve


def serve(start, bundle, amp, *more, **kwargs):
    return start("serve", str(bundle), "--query", f"name={amp.name}", *more, **kwargs)


def test_decisions_equal_offline_decoding_and_carry_the_timestamp_of_the_last_sample(start, bundle, kit):
    amp, x = kit.Amplifier(), kit.eeg(300)
    child = serve(start, bundle, amp, "--hop-ms", "100")
    listener = kit.Listener()
    amp.wait_for_reader()
    for start_n in range(0, 300, 7):
        amp.push(x[start_n : start_n + 7])
    warm_up, *verdicts = kit.until(lambda: v if len(v := listener.verdicts()) >= 27 else None, "27 verdicts")
    assert (warm_up.valid, warm_up.label, warm_up.why) == (False, "none", "warm-up: the first window is not full yet")
    decoder = load(bundle)
    ends = list(range(50, 301, 10))
    for end, m in zip(ends, verdicts, strict=True):
        probs = decoder.decode(x[end - 50 : end])
        assert [m.p["left"], m.p["right"]] == probs.tolist()
        assert m.label == ("left", "right")[int(probs.argmax())]
        assert (m.valid, m.state, m.lost) == (True, "RUNNING", 0)
        assert m.t == pytest.approx(amp.t0_s + (end - 1) / 100, abs=1e-9)
    seqs = [m.seq for m in listener.messages]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert listener.stamps == [m.t for m in listener.messages]
    assert child.interrupt() == 0
    assert "26 decisions, 0 skipped" in child.said
    assert "300 samples received, 0 lost" in child.said


def test_channels_are_matched_by_name_and_units_by_the_description(start, bundle, kit):
    amp = kit.Amplifier(labels=("EEG C4", "TRIGGER", "o1", "Cz.", "C3-REF"), unit="volts", format="float64")
    serve(start, bundle, amp, "--hop-ms", "100")
    listener = kit.Listener()
    amp.wait_for_reader()
    x = kit.eeg(50)  # C3 Cz C4 O1
    sent = np.zeros((50, 5))
    sent[:, [4, 3, 0, 2]] = x.astype(np.float64) * 1e-6
    sent[:, 1] = 1e-3
    amp.push(sent)
    verdict = listener.wait_for(lambda m: m.type == "verdict" and m.valid, "a verdict")
    assert [verdict.p["left"], verdict.p["right"]] == pytest.approx(load(bundle).decode(x).tolist(), abs=1e-6)


def test_a_gap_is_counted_and_silences_the_decoder_until_a_window_is_full_again(start, bundle, kit):
    amp, x = kit.Amplifier(), kit.eeg(600)
    child = serve(start, bundle, amp, "--hop-ms", "10")
    listener = kit.Listener()
    amp.wait_for_reader()
    amp.push(x[:400])
    amp.skip(12)
    amp.push(x[400:])
    last_s = amp.t0_s + (amp.n - 1) / 100
    listener.wait_for(lambda m: m.type == "verdict" and m.t > last_s - 0.005, "the last verdict")
    _warm_up, silent = [m for m in listener.verdicts() if not m.valid]
    assert (silent.label, silent.p, silent.lost) == ("none", {}, 12)
    assert "12 samples lost" in silent.why
    first_after = next(m for m in listener.verdicts() if m.valid and m.t > silent.t)
    assert first_after.t == pytest.approx(silent.t + 49 / 100, abs=1e-9)
    assert first_after.lost == 12
    assert child.interrupt() == 0
    assert "600 samples received, 12 lost" in child.said


def test_a_non_finite_sample_is_counted_and_invalidates_its_windows(start, bundle, kit):
    amp, x = kit.Amplifier(), kit.eeg(200)
    x[100, 3] = np.nan
    child = serve(start, bundle, amp, "--hop-ms", "10")
    listener = kit.Listener()
    amp.wait_for_reader()
    amp.push(x)
    listener.wait_for(lambda m: m.type == "verdict" and m.t > amp.t0_s + 1.985, "the last verdict")
    bad_s = amp.t0_s + 1.0
    assert not [m for m in listener.verdicts() if m.valid and bad_s - 0.001 < m.t < bad_s + 0.495]
    _warm_up, silent = [m for m in listener.verdicts() if not m.valid]
    assert "non-finite" in silent.why
    assert child.interrupt() == 0
    assert "1 not finite" in child.said


def test_a_lost_stream_is_reported_and_starts_with_an_empty_window_when_it_returns(start, bundle, kit):
    amp = kit.Amplifier(source_id="amp-of-the-lab")
    child = start("serve", str(bundle), "--query", "source_id=amp-of-the-lab", "--hop-ms", "10")
    listener = kit.Listener()
    amp.wait_for_reader()
    amp.push(kit.eeg(60))
    listener.wait_for(lambda m: m.type == "verdict" and m.valid, "a verdict")
    amp.outlet = None
    lost = listener.wait_for(lambda m: m.type == "state" and m.state == "LOST", "LOST")
    again = kit.Amplifier(source_id="amp-of-the-lab")
    again.wait_for_reader()
    again.push(kit.eeg(60))
    after = listener.wait_for(
        lambda m: m.type == "verdict" and m.valid and m.seq > lost.seq, "a verdict of the new one"
    )
    assert after.t == pytest.approx(again.t0_s + 0.49, abs=1e-9)
    states = [m.state for m in listener.messages if m.type == "state"]
    assert states[states.index("LOST") :] == ["LOST", "VALIDATING", "RUNNING"]
    assert child.interrupt() == 0


def test_a_stream_that_returns_without_a_channel_is_refused(start, bundle, kit):
    amp = kit.Amplifier(source_id="amp-2")
    child = start("serve", str(bundle), "--query", "source_id=amp-2", "--reconnect-s", "5")
    listener = kit.Listener()
    child.wait_for("-> RUNNING")
    amp.outlet = None
    listener.wait_for(lambda m: m.state == "LOST", "LOST")
    other = kit.Amplifier(source_id="amp-2", labels=("C3", "Cz", "O1"))
    refused = listener.wait_for(lambda m: m.type == "state" and m.state == "REFUSED", "REFUSED")
    assert "lacks 1 of the 4 channels of the bundle: C4." in refused.why
    assert child.wait() == 4
    del other  # its outlet had to live until here


def test_a_stream_that_stays_away_ends_with_exit_code_5(start, bundle, kit):
    amp = kit.Amplifier()
    child = serve(start, bundle, amp, "--reconnect-s", "0.5")
    child.wait_for("-> RUNNING")
    amp.outlet = None
    assert child.wait() == 5
    assert "did not come back within 0.5 s" in child.said


def test_silence_is_a_state_and_ctrl_c_works_in_it(start, bundle, kit):
    amp = kit.Amplifier()
    child = serve(start, bundle, amp)
    child.wait_for("-> RUNNING")
    amp.push(kit.eeg(10))
    child.wait_for("RUNNING -> STALE: no sample for")
    amp.push(kit.eeg(10))
    child.wait_for("STALE -> RUNNING: samples flow again")
    child.wait_for("RUNNING -> STALE.*\n(.*\n)*.*RUNNING -> STALE")
    assert child.interrupt() == 0
    assert "20 samples received" in child.said


def test_ctrl_c_works_while_waiting(start, bundle):
    child = start("serve", str(bundle), "--query", "name=nobody")
    child.wait_for("WAITING")
    assert child.interrupt() == 0
    assert "0 decisions" in child.said


def test_no_stream_ends_with_exit_code_3_and_lists_the_streams_on_the_network(start, bundle, kit):
    amp = kit.Amplifier()
    child = start("serve", str(bundle), "--query", "name=nobody", "--wait-s", "0.3")
    assert child.wait() == 3
    assert "Asked for 'name=nobody'" in child.said
    assert amp.name in child.said


@pytest.mark.parametrize(
    "amplifier, says",
    [
        ({"labels": ("C3", "Cz", "O1")}, r"lacks 1 of the 4 channels of the bundle: C4\."),
        ({"sfreq_hz": 9.0}, r"has 9 Hz: expected 100 Hz, or what can be resampled to it \(10 to 25600 Hz\)"),
        ({"sfreq_hz": 0.0}, "has no fixed rate: expected one, such as 100 Hz"),
        ({"unit": "furlongs"}, "the unit 'furlongs': expected microvolts"),
        ({"unit": ""}, "does not say the unit of channel C3"),
        ({"labels": (), "n_channels": 4}, "does not name its 4 channels"),
        ({"format": "string"}, "carries string values: expected numbers"),
        ({"labels": ("C3", "Cz", "C4", "O1", "O1-REF", "o1")}, None),
        ({"labels": ("c3", "EEG C3", "Cz", "C4", "O1")}, "'c3', 'EEG C3' both name electrode C3"),
    ],
    ids=lambda value: "" if value is None else re.sub(r"\W+", "-", str(value))[:40],
)
def test_a_stream_that_does_not_fit_is_refused_with_the_reason(start, bundle, kit, amplifier, says):
    amp = kit.Amplifier(**amplifier)
    child = serve(start, bundle, amp)
    if says is None:  # a label equal to the letter wins over its aliases
        child.wait_for("-> RUNNING")
        return
    assert child.wait() == 4
    assert re.search(says, child.said)
    assert "VALIDATING -> REFUSED" in child.said


def test_a_signal_in_the_wrong_unit_is_refused_by_its_amplitude(start, bundle, kit):
    amp = kit.Amplifier()
    child = serve(start, bundle, amp)
    amp.wait_for_reader()
    amp.push(kit.eeg(60) * np.float32(1e-6))
    assert child.wait() == 4
    assert "EEG lies between" in child.said


def test_several_streams_are_refused_and_listed(start, bundle, kit):
    one, two = kit.Amplifier(kind="EEG-twins"), kit.Amplifier(kind="EEG-twins")
    child = start("serve", str(bundle), "--query", "type=EEG-twins")
    assert child.wait() == 4
    assert "2 streams answer to stream.query" in child.said
    assert one.name in child.said
    assert two.name in child.said


def test_a_stream_without_labels_or_unit_is_mapped_by_the_configuration(start, bundle, kit, tmp_path):
    amp = kit.Amplifier(labels=(), n_channels=4, unit="")
    config = tmp_path / "serve.toml"
    config.write_text('[stream]\nchannels = ["O1", "C4", "Cz", "C3"]\nunit = "mV"\n')
    child = serve(start, bundle, amp, "--config", str(config), "--dry-run")
    assert child.wait() == 0
    assert re.findall(r"(\w+) +<- channel +(\d) '(\w+)' x (\S+) uV", child.said) == [
        ("C3", "4", "C3", "1000"),
        ("Cz", "3", "Cz", "1000"),
        ("C4", "2", "C4", "1000"),
        ("O1", "1", "O1", "1000"),
    ]


def test_each_cue_gets_one_decision_or_the_reason_why_it_has_none(start, bundle, kit):
    amp, x = kit.Amplifier(), kit.eeg(200)
    markers = kit.Amplifier(labels=("marker",), kind="Markers", format="string", sfreq_hz=0.0)
    child = serve(
        start, bundle, amp, "--cue-query", f"name={markers.name}",
        "--set", 'cue.patterns=["go/*"]', "--set", "cue.offset_ms=-100",
    )  # fmt: skip
    listener = kit.Listener()
    amp.wait_for_reader()
    markers.wait_for_reader()
    for sample, text in [(99, "go/left"), (120, "pause"), (30, "go/early")]:
        markers.outlet.push_sample([text], amp.t0_s + sample / 100)
    amp.push(x)
    decided = listener.wait_for(lambda m: m.cue == "go/left", "a decision")
    refused = listener.wait_for(lambda m: m.cue == "go/early", "a refusal")
    assert [decided.p["left"], decided.p["right"]] == load(bundle).decode(x[40:90]).tolist()
    assert decided.t == pytest.approx(amp.t0_s + 0.89, abs=1e-9)
    assert (refused.valid, refused.label) == (False, "none")
    assert "21 of 50 samples" in refused.why
    assert child.interrupt() == 0
    assert "1 decisions" in child.said


def test_the_outlets_of_a_service_are_never_its_cue_stream(start, bundle, kit):
    amp, name = kit.Amplifier(), f"svc-{secrets.token_hex(4)}"
    child = serve(start, bundle, amp, "--cue-query", f"name={name}-markers", "--set", f'markers.name="{name}"')
    child.wait_for(f"no cue stream yet: name={name}-markers .an outlet of this process answers, but is never its input")
    task = kit.Amplifier(
        name=f"{name}-markers", source_id="task", labels=("marker",), kind="Markers", format="string", sfreq_hz=0.0
    )
    child.wait_for(f"cues from '{name}-markers' .*'task'")
    task.wait_for_reader()
    assert child.interrupt() == 0


def test_label_format_codes_and_probabilities(start, bundle, kit):

    amp, x = kit.Amplifier(), kit.eeg(80)
    x[60, 0] = np.nan
    serve(start, bundle, amp, "--hop-ms", "100", "--set", "markers.format=label", "--set", "markers.name=game")
    listener = kit.Listener("game-markers")
    numbers = {}
    for kind in ("codes", "probabilities"):
        found = resolve(f"game-{kind}")
        numbers[kind] = Inlet(found)
        numbers[kind].open(order=range(found.n_channels), factors=[1.0] * found.n_channels)
    amp.wait_for_reader()
    amp.push(x)
    rows = {kind: [] for kind in numbers}

    def four_each():
        listener.poll()
        for kind, inlet in numbers.items():
            if (chunk := inlet.pull(0.02)) is not None:
                rows[kind] += chunk.x_uv.tolist()
        return all(len(r) == 4 for r in (*rows.values(), listener.texts))

    kit.until(four_each, "four of each")
    probs = [load(bundle).decode(x[end - 50 : end]) for end in (50, 60)]
    best = [int(p.argmax()) for p in probs]
    assert listener.texts == ["none", ("left", "right")[best[0]], ("left", "right")[best[1]], "none"]
    assert rows["codes"] == [[0], [best[0] + 1], [best[1] + 1], [0]]
    expected = [[*p.astype(np.float32).tolist(), 1.0] for p in probs]
    assert rows["probabilities"] == [[0.0, 0.0, 0.0], *expected, [0.0, 0.0, 0.0]]
    assert numbers["probabilities"].description.labels == ("left", "right", "quality")


def test_a_late_listener_learns_the_state_from_a_heartbeat(start, bundle, kit):
    amp = kit.Amplifier()
    child = serve(start, bundle, amp)
    child.wait_for("-> STALE")
    late = kit.Listener()
    beat = late.wait_for(lambda m: m.type == "heartbeat", "a heartbeat")
    assert beat.state == "STALE"


def test_the_log_holds_every_decision_with_its_latency(start, bundle, kit, tmp_path):
    amp, x, log = kit.Amplifier(), kit.eeg(100), tmp_path / "session.jsonl"
    child = serve(start, bundle, amp, "--hop-ms", "100", "--log", str(log))
    amp.wait_for_reader()
    amp.push(x)
    kit.until(lambda: log.exists() and log.read_text().count('"latency_ms"') == 6, "six decisions in the log")
    assert child.interrupt() == 0
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [r["state"] for r in rows if r["type"] == "state"][:3] == ["WAITING", "VALIDATING", "RUNNING"]
    verdicts = [r for r in rows if r["type"] == "verdict" and r["valid"]]
    for row in verdicts:
        assert row["latency_ms"] == pytest.approx(1000 * (row["sent"] - row["t"]), abs=1e-3)


def test_the_live_path_loads_no_torch_mne_sklearn_or_scipy(start, bundle, kit):
    amp = kit.Amplifier()
    child = serve(start, bundle, amp, "--hop-ms", "100", python=("-X", "importtime"))
    listener = kit.Listener()
    amp.wait_for_reader()
    amp.push(kit.eeg(60))
    listener.wait_for(lambda m: m.type == "verdict" and m.valid, "a verdict")
    assert child.interrupt() == 0
    imported = {m.group(1) for m in re.finditer(r"import time:.*\|\s+(\w+)", child.said)}
    assert {"numpy", "pylsl", "pretap_realtime"} <= imported
    assert not imported & {"torch", "mne", "sklearn", "scipy", "skorch", "matplotlib", "pretap_offline"}


def test_a_stream_of_another_subject_is_announced(start, bundle, kit):
    amp = kit.Amplifier()
    child = serve(start, bundle, amp)
    child.wait_for("-> RUNNING")
    assert "WARNING: the bundle was trained on 'nobody'" in child.said
    assert "expect chance" in child.said


@pytest.mark.parametrize("query", ["name=x' or '1'='1", 'name="', "rate=100", "type="])
def test_a_query_that_could_be_an_injection_is_a_usage_error(start, bundle, query):
    child = start("serve", str(bundle), "--query", query)
    assert child.wait() == 2
    assert "Stream query" in child.said
