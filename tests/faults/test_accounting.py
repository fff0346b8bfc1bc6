"""The accounts: what was sent was received or is counted as lost, and nothing is decided across a hole.

`sent = received + lost` is asked for exactly, wherever each sample has its own stamp and the end is known.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest

from pretap.bundle.file import load
from pretap.config.serve import ServeConfig, StreamConfig
from pretap_realtime.decide.modes import FreeRunning
from pretap_realtime.decide.pipeline import Pipeline
from pretap_realtime.decide.policy import Policy
from pretap_realtime.lsl.library import local_clock
from pretap_realtime.send.leader import Leader
from pretap_realtime.send.publisher import Publisher
from pretap_realtime.serve.connection import Connector, start_searches
from pretap_realtime.serve.service import Service
from pretap_realtime.signal.chunk import Chunk
from real_lsl import LABELS, eeg, until

FAST = ("--hop-ms", "10")


def clean(service, *, n_window=50, rate_hz=100.0):
    """Say of each decision whether a full window of it has come since the last break."""
    broken_s = -np.inf
    for row in service.verdicts():
        if "withheld_p" in row:  # too old, or the stream is not RUNNING: no break
            continue
        if not row["valid"]:
            broken_s = row["t"]
        else:
            assert row["t"] - broken_s > (n_window - 1.5) / rate_hz, row
    return True


def run(service, amp, *, n_last=60, after=None):
    """Wait for the decision on the last sample, end the service, and give received and lost."""
    last_s = amp.t0_s + (amp.n - 1) / amp.sfreq_hz
    service.wait_for_verdict(lambda row: row["t"] > last_s - 0.5 / amp.sfreq_hz)
    assert service.interrupt() == 0
    return service.accounts()


@pytest.fixture
def flowing(serve, amplifier):
    """A service and an amplifier that has a reader and has sent `n` samples."""

    def flowing(*, n=300, arguments=FAST, **spec):
        amp = amplifier(**spec)
        service = serve(amp, *arguments)
        amp.wait_for_reader()
        if n:
            amp.push(eeg(n, len(spec.get("labels", "1234"))))
        return service, amp

    return flowing


def test_37_samples_missing_are_counted_and_no_window_spans_them(flowing, measured):
    service, amp = flowing(n=0)
    listener = service.listener
    amp.push(eeg(300))
    amp.skip(37)
    amp.push(eeg(120))
    last_s = amp.t0_s + (amp.n - 1) / 100
    listener.wait_for(lambda m: m.type == "verdict" and m.t > last_s - 0.005, "the last verdict")
    messages = listener.messages
    received, lost = run(service, amp)
    assert (received, lost) == (420, 37)
    assert amp.n == received + lost
    assert clean(service)
    measured(
        "37 samples missing", "counted exactly; no window spans them",
        f"sent {amp.n} = received {received} + lost {lost}; first decision 50 samples after the hole",
    )  # fmt: skip
    verdicts = [m for m in messages if m.type == "verdict"]
    assert [m.seq for m in messages] == list(range(messages[0].seq, messages[0].seq + len(messages)))
    assert [m.t for m in verdicts] == sorted(m.t for m in verdicts)
    hole_s = amp.t0_s + 2.995
    assert {m.lost for m in verdicts if m.t < hole_s} == {0}
    assert {m.lost for m in verdicts if m.t > hole_s} == {37}
    assert [m.valid for m in verdicts if m.t > hole_s][:2] == [False, True]
    assert all(m.sent > 0 for m in messages)
    measured(
        "what a marker says of it", "number, stamp of the window's end, time of sending, losses so far, validity",
        f"{len(messages)} messages without a hole in their numbers; 'lost' is 0 before and 37 from the hole on, whose "
        "own message is invalid",
    )  # fmt: skip


def test_a_loss_inside_a_chunk_whose_stamps_the_receiver_deduces_is_counted(flowing, measured):
    service, amp = flowing(n=0)
    amp.push(eeg(320), n_chunk=32, one_stamp=True)
    amp.skip(302)
    amp.push(eeg(640), n_chunk=32, one_stamp=True)
    received, lost = run(service, amp)
    assert received == 960
    assert lost == 302
    assert clean(service)
    measured(
        "a loss hidden by deduced stamps (one stamp a chunk of 32)", "counted by elapsed time",
        f"302 lost inside a chunk: {lost} counted, {received} received",
    )  # fmt: skip


def test_with_a_counter_losses_are_exact_over_a_death_too(serve, amplifier, measured):
    labels = (*LABELS, "COUNTER")
    amp = amplifier(name="amp-counter", labels=labels)
    service = serve(amp, *FAST, "--set", "stream.counter=COUNTER")
    amp.wait_for_reader()
    amp.push(eeg(96, 5), n_chunk=32, one_stamp=True)
    amp.skip(302)
    amp.push(eeg(96, 5), n_chunk=32, one_stamp=True)
    until(lambda: service.verdicts() and service.verdicts()[-1]["t"] > amp.t0_s + (amp.n - 1.5) / 100, "the last")
    amp.end()
    service.wait_for_states("LOST")
    again = amplifier(name="amp-counter", labels=labels)
    again.n, again.t0_s = amp.n + 41, amp.t0_s
    again.wait_for_reader()
    again.push(eeg(96, 5))
    received, lost = run(service, again)
    assert again.n == received + lost
    assert (received, lost) == (288, 343)
    assert clean(service)
    measured(
        "with a counter channel: 302 lost behind deduced stamps, then a death that costs 41", "the counter decides",
        f"sent {again.n} = received {received} + lost {lost}",
    )  # fmt: skip


def test_a_source_that_stops_for_two_seconds_is_stale_and_its_loss_is_counted(flowing, measured):
    service, amp = flowing()
    stopped_s = local_clock()
    stale = service.listener.wait_for_state("STALE")
    until(lambda: local_clock() - stopped_s > 2, "2 s of silence")
    amp.skip(200)
    amp.push(eeg(120))
    received, lost = run(service, amp)
    assert amp.n == received + lost == 620
    assert clean(service)
    assert service.states()[-2:] == ["STALE", "RUNNING"]
    measured(
        "the source stops for 2 s", "STALE after max(0.3 s, 3 chunk intervals); the loss is counted",
        f"STALE after {stale.sent - stopped_s:.2f} s; sent {amp.n} = received {received} + lost {lost}",
        in_time=stale.sent - stopped_s < 1.0,
    )  # fmt: skip


def test_a_source_frozen_for_20_s_comes_back_with_a_burst(serve, feeder, measured):
    amp = feeder(waits=True, n_most=2600)
    service = serve(amp)
    listener = service.listener
    listener.wait_for(lambda m: m.type == "verdict" and m.valid, "a verdict")
    amp.freeze()
    frozen_s = local_clock()
    stale = listener.wait_for_state("STALE")
    until(lambda: local_clock() - frozen_s > 20, "20 s")
    assert listener.messages[-1].state == "STALE"
    amp.thaw()
    listener.wait_for_state("RUNNING", after=stale.seq)
    amp.wait_for("all sent")
    listener.wait_for_state("STALE", after=stale.seq)
    assert service.interrupt() == 0
    received, lost = service.accounts()
    published = [row for row in service.verdicts() if row["valid"]]
    oldest_s = max(row["sent"] - row["t"] for row in published)
    assert amp.n_sent == 2600 == received + lost
    assert oldest_s < 2.0  # those of the stall would be older
    assert clean(service)
    measured(
        "the source is frozen for 20 s (SIGSTOP) and sends 2000 samples at once", "STALE; no old verdict; all counted",
        f"STALE after {stale.sent - frozen_s:.2f} s; oldest verdict {1000 * oldest_s:.0f} ms; sent 2600 = received "
        f"{received} + lost {lost}",
        in_time=oldest_s < 1,
    )  # fmt: skip


def test_a_service_frozen_for_12_s_says_what_it_lost(serve, feeder, measured):
    amp = feeder(waits=True, n_most=1600)
    service = serve(amp)
    service.wait_for_verdict()
    service.freeze()
    until(lambda: amp.n_sent >= 1500, "15 s of samples")
    service.thaw()
    amp.wait_for("all sent")
    service.wait_for_states("STALE")
    assert service.interrupt() == 0
    received, lost = service.accounts()
    assert received + lost == 1600
    oldest_s = max(row["sent"] - row["t"] for row in service.verdicts() if row["valid"])
    assert oldest_s < 2.0  # those of the stall would be older
    assert lost == 0 or "overflow" in service.said
    measured(
        "the service itself is frozen for 14 s; its buffer holds 10", "overflow is said; all counted; no old verdict",
        f"sent 1600 = received {received} + lost {lost}; oldest verdict {1000 * oldest_s:.0f} ms; "
        f"{'overflow said' if 'overflow' in service.said else 'no overflow'}",
        in_time=oldest_s < 1,
    )  # fmt: skip


class Stalls(FreeRunning):
    """A model that takes 3 s, once."""

    def __init__(self, decoder, *, hop):
        super().__init__(decoder, hop=hop)
        self.stall_s = 0.0

    def process(self, x_uv, t_s, *, newest_only, is_good):
        stall_s, self.stall_s = self.stall_s, 0.0
        threading.Event().wait(stall_s)
        return super().process(x_uv, t_s, newest_only=newest_only, is_good=is_good)


class Notes:
    def __init__(self):
        self.messages = []

    def send(self, batch):
        self.messages += [item.message for item in batch]


def test_a_model_that_stalls_for_three_seconds_skips_to_the_newest_hop(bundle, feeder, measured):
    amp = feeder(waits=True, n_most=900)
    decoder, stop, said, notes = load(bundle), threading.Event(), [], Notes()
    config = ServeConfig(stream=StreamConfig(query=f"name={amp.name}"))
    mode = Stalls(decoder, hop=5)
    publisher = Publisher([notes], clock=local_clock, say=said.append)
    connect = Connector(decoder, config, searches=start_searches(config), say=said.append)
    service = Service(
        Pipeline(decoder, mode), publisher, connect=connect,
        stream=StreamConfig(wait_s=10, reconnect_s=10), policy=Policy(config.policy, decoder.manifest),
        clock=local_clock, stop=stop, say=said.append,
    )  # fmt: skip
    thread = threading.Thread(target=Leader(publisher).run, args=(service.run(),), daemon=True)
    thread.start()
    until(lambda: any(message.type == "verdict" and message.valid for message in notes.messages), "a verdict")
    mode.stall_s = 3.0
    amp.wait_for("all sent")
    until(lambda: service.summary().losses.n_received == 900, lambda: f"900 samples, got {service.summary()}")
    stop.set()
    thread.join(60)
    summary = service.summary()
    published = [m for m in notes.messages if m.type == "verdict" and m.valid]
    oldest_s = max(m.sent - m.t for m in published)
    assert oldest_s < 2.0  # those of the stall would be older
    assert (summary.losses.n_received, summary.losses.n_lost) == (900, 0)
    assert summary.n_skipped > 0
    measured(
        "the model stalls for 3 s", "skips to the newest hop and counts; no verdict older than 1 s; no sample lost",
        f"{summary.n_skipped} skipped, {summary.n_too_old} too old and withheld, oldest verdict "
        f"{1000 * oldest_s:.0f} ms; sent 900 = received 900 + lost 0",
        in_time=oldest_s < 1,
    )  # fmt: skip


@pytest.mark.parametrize("step_s", [-1.0, 1.0])
def test_a_step_of_the_sources_clock_is_a_break_and_no_loss(step_s, flowing, measured):
    service, amp = flowing(n=0)
    amp.push(eeg(200), real_time=True)
    amp.set_clock(step_s)
    amp.push(eeg(120), real_time=True)
    received, lost = run(service, amp)
    assert amp.n == received + lost == 320
    assert lost == 0
    assert clean(service)
    assert "the clock was set 1 time" in service.said
    last = [row for row in service.verdicts() if row["valid"]][-1]
    assert last["t"] == pytest.approx(amp.t0_s + 3.19, abs=1e-6)
    measured(
        f"the source's clock is set by {step_s:+g} s", "a break, counted as a clock step; decisions go on after a full "
        "window", f"1 clock step; sent 320 = received {received} + lost {lost}; the last sample was decided",
    )  # fmt: skip


@pytest.mark.parametrize("stamp", [np.nan, np.inf, 1e-5, 1e12], ids=["nan", "inf", "near-zero", "absurd"])
def test_bad_stamps_are_counted_and_never_used(stamp, flowing, measured):
    service, amp = flowing(n=200)
    stamps = amp.stamps(20)
    stamps[5:15] = stamp
    amp.push(eeg(20), stamps_s=stamps)
    amp.push(eeg(120))
    received, lost = run(service, amp)
    assert (received, lost) == (340, 0)
    assert clean(service)
    assert all(abs(row["t"] - amp.t0_s) < 10 for row in service.verdicts() if row["valid"])
    assert "10 timestamps were not times" in service.said
    measured(
        f"10 stamps are {stamp:g}", "counted, never used; no decision from them",
        f"sent 340 = received {received} + lost {lost}; 10 counted as no times; "
        f"no window spans them",
    )  # fmt: skip


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_bursts_of_values_that_are_no_numbers_decide_nothing(value, flowing, measured):
    service, amp = flowing(n=100)
    x = eeg(200)
    x[20:45, 2] = value
    bad_s = amp.t0_s + 1.20
    amp.push(x)
    received, lost = run(service, amp)
    assert (received, lost) == (300, 0)
    assert not [r for r in service.verdicts() if r["valid"] and bad_s - 1e-3 < r["t"] < bad_s + 0.25 + 0.49 - 1e-3]
    assert "25 not finite" in service.said
    measured(
        f"a burst of 25 samples of {value:g}", "counted; no decision from them, nor until a full window after them",
        f"25 counted; no decision for {25 + 49} samples; sent 300 = received {received} + lost {lost}",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "float64"])
def test_streams_of_other_numbers_are_decoded_as_their_microvolts(kind, flowing, bundle, measured):
    service, amp = flowing(n=0, format=kind)
    x = np.clip(np.round(eeg(60)), -120, 120)
    amp.push(x.astype(kind), speed=1)
    received, lost = run(service, amp)
    first = next(row for row in service.verdicts() if row["valid"])
    assert (received, lost) == (60, 0)
    offline = load(bundle).decode(amp.window(x, first["t"]).astype(np.float32))
    assert [first["p"]["left"], first["p"]["right"]] == pytest.approx(offline.tolist(), abs=1e-12)
    measured(
        f"a stream of {kind}", "decoded like the same microvolts in float32",
        f"the first decision differs from the offline one by {abs(first['p']['left'] - offline[0]):.1g}; "
        f"sent 60 = received 60 + lost 0",
    )  # fmt: skip


@pytest.mark.parametrize("spec", [{"format": "string"}, {"sfreq_hz": 0.0}], ids=["string", "irregular"])
def test_streams_that_are_no_eeg_are_refused(spec, serve, amplifier, measured):
    amp = amplifier(**spec)
    service = serve(amp)
    assert service.wait() == 4
    said = "carries string values: expected numbers" if "format" in spec else "has no fixed rate: expected one"
    assert said in service.said
    what = "strings of type EEG" if "format" in spec else "an irregular rate"
    measured(f"a stream of {what}", "REFUSED, exit code 4", f"exit 4: '{said}'")


def test_a_nominal_rate_that_is_not_the_real_one_is_named(serve, feeder, measured, tmp_path, make_decoder):
    make_decoder(path=tmp_path / "kilohertz.safetensors", sfreq_hz=1000.0, n_window=500)
    amp = feeder(sfreq_hz=1000.0, sends_hz=250.0, waits=True)
    service = serve(amp, bundle=tmp_path / "kilohertz.safetensors")
    assert service.wait() == 4
    assert "says that it has 1000 Hz, and its timestamps say 250." in service.said
    assert not [row for row in service.verdicts() if row["valid"]]
    measured(
        "a nominal rate of 1000 Hz, really 250", "REFUSED with both rates; nothing is decided",
        "exit 4: 'says that it has 1000 Hz, and its timestamps say 250'; 0 decisions",
    )  # fmt: skip


def test_an_hour_of_drift_and_jitter_is_no_loss(make_decoder, measured):
    decoder = make_decoder(sfreq_hz=1000.0, n_window=500)
    pipeline = Pipeline(decoder, FreeRunning(decoder, hop=10_000))
    rng = np.random.default_rng(7)
    x = rng.normal(0, 20, (1000, 4)).astype(np.float32)
    n_broken = 0
    for start in range(0, 3_600_000, 1000):
        n = np.arange(start, start + 1000)
        t_s = 5000 + n / 1000 * (1 + 100e-6) + rng.normal(0, 3e-3, 1000)
        n_broken += sum(d.probs is None for d in pipeline.process(Chunk(x, t_s)) if start > 10_000)
        pipeline.catch_up()
    counts = pipeline.front_end.losses.counts
    assert (counts.n_received, counts.n_lost, counts.n_clock_steps) == (3_600_000, 0, 0)
    measured(
        "an hour of 100 ppm of clock drift and 3 ms of jitter, at 1000 Hz", "no false loss",
        f"0 of 3,600,000 samples counted as lost, {n_broken} breaks after the first 10 s (in data time)",
    )  # fmt: skip
