"""Several decoders in one `pretap serve`, as a real process on real LSL: none disturbs another."""

from __future__ import annotations

import json
import re
import secrets
from itertools import pairwise

import pytest
import tomli_w

from pretap.bundle import load
from pretap_realtime import lsl

KINDS = ("codes", "markers", "probabilities")


@pytest.fixture
def bundles(tmp_path, make_decoder):
    """Two that answer differently: 50 samples at 100 Hz, 40 samples at 200 Hz."""
    make_decoder(path=tmp_path / "anna.safetensors", seed=1)
    make_decoder(path=tmp_path / "ben.safetensors", seed=2, n_window=40, sfreq_hz=200.0)
    return {name: load(tmp_path / f"{name}.safetensors") for name in ("anna", "ben")}


@pytest.fixture
def serve(start, tmp_path, bundles):
    """Start decoders `anna` and `ben`, each on an amplifier or a query of its own, at 10 decisions a second."""

    def serve(*more, decode=None, **streams):
        entries = [
            {
                "bundle": str(tmp_path / f"{name}.safetensors"),
                "stream": {"query": stream if isinstance(stream, str) else f"name={stream.name}"},
                "markers": {"name": name},
                "decode": (decode or {}).get(name, {}),
            }
            for name, stream in streams.items()
        ]
        file = tmp_path / "serve.toml"
        file.write_text(tomli_w.dumps({"decode": {"hop_ms": 100.0}, "decoders": entries}), encoding="utf-8")
        return start("serve", "--config", str(file), *more)

    return serve


def outlets():
    """Give the names of the service's outlets that are there."""
    return {f"{found.name}" for found in lsl.find(wait_s=0.5) if found.name.rpartition("-")[2] in KINDS}


def expected(decoder, x, *, hop):
    """Give the end of each window of a stream that began with x, and its probabilities."""
    n = decoder.manifest.n_window
    return [(end, decoder.decode(x[end - n : end]).tolist()) for end in range(n, len(x) + 1, hop)]


def decided(listener, amp):
    """Give the same of what was sent, and hold each message against itself."""
    verdicts = [m for m in listener.verdicts() if m.valid]
    assert all(m.label == max(m.p, key=m.p.get) for m in verdicts)
    return [(round((m.t - amp.t0_s) * amp.sfreq_hz) + 1, [m.p["left"], m.p["right"]]) for m in verdicts]


def test_two_streams_are_decoded_into_outlets_of_their_own(serve, bundles, kit):
    amps = {"anna": kit.Amplifier(), "ben": kit.Amplifier(sfreq_hz=200.0)}
    x = {"anna": kit.eeg(300, seed=1), "ben": kit.eeg(300, seed=2)}
    child = serve(**amps)
    listeners = {name: kit.Listener(f"{name}-markers") for name in amps}
    for amp in amps.values():
        amp.wait_for_reader()
    for start_n in range(0, 300, 10):
        for name, amp in amps.items():
            amp.push(x[name][start_n : start_n + 10])
    for name, hop in (("anna", 10), ("ben", 20)):
        want = expected(bundles[name], x[name], hop=hop)
        kit.until(lambda name=name, want=want: len(decided(listeners[name], amps[name])) >= len(want), f"all of {name}")
        assert decided(listeners[name], amps[name]) == want
        seqs = [m.seq for m in listeners[name].messages]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert outlets() == {f"{name}-{kind}" for name in amps for kind in KINDS}
    assert child.interrupt() == 0
    for name, n in (("anna", 26), ("ben", 14)):
        assert re.search(rf"^{name}: VALIDATING -> RUNNING$", child.said, re.MULTILINE)
        assert f"{name}:\n  {n} decisions, 0 skipped" in child.said
        assert re.search(rf"{name}:\n.*\n  300 samples received, 0 lost", child.said)


def test_several_decoders_follow_one_stream(serve, bundles, kit):
    amp, x = kit.Amplifier(), kit.eeg(200)
    make = bundles["anna"]
    child = serve(anna=amp, ben=amp, decode={"ben": {"hop_ms": 30.0}})
    listeners = {name: kit.Listener(f"{name}-markers") for name in ("anna", "ben")}
    for name in listeners:
        child.wait_for(rf"{name}: VALIDATING -> RUNNING")
    amp.push(x)
    want = expected(make, x, hop=10)
    kit.until(lambda: len(decided(listeners["anna"], amp)) >= len(want), "all of anna")
    assert decided(listeners["anna"], amp) == want
    # ben's bundle is for 200 Hz, so his pipeline resamples what anna's takes as it is
    listeners["ben"].wait_for(lambda m: m.valid and m.t > amp.t0_s + 1.9, "the last of ben")
    stamps_s = [m.t - amp.t0_s for m in listeners["ben"].verdicts() if m.valid]
    assert [b - a for a, b in pairwise(stamps_s)] == pytest.approx([0.03] * (len(stamps_s) - 1))
    assert child.interrupt() == 0
    assert len(re.findall("  200 samples received, 0 lost", child.said)) == 2


def test_a_stream_that_falls_silent_dies_and_returns_costs_the_other_no_decision(serve, bundles, kit):
    anna, ben = kit.Amplifier(), kit.Amplifier(sfreq_hz=200.0, source_id="amp-of-ben")
    x, y = kit.eeg(10_000, seed=1), kit.eeg(60, seed=2)
    child = serve(anna=anna, ben="source_id=amp-of-ben", decode={"anna": {"hop_ms": 10.0}})
    listeners = {name: kit.Listener(f"{name}-markers") for name in ("anna", "ben")}
    anna.wait_for_reader()
    ben.wait_for_reader()

    def while_anna_flows(condition, what):
        def look():
            anna.push(x[anna.n : anna.n + 10])
            listeners["anna"].poll()
            return condition()

        return kit.until(look, what)

    def state_of_ben(state, after=-1):
        return lambda: next((m for m in listeners["ben"].messages if m.state == state and m.seq > after), None)

    ben.push(y)
    while_anna_flows(lambda: [m for m in listeners["ben"].verdicts() if m.valid], "a verdict of ben")
    while_anna_flows(state_of_ben("STALE"), "STALE")
    ben.outlet = None
    lost = while_anna_flows(state_of_ben("LOST"), "LOST")
    again = kit.Amplifier(sfreq_hz=200.0, source_id="amp-of-ben")
    while_anna_flows(state_of_ben("RUNNING", after=lost.seq), "RUNNING again")
    again.push(y)
    back = while_anna_flows(
        lambda: [m for m in listeners["ben"].verdicts() if m.valid and m.seq > lost.seq], "a verdict of the new one"
    )
    assert [back[0].p["left"], back[0].p["right"]] == bundles["ben"].decode(y[:40]).tolist()
    assert back[0].t == pytest.approx(again.t0_s + 39 / 200, abs=1e-9)
    want = expected(bundles["anna"], x[: anna.n], hop=1)
    kit.until(lambda: len(decided(listeners["anna"], anna)) >= len(want), "all of anna")
    assert decided(listeners["anna"], anna) == want
    assert {m.state for m in listeners["anna"].verdicts()} == {"RUNNING"}
    assert child.interrupt() == 0
    assert f"anna:\n  {len(want)} decisions, 0 skipped, 0 too old to publish" in child.said
    assert "ben: RUNNING -> STALE" in child.said
    assert "ben: STALE -> LOST" in child.said


def test_a_decoder_that_cannot_keep_up_costs_the_other_no_decision(serve, make_decoder, bundles, kit, tmp_path):
    make_decoder(path=tmp_path / "ben.safetensors", n_window=2000)  # 2000 steps of an LSTM, at each sample
    anna, ben = kit.Amplifier(), kit.Amplifier()
    x, flood = kit.eeg(1000, seed=1), kit.eeg(500)
    child = serve(anna=anna, ben=ben, decode={name: {"hop_ms": 10.0} for name in ("anna", "ben")})
    listener = kit.Listener("anna-markers")
    anna.wait_for_reader()
    ben.wait_for_reader()
    want = expected(bundles["anna"], x, hop=1)
    while anna.n < len(x):
        ben.outlet.push_chunk(flood, ben.stamps(500))  # five seconds of EEG at once
        ben.n += 500
        anna.push(x[anna.n : anna.n + 20])
        n_due = max(0, anna.n - 49)
        kit.until(lambda n_due=n_due: len(decided(listener, anna)) >= n_due, f"decision {n_due} of anna")
    assert decided(listener, anna) == want
    assert child.interrupt() == 0
    assert f"anna:\n  {len(want)} decisions, 0 skipped, 0 too old to publish" in child.said
    assert re.search(r"ben:\n  \d+ decisions, [1-9]\d* skipped", child.said)


def test_ctrl_c_ends_all_at_once_with_exit_code_0_whatever_they_do(serve, kit):
    amp = kit.Amplifier()
    child = serve(anna=amp, ben="name=nobody")
    child.wait_for("anna: VALIDATING -> RUNNING")
    child.wait_for("ben: WAITING")
    child.process.send_signal(2)
    assert child.process.wait(2) == 0
    for name in ("anna", "ben"):
        assert f"{name}:\n  0 decisions, 0 skipped" in child.said
    assert "Error" not in child.said


def test_a_refused_stream_ends_its_decoder_alone_and_sets_the_exit_code(serve, bundles, kit, tmp_path):
    anna, ben = kit.Amplifier(), kit.Amplifier(sfreq_hz=200.0, labels=("C3", "Cz", "O1"))
    x = kit.eeg(100)
    child = serve("--log", str(tmp_path / "log.jsonl"), anna=anna, ben=ben)
    sentence = "lacks 1 of the 4 channels of the bundle: C4."
    child.wait_for(rf"ben: VALIDATING -> REFUSED: .*{re.escape(sentence)}")
    child.wait_for(rf"ben: ENDED: .*{re.escape(sentence)}")
    listener = kit.Listener("anna-markers")
    anna.wait_for_reader()
    anna.push(x)
    want = expected(bundles["anna"], x, hop=10)
    kit.until(lambda: len(decided(listener, anna)) >= len(want), "all of anna")
    assert decided(listener, anna) == want
    assert outlets() == {f"anna-{kind}" for kind in KINDS}
    assert child.interrupt() == 4
    assert re.search(rf"Error: 1 of 2 decoders ended with an error:\n  ben: .*{re.escape(sentence)}", child.said)
    assert "ben:\n  0 decisions" in child.said
    assert not (tmp_path / "log.jsonl").exists()
    rows = {
        name: [json.loads(line) for line in (tmp_path / f"log-{name}.jsonl").read_text().splitlines()]
        for name in ("anna", "ben")
    }
    assert [row["state"] for row in rows["ben"]] == ["WAITING", "VALIDATING", "REFUSED"]
    assert len([row for row in rows["anna"] if row["type"] == "verdict" and row["valid"]]) == len(want)


def test_when_all_have_ended_the_first_error_sets_the_exit_code(serve, kit):
    amp = kit.Amplifier(unit="furlongs")
    child = serve("--wait-s", "1", anna="name=nobody", ben=amp)
    assert child.wait() == 4
    assert re.search(r"Error: 2 of 2 decoders ended with an error:\n  ben: .*furlongs.*\n  anna: No stream", child.said)
    assert "Asked for 'name=nobody'; on the network are:\n" in child.said
    assert "anna-markers" not in child.said


def test_dry_run_prints_each_mapping_under_its_name(serve, kit):
    amps = {"anna": kit.Amplifier(), "ben": kit.Amplifier(labels=("O1", "C4", "Cz", "C3"), sfreq_hz=200.0)}
    child = serve("--dry-run", **amps)
    assert child.wait() == 0
    of_anna, of_ben = child.said.split("\nben:\n")
    _, of_anna = of_anna.split("\nanna:\n")
    row = re.compile(r"^  +(\w+) +<- channel +(\d)", re.MULTILINE)
    assert row.findall(of_anna) == [("C3", "1"), ("Cz", "2"), ("C4", "3"), ("O1", "4")]
    assert row.findall(of_ben) == [("C3", "4"), ("Cz", "3"), ("C4", "2"), ("O1", "1")]


def test_each_records_a_session_of_its_own(serve, kit, tmp_path):
    amps = {"anna": kit.Amplifier(), "ben": kit.Amplifier(sfreq_hz=200.0)}
    child = serve("--record", str(tmp_path / "duel"), **amps)
    for name, amp in amps.items():
        child.wait_for(f"{name}: VALIDATING -> RUNNING")
        amp.push(kit.eeg(100))
    decisions = {name: tmp_path / "duel" / name / "decisions.jsonl" for name in amps}
    for name, n in (("anna", 6), ("ben", 4)):
        kit.until(lambda name=name, n=n: decisions[name].read_text().count('"latency_ms"') == n, f"all of {name}")
    assert child.interrupt() == 0
    for name, amp in amps.items():
        config = json.loads((tmp_path / "duel" / name / "config.json").read_text())
        assert (config["stream"]["query"], config["markers"]["name"]) == (f"name={amp.name}", name)
        assert f"{name}: recorded into {tmp_path / 'duel' / name}" in child.said
        assert (tmp_path / "duel" / name / "session.xdf").stat().st_size > 0


@pytest.mark.parametrize("flag, key", [("--stream", "stream.query"), ("--cue-stream", "cue.query")])
def test_a_flag_that_names_one_stream_is_refused(serve, flag, key):
    child = serve(flag, "type=EEG", anna="name=a", ben="name=b")
    assert child.wait() == 2
    assert f"Error: {flag} names the stream of one decoder, and " in child.said
    assert f"has 2. Write {key} into its [[decoders]], or give all of them one stream with --set {key}=" in child.said


def test_a_bundle_that_cannot_be_had_stops_all_before_any_starts(serve, tmp_path, bundles):
    (tmp_path / "ben.safetensors").write_bytes(b"nonsense")
    child = serve(anna="name=a", ben=f"name={secrets.token_hex(4)}")
    assert child.wait() == 6
    assert "WAITING" not in child.said


def test_the_bundle_of_the_command_line_stands_in_where_an_entry_names_none(start, tmp_path, bundles):
    file = tmp_path / "serve.toml"
    own = str(tmp_path / "ben.safetensors")
    names = [{"markers": {"name": "anna"}}, {"markers": {"name": "ben"}, "bundle": own}, {"markers": {"name": "cleo"}}]
    entries = [{"stream": {"query": "name=nobody"}} | each for each in names]
    file.write_text(tomli_w.dumps({"decoders": entries}), encoding="utf-8")
    given = str(tmp_path / "anna.safetensors")
    child = start("serve", given, "--config", str(file), "--wait-s", "0.2")
    assert child.wait() == 3
    assert re.findall(r"^(\w+): bundle (.*?):", child.said, re.MULTILINE) == [
        ("anna", given),
        ("ben", own),
        ("cleo", given),
    ]
