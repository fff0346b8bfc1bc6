"""Endings: Ctrl-C, SIGTERM and kill -9, in every state."""

from __future__ import annotations

import contextlib
import re
import signal

import pytest

from pretap_realtime.lsl.library import ConnectionLostError, local_clock
from real_lsl import LABELS, Mute, eeg, until


def waiting(serve, amplifier, ending):
    return serve("name=nobody")


def validating(serve, amplifier, ending):
    ending.append(Mute("mute-amp"))  # found, and then it never describes itself
    return serve("name=mute-amp")


def running(serve, amplifier, ending):
    amp = amplifier(sfreq_hz=5.0)  # so slow that it is not stale for a while
    return serve(amp, "--set", "stream.sfreq_hz=100")


def stale(serve, amplifier, ending):
    amp = amplifier()
    service = serve(amp)
    amp.wait_for_reader()
    amp.push(eeg(20))
    return service


def lost(serve, amplifier, ending):
    amp = amplifier()
    service = serve(amp)
    service.wait_for_states("RUNNING")
    amp.end()
    return service


def refused(serve, amplifier, ending):
    amp = amplifier(source_id="amp-refused")
    service = serve(amp)
    service.wait_for_states("RUNNING")
    amp.end()
    service.wait_for_states("LOST")
    amplifier(name=amp.name, labels=LABELS[:2])
    return service


def told(service):
    """Give the states as its terminal tells them: while it waits for an answer, its log is a moment behind."""
    return re.findall(r"^(?:\w+ -> )?([A-Z]{4,})(?::|$)", service.said, re.MULTILINE)


STATES = {each.__name__.upper(): each for each in (waiting, validating, running, stale, lost, refused)}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
@pytest.mark.parametrize("state", STATES)
def test_a_signal_ends_it_in_every_state_with_its_summary(state, number, serve, amplifier, ending, measured):
    service = STATES[state](serve, amplifier, ending)
    until(lambda: told(service)[-1:] == [state], lambda: f"{state}, was {told(service)}\n{service.said}")
    asked_s = local_clock()
    assert service.interrupt(number) == 0
    took_s = local_clock() - asked_s
    assert "decisions" in service.said
    assert "samples received" in service.said
    assert "Traceback" not in service.said
    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    measured(f"{name} in {state}", "exit code 0 and the summary", f"exit 0 after {took_s:.2f} s, with the summary")


def test_kill_9_of_the_service_leaves_a_whole_log_and_a_free_amplifier(serve, feeder, measured):
    amp = feeder()
    service = serve(amp, "--hop-ms", "10")
    listener = service.listener
    first = listener.wait_for(lambda m: m.type == "verdict" and m.valid, "a verdict")
    listener.wait_for(lambda m: m.seq > first.seq + 50, "half a second of verdicts")
    killed_s = local_clock()
    service.kill()
    with pytest.raises(ConnectionLostError):
        until(lambda: listener.messages and False, "the end of the outlet")
    noticed_s = local_clock() - killed_s
    text = service.log_file.read_bytes()
    assert text.endswith(b"\n")
    last = service.rows[-1]
    sent = {m.seq for m in _decoded(listener) if m.type != "heartbeat" and m.sent < killed_s - 0.1}
    assert len(sent) > 30
    logged = [row["seq"] for row in service.rows]
    assert sent <= set(logged)  # readers get a message some milliseconds before the log
    assert logged == sorted(logged)
    assert killed_s - last["sent"] < 1.0
    n_before = amp.n_sent
    until(lambda: amp.n_sent > n_before, "the amplifier to go on")
    again = serve(amp)
    again.wait_for_verdict()
    measured(
        "kill -9 of the service", "consumers notice; the log has all but the last 0.1 s; a new service starts",
        f"consumers notice after {1000 * noticed_s:.0f} ms; the last line is {1000 * (killed_s - last['sent']):.0f} ms "
        "old and whole; the amplifier and a new service go on",
    )  # fmt: skip


def _decoded(listener):
    import msgspec

    from pretap_realtime.send.messages import Message

    with contextlib.suppress(ConnectionLostError):
        listener.poll()
    return [msgspec.json.decode(text, type=Message) for text in listener.texts]
