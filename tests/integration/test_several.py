"""Several decoders in one `pretap serve` process on real LSL: no decoder disturbs another."""

from __future__ import annotations

import json
import re
import secrets
from itertools import pairwise

import pytest
import tomli_w

from pretap.bundle.file import load
from real_lsl import streams_named

KINDS = ("codes", "markers", "probabilities")


@pytest.fixture
def bundles(tmp_path, make_decoder):
    """Write two different bundles: 50 samples at 100 Hz, and 40 samples at 200 Hz."""
    make_decoder(path=tmp_path / "anna.safetensors", seed=1)
    make_decoder(path=tmp_path / "ben.safetensors", seed=2, n_window=40, sfreq_hz=200.0)
    return {name: load(tmp_path / f"{name}.safetensors") for name in ("anna", "ben")}


@pytest.fixture
def serve(start, tmp_path, bundles):
    """Start decoders `anna` and `ben`, each on its own amplifier or query, at 10 decisions per second."""

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
    """Return the names of the service's outlets on the network."""
    return {stream.name for stream in streams_named("") if stream.name.rpartition("-")[2] in KINDS}


class Feed:
    """Sends an amplifier's samples to one decoder, and knows the decisions that must follow.

    Ten samples are sent at a time, after all earlier decisions have arrived, so no hop is skipped on a slow machine.
    """

    def __init__(self, amp, x, *, decoder, listener, hop):
        self.amp, self.x, self.listener = amp, x, listener
        self._n_window, self._hop, self._decode = decoder.manifest.n_window, hop, decoder.decode

    @property
    def expected(self):
        """The end of each window that was sent, and its probabilities."""
        ends = range(self._n_window, self.amp.n + 1, self._hop)
        probs = [self._decode(self.x[end - self._n_window : end]).tolist() for end in ends]
        return [(end, pytest.approx(each, abs=1e-6)) for end, each in zip(ends, probs, strict=True)]

    @property
    def decided(self):
        """The end of each window that was decided, and its probabilities."""
        verdicts = [m for m in self.listener.verdicts() if m.valid]
        assert all(m.label == max(m.p, key=m.p.get) for m in verdicts)
        t0_s, sfreq_hz = self.amp.t0_s, self.amp.sfreq_hz
        return [(round((m.t - t0_s) * sfreq_hz) + 1, [m.p["left"], m.p["right"]]) for m in verdicts]

    def step(self):
        """Send ten samples if all earlier ones are decided; return whether all are sent and decided."""
        n_due = len(range(self._n_window, self.amp.n + 1, self._hop))
        if len(self.decided) < n_due:
            return False
        if self.amp.n == len(self.x):
            return True
        self.amp.push(self.x[self.amp.n : self.amp.n + 10])
        return False


def test_two_streams_are_decoded_into_outlets_of_their_own(serve, bundles, kit):
    amps = {"anna": kit.Amplifier(), "ben": kit.Amplifier(sfreq_hz=200.0)}
    child = serve(**amps)
    feeds = [
        Feed(
            amps[name], kit.eeg(300, seed=hop), decoder=bundles[name], listener=kit.Listener(f"{name}-markers"), hop=hop
        )
        for name, hop in (("anna", 10), ("ben", 20))
    ]
    for amp in amps.values():
        amp.wait_for_reader()
    kit.until(lambda: min([feed.step() for feed in feeds]), "all decisions of both")
    for feed in feeds:
        assert feed.decided == feed.expected
        seqs = [m.seq for m in feed.listener.messages]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    assert outlets() == {f"{name}-{kind}" for name in amps for kind in KINDS}
    assert child.interrupt() == 0
    for name, n in (("anna", 26), ("ben", 14)):
        assert re.search(rf"^{name}: VALIDATING -> RUNNING$", child.said, re.MULTILINE)
        assert f"{name}:\n  {n} decisions, 0 skipped" in child.said
        assert re.search(rf"{name}:\n.*\n  300 samples received, 0 lost", child.said)


def test_several_decoders_follow_one_stream(serve, bundles, kit):
    amp = kit.Amplifier()
    child = serve(anna=amp, ben=amp, decode={"ben": {"hop_ms": 30.0}})
    listeners = {name: kit.Listener(f"{name}-markers") for name in ("anna", "ben")}
    for name in listeners:
        child.wait_for(rf"{name}: VALIDATING -> RUNNING")
    feed = Feed(amp, kit.eeg(200), decoder=bundles["anna"], listener=listeners["anna"], hop=10)
    kit.until(feed.step, "all of anna")
    assert feed.decided == feed.expected
    # ben's bundle is for 200 Hz, so only his pipeline resamples
    listeners["ben"].wait_for(lambda m: m.valid and m.t > amp.t0_s + 1.9, "the last of ben")
    stamps_s = [m.t - amp.t0_s for m in listeners["ben"].verdicts() if m.valid]
    assert [b - a for a, b in pairwise(stamps_s)] == pytest.approx([0.03] * (len(stamps_s) - 1))
    assert child.interrupt() == 0
    assert len(re.findall("  200 samples received, 0 lost", child.said)) == 2


def test_a_stream_that_falls_silent_and_returns_costs_the_other_no_decision(serve, bundles, kit):
    anna, ben = kit.Amplifier(), kit.Amplifier(sfreq_hz=200.0, source_id="amp-of-ben")
    y = kit.eeg(60, seed=2)
    child = serve(anna=anna, ben="source_id=amp-of-ben", decode={"anna": {"hop_ms": 10.0}})
    of_anna, of_ben = kit.Listener("anna-markers"), kit.Listener("ben-markers")
    feed = Feed(anna, kit.eeg(10_000, seed=1), decoder=bundles["anna"], listener=of_anna, hop=1)
    anna.wait_for_reader()
    ben.wait_for_reader()

    def meanwhile(condition, what):
        """Wait for such a message of ben, while 0.5 s of anna's stream are decided."""
        n_enough = anna.n + 50

        def look():
            feed.step()
            found = [m for m in of_ben.messages if condition(m)]
            return found[0] if found and anna.n > n_enough else None

        return kit.until(look, what)

    ben.push(y)
    meanwhile(lambda m: m.type == "verdict" and m.valid, "a verdict of ben")
    meanwhile(lambda m: m.state == "STALE", "STALE")
    ben.outlet = None
    lost = meanwhile(lambda m: m.state == "LOST", "LOST")
    again = kit.Amplifier(sfreq_hz=200.0, source_id="amp-of-ben")
    meanwhile(lambda m: m.state == "RUNNING" and m.seq > lost.seq, "RUNNING again")
    again.push(y)
    back = meanwhile(lambda m: m.type == "verdict" and m.valid and m.seq > lost.seq, "a verdict of the new one")
    assert [back.p["left"], back.p["right"]] == pytest.approx(bundles["ben"].decode(y[:40]).tolist(), abs=1e-6)
    assert back.t == pytest.approx(again.t0_s + 39 / 200, abs=1e-9)
    n_decisions = len(feed.expected)
    kit.until(lambda: len(feed.decided) == n_decisions, "all of anna")
    assert feed.decided == feed.expected
    assert "LOST" not in {m.state for m in of_anna.messages}
    assert child.interrupt() == 0
    assert f"anna:\n  {n_decisions} decisions, 0 skipped, 0 too old to publish" in child.said
    assert "ben: RUNNING -> STALE" in child.said
    assert "ben: STALE -> LOST" in child.said


def test_a_decoder_that_cannot_keep_up_costs_the_other_no_decision(serve, make_decoder, bundles, kit, tmp_path):
    make_decoder(path=tmp_path / "ben.safetensors", n_window=2000)  # 2000 steps of an LSTM, at each sample
    anna, ben = kit.Amplifier(), kit.Amplifier()
    child = serve(anna=anna, ben=ben, decode={name: {"hop_ms": 10.0} for name in ("anna", "ben")})
    feed = Feed(anna, kit.eeg(600), decoder=bundles["anna"], listener=kit.Listener("anna-markers"), hop=1)
    anna.wait_for_reader()
    ben.wait_for_reader()
    flood = kit.eeg(500)

    def step():
        ben.outlet.push_chunk(flood, ben.stamps(500))  # five seconds of EEG at once
        ben.n += 500
        return feed.step()

    kit.until(step, "all of anna")
    assert feed.decided == feed.expected
    assert child.interrupt() == 0
    assert "anna:\n  551 decisions, 0 skipped, 0 too old to publish" in child.said
    n_skipped, n_lost = re.search(r"ben:\n.* decisions, (\d+) skipped.*\n.* received, (\d+) lost", child.said).groups()
    assert int(n_skipped) + int(n_lost) > 0


def test_ctrl_c_ends_all_decoders_with_exit_code_0_in_any_state(serve, kit):
    amp = kit.Amplifier()
    child = serve(anna=amp, ben="name=nobody")
    child.wait_for("anna: VALIDATING -> RUNNING")
    child.wait_for("ben: WAITING")
    assert child.interrupt() == 0
    for name in ("anna", "ben"):
        assert f"{name}:\n  0 decisions, 0 skipped" in child.said
    assert "Error" not in child.said


def test_a_refused_stream_ends_its_decoder_alone_and_sets_the_exit_code(serve, bundles, kit, tmp_path):
    anna, ben = kit.Amplifier(), kit.Amplifier(sfreq_hz=200.0, labels=("C3", "Cz", "O1"))
    child = serve("--log", str(tmp_path / "log.jsonl"), anna=anna, ben=ben)
    sentence = "lacks 1 of the 4 channels of the bundle: C4."
    child.wait_for(rf"ben: VALIDATING -> REFUSED: .*{re.escape(sentence)}")
    child.wait_for(rf"ben: ENDED: .*{re.escape(sentence)}")
    feed = Feed(anna, kit.eeg(100), decoder=bundles["anna"], listener=kit.Listener("anna-markers"), hop=10)
    anna.wait_for_reader()
    kit.until(feed.step, "all of anna")
    assert feed.decided == feed.expected
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
    assert len([row for row in rows["anna"] if row["type"] == "verdict" and row["valid"]]) == 6


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


def test_each_decoder_records_its_own_session(serve, kit, tmp_path):
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


@pytest.mark.parametrize("flag, key", [("--query", "stream.query"), ("--cue-query", "cue.query")])
def test_an_option_that_names_one_stream_is_refused(serve, flag, key):
    child = serve(flag, "type=EEG", anna="name=a", ben="name=b")
    assert child.wait() == 2
    assert f"Error: {flag} names the stream of one decoder, and " in child.said
    assert f"has 2. Write {key} into its [[decoders]], or give all of them one stream with --set {key}=" in child.said


def test_an_invalid_bundle_stops_all_decoders_before_any_starts(serve, tmp_path, bundles):
    (tmp_path / "ben.safetensors").write_bytes(b"nonsense")
    child = serve(anna="name=a", ben=f"name={secrets.token_hex(4)}")
    assert child.wait() == 6
    assert "WAITING" not in child.said


def test_the_bundle_of_the_command_line_is_the_default_of_every_decoder(start, tmp_path, bundles):
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
