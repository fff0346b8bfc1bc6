"""The service's loop on a clock of the test: states, overload, age, silence."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from pretap.config.serve import PolicyConfig, StreamConfig
from pretap.errors import NoStreamError, StreamLostError, StreamRefusedError
from pretap_realtime.decide.modes import FreeRunning
from pretap_realtime.decide.pipeline import Pipeline
from pretap_realtime.decide.policy import Policy
from pretap_realtime.lsl.library import ConnectionLostError
from pretap_realtime.send.latencies import Latencies
from pretap_realtime.serve.service import Service
from pretap_realtime.serve.stream_clocks import StreamClock
from pretap_realtime.signal.chunk import Chunk
from pretap_realtime.signal.compatibility import Mapping


class Clock:
    """Seconds that pass only when somebody waits."""

    now_s = 1000.0

    def __call__(self):
        return self.now_s


class Script:
    """A connection that plays a list: a number is silence for so many seconds, a Chunk comes at once, an error is
    raised; at the end it asks the service to stop.
    """

    has_cues = False
    changed = ""
    max_buffered = 1000
    stream_clock = StreamClock()
    mapping = Mapping(order=(0, 1, 2, 3), factors=(1.0,) * 4, labels=("C3", "Cz", "C4", "O1"), sfreq_hz=100.0)

    def __init__(self, clock, stop, steps):
        self.now, self.stop, self.steps = clock, stop, list(steps)
        self.wanted = []  # how many samples the service waited for, pull by pull

    def pull(self, timeout_s, n_wanted=1):
        self.wanted.append(n_wanted)
        if not self.steps:
            self.stop.set()
            return None
        step = self.steps[0]
        if isinstance(step, float):
            self.now.now_s += min(timeout_s, step)
            self.steps[0] = step - timeout_s
            if self.steps[0] <= 0:
                self.steps.pop(0)
            return None
        self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def pull_cues(self):
        return []

    def newcomers(self):
        return []

    def clock(self):
        return self.stream_clock

    def close(self):
        pass


class Notes:
    """Takes what the service publishes."""

    def __init__(self):
        self.items = []
        self.latencies, self.n_dropped = Latencies(), 0

    def publish(self, *items):
        self.items += items

    @property
    def messages(self):
        return [item.message for item in self.items]

    def states(self):
        return [message.state for message in self.messages if message.type == "state"]


@pytest.fixture
def build(make_decoder):
    decoder = make_decoder(sfreq_hz=100.0, n_window=50)

    def build(connect, clock=None, stop=None, wait_s=1.0, reconnect_s=1.0):
        notes, said = Notes(), []
        service = Service(
            Pipeline(decoder, FreeRunning(decoder, hop=10)),
            notes,
            connect=connect,
            stream=StreamConfig(wait_s=wait_s, reconnect_s=reconnect_s),
            policy=Policy(PolicyConfig(), decoder.manifest),
            clock=clock or Clock(),
            stop=stop or threading.Event(),
            say=said.append,
        )
        return service, notes, said

    return build


class Audited(FreeRunning):
    """Calls `audit` with the stream's own audit for each of its audits."""

    def __init__(self, decoder, audit):
        super().__init__(decoder, hop=10)
        own_audit = self.lanes.audit
        self.lanes.audit = lambda: audit(own_audit)


def chunk(start, n, *, t0_s=1000.0):
    rng = np.random.default_rng(start)
    return Chunk(rng.normal(0, 20, (n, 4)).astype(np.float32), t0_s + np.arange(start, start + n) / 100)


def serve(service):
    for _ in service.run():
        pass
    return service.summary()


def connect_once(connection):
    def connect(validating):
        validating()
        return connection

    return connect


def test_a_session_is_announced_state_by_state(build):
    clock, stop = Clock(), threading.Event()
    steps = [chunk(0, 50), 0.5, chunk(50, 10), ConnectionLostError("gone")]
    first, second = Script(clock, stop, steps), Script(clock, stop, [chunk(0, 50, t0_s=1100.0)])
    answers = iter([None, first, None, second])

    def connect(validating):
        clock.now_s += 0.2
        connection = next(answers)
        if connection is not None:
            validating()
        return connection

    service, notes, said = build(connect, clock, stop)
    summary = serve(service)
    assert notes.states() == [
        "WAITING", "VALIDATING", "RUNNING", "STALE", "RUNNING", "LOST", "VALIDATING", "RUNNING",
    ]  # fmt: skip
    assert said[0] == "WAITING"
    assert "RUNNING -> STALE: no sample for 0.3 s" in said
    assert (summary.n_decisions, summary.losses.n_received) == (3, 110)


def test_a_heartbeat_comes_twice_a_second_whatever_the_state(build):
    clock, stop = Clock(), threading.Event()
    service, notes, _ = build(connect_once(Script(clock, stop, [5.0])), clock, stop)
    serve(service)
    beats = [message.t for message in notes.messages if message.type == "heartbeat"]
    told = [message.t for message in notes.messages]
    assert len(beats) >= 4
    assert max(np.diff(told)) <= 0.6 + 1e-9  # a pull takes up to 0.1 s


def test_more_than_half_a_second_at_once_is_skipped_to_the_newest_hop_and_counted(build):
    clock, stop = Clock(), threading.Event()
    service, notes, _ = build(connect_once(Script(clock, stop, [chunk(0, 50), chunk(50, 55)])), clock, stop)
    summary = serve(service)
    stamps = [message.t for message in notes.messages if message.type == "verdict" and message.valid]
    assert stamps == pytest.approx([1000.49, 1000.99])
    assert (summary.n_decisions, summary.n_skipped) == (2, 4)


def test_a_decision_older_than_a_second_is_withheld_and_kept_for_the_log(build):
    clock, stop = Clock(), threading.Event()
    clock.now_s = 1001.6
    service, notes, _ = build(connect_once(Script(clock, stop, [chunk(0, 50), chunk(50, 20)])), clock, stop)
    summary = serve(service)
    _warm_up, old, *fresh = [item for item in notes.items if item.message.type == "verdict"]
    assert (old.message.label, old.code, old.message.p, old.row) == ("none", 0, {}, (0.0, 0.0, 0.0))
    assert "older than 1 s" in old.message.why
    assert sum(old.withheld_p) == pytest.approx(1.0)
    assert [item.message.why for item in fresh] == ["older than 1 s when it was ready", ""]
    assert (summary.n_too_old, summary.n_decisions) == (2, 1)


@pytest.mark.parametrize("stream_clock", [StreamClock(0.25), StreamClock(0.25, is_real_time=False)])
def test_timestamps_of_another_clock_are_converted_and_data_time_has_no_latency(build, stream_clock):
    clock, stop = Clock(), threading.Event()
    script = Script(clock, stop, [chunk(0, 50)])
    script.stream_clock = stream_clock
    service, notes, _ = build(connect_once(script), clock, stop)
    serve(service)
    (decided,) = [item for item in notes.items if item.message.type == "verdict" and item.message.valid]
    assert decided.message.t == pytest.approx(1000.74)
    assert decided.has_latency == stream_clock.is_real_time
    assert decided.row == (*decided.message.p.values(), 1.0)


def test_decisions_are_withheld_while_an_offset_is_not_known_and_carry_the_time_of_this_machine(build):
    clock, stop = Clock(), threading.Event()
    script = Script(clock, stop, [chunk(0, 60), 1.0])
    script.stream_clock = StreamClock(why_unknown="the clock offset of the cue stream is not known yet")
    clock.now_s = 70.0
    service, notes, said = build(connect_once(script), clock, stop)
    stop.wait = lambda seconds: setattr(clock, "now_s", clock.now_s + seconds)
    serve(service)
    held = [item for item in notes.items if item.withheld_p]
    assert {item.message.why for item in held} == {"the clock offset of the cue stream is not known yet"}
    assert [item.message.t for item in held] == pytest.approx([71.0] * len(held), abs=0.1)  # after a second of patience
    assert [line for line in said if "so decisions are withheld. Does a firewall drop UDP?" in line]


def test_no_stream_in_time_is_said(build):
    clock = Clock()

    def connect(validating):
        clock.now_s += 0.2

    service, notes, _ = build(connect, clock, wait_s=1.0)
    with pytest.raises(NoStreamError, match="within 1 s"):
        serve(service)
    assert notes.states() == ["WAITING"]


def test_a_lost_stream_that_stays_away_is_given_up(build):
    clock, stop = Clock(), threading.Event()
    answers = iter([Script(clock, stop, [ConnectionLostError("gone")])])

    def connect(validating):
        clock.now_s += 0.2
        return next(answers, None)

    service, notes, _ = build(connect, clock, stop)
    with pytest.raises(StreamLostError, match="did not come back within 1 s"):
        serve(service)
    assert notes.states()[-1] == "LOST"


def test_the_first_stream_that_does_not_fit_ends_the_service(build):
    def connect(validating):
        validating()
        raise StreamRefusedError("lacks C3")

    service, notes, _ = build(connect)
    with pytest.raises(StreamRefusedError, match="lacks C3"):
        serve(service)
    assert notes.states() == ["WAITING", "VALIDATING", "REFUSED"]


def test_a_stream_that_returned_and_sends_no_eeg_is_refused_and_the_next_one_taken(build):
    clock, stop = Clock(), threading.Event()
    tiny = chunk(0, 60)
    tiny.x_uv[:] *= 1e-6
    first = Script(clock, stop, [chunk(0, 60), ConnectionLostError("gone")])
    second, third = Script(clock, stop, [tiny]), Script(clock, stop, [chunk(0, 60)])
    third.changed = "not as before: unit"
    answers = iter([first, second, third])

    def connect(validating):
        validating()
        return next(answers)

    service, notes, said = build(connect, clock, stop)
    serve(service)
    assert notes.states()[3:] == ["LOST", "VALIDATING", "RUNNING", "REFUSED", "VALIDATING", "RUNNING"]
    assert "EEG lies between" in next(message.why for message in notes.messages if message.state == "REFUSED")
    assert said[-1] == "VALIDATING -> RUNNING: not as before: unit"


def test_a_full_buffer_is_an_overflow_and_is_said(build):
    clock, stop = Clock(), threading.Event()
    script = Script(clock, stop, [chunk(0, 50), chunk(50, 999), chunk(1200, 1000)])
    service, notes, said = build(connect_once(script), clock, stop)
    summary = serve(service)
    assert (summary.n_overflows, summary.losses.n_lost) == (1, 151)
    told = "overflow: 1000 samples waited, the oldest are lost"
    assert f"WARNING: {told}" in said
    assert [message.state for message in notes.messages if message.why == told] == ["RUNNING"]
    assert "1 overflows of the buffer" in str(summary)


def test_skipped_decisions_are_said_once_at_a_heartbeat(build):
    clock, stop = Clock(), threading.Event()
    chunks = [chunk(0, 50), chunk(50, 100), 1.5, chunk(150, 100), 1.5]
    service, _, said = build(connect_once(Script(clock, stop, chunks)), clock, stop)
    summary = serve(service)
    told = [line for line in said if "skipped so far" in line]
    assert len(told) == 1
    assert told[0].startswith("WARNING: 9 decisions were skipped so far: more than 0.5 s of samples came at once")
    assert summary.n_skipped == 18


def test_a_newcomer_is_announced_at_a_heartbeat(build):
    clock, stop = Clock(), threading.Event()
    script = Script(clock, stop, [3.0])
    answers = iter([[], ["another stream"]])
    script.newcomers = lambda: next(answers, [])
    service, notes, said = build(connect_once(script), clock, stop)
    serve(service)
    assert said.count("WARNING: another stream") == 1
    assert [message.type for message in notes.messages if message.why == "another stream"] == ["state"]


def test_after_a_step_of_the_sources_clock_decisions_are_not_too_old_and_have_no_latency(build):
    clock, stop = Clock(), threading.Event()
    clock.now_s = 1004.0
    steps = [chunk(k, 20, t0_s=1000.0 if k < 400 else 999.0) for k in range(0, 600, 20)]
    service, notes, _ = build(connect_once(Script(clock, stop, steps)), clock, stop)
    summary = serve(service)
    last = notes.items[-1]
    assert (last.message.type, last.message.valid, last.has_latency) == ("verdict", True, False)
    assert last.message.t == pytest.approx(999.0 + 5.99)
    assert summary.losses.n_clock_steps == 1


@pytest.mark.parametrize(("takes_s", "n_audits"), [(0.0, 4), (0.006, 2)])
def test_now_and_then_the_newest_decision_is_audited_and_a_fault_is_announced_and_sent(make_decoder, takes_s, n_audits):
    decoder = make_decoder(sfreq_hz=100.0, n_window=50)
    asked_s = []

    def audit(own_audit):
        asked_s.append(clock.now_s)
        assert own_audit() == ""  # these lanes are right
        clock.now_s += takes_s
        return "self-audit failed: so they say" if len(asked_s) == 2 else ""

    clock, stop = Clock(), threading.Event()
    steps = [step for n in range(0, 4000, 20) for step in (chunk(n, 20), 0.2)]
    notes, said = Notes(), []
    service = Service(
        Pipeline(decoder, Audited(decoder, audit)),
        notes,
        connect=connect_once(Script(clock, stop, steps)),
        stream=StreamConfig(wait_s=1.0, reconnect_s=1.0),
        policy=Policy(PolicyConfig(), decoder.manifest),
        clock=clock,
        stop=stop,
        say=said.append,
    )
    began_s = clock.now_s
    serve(service)
    assert len(asked_s) == n_audits  # in 40 s; at most 0.03 % of the time
    assert asked_s[0] - began_s == pytest.approx(0.5 + 1, abs=0.3)  # a window, and a second
    assert np.diff(asked_s).min() > max(10, 3333 * takes_s)
    assert [line for line in said if "audit" in line] == ["WARNING: self-audit failed: so they say"]
    (told,) = [message for message in notes.messages if "audit" in message.why]
    assert (told.type, told.state, told.why) == ("state", "RUNNING", "self-audit failed: so they say")


def test_the_service_waits_for_half_of_what_the_next_decision_needs(build):
    clock, stop = Clock(), threading.Event()
    script = Script(clock, stop, [chunk(0, 25), chunk(25, 13), chunk(38, 6), chunk(44, 6), chunk(50, 1)])
    service, _, _ = build(connect_once(script), clock, stop)
    serve(service)
    assert script.wanted == [25, 13, 6, 3, 5, 5]  # windows of 50, a hop of 10


def test_a_stream_that_comes_and_goes_is_audited_no_more_often(make_decoder):
    decoder = make_decoder(sfreq_hz=100.0, n_window=50)
    asked_s = []

    def audit(_):
        asked_s.append(clock.now_s)
        clock.now_s += 0.02
        return ""

    clock, stop = Clock(), threading.Event()

    def script(k):
        steps = [step for n in range(0, 220, 20) for step in (chunk(n, 20, t0_s=1000 + 3 * k), 0.2)]
        return Script(clock, stop, steps + [ConnectionLostError("gone")] * (k < 12))

    scripts = map(script, range(13))
    service = Service(
        Pipeline(decoder, Audited(decoder, audit)),
        Notes(),
        connect=lambda _: next(scripts),
        stream=StreamConfig(wait_s=1.0, reconnect_s=1.0),
        policy=Policy(PolicyConfig(), decoder.manifest),
        clock=clock,
        stop=stop,
        say=lambda _: None,
    )
    began_s = clock.now_s
    serve(service)
    assert clock.now_s - began_s > 26
    assert len(asked_s) == 1  # 20 ms are 0.03 % of 67 s
