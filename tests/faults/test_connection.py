"""The connection: a stream that comes late, dies, freezes, returns or is another one."""

from __future__ import annotations

from pretap_realtime import lsl


def test_no_stream_is_waited_for_and_then_said(serve, measured):
    before_s = lsl.local_clock()
    service = serve("name=nobody", "--wait-s", "1")
    assert service.wait() == 3
    took_s = lsl.local_clock() - before_s
    assert "Asked for 'name=nobody'" in service.said
    assert service.states() == ["WAITING"]
    measured(
        "no stream", "WAITING, then exit code 3 with what was asked for and what is there",
        f"exit 3, {took_s:.1f} s after the start with --wait-s 1",
    )  # fmt: skip


def test_a_killed_source_is_said_to_be_lost_at_once(serve, feeder, measured):
    amp = feeder(source_id="amp-1")
    service = serve(amp)
    listener = service.listener
    listener.wait_for(lambda m: m.type == "verdict" and m.valid, "a verdict")
    killed_s = lsl.local_clock()
    amp.kill()
    lost = listener.wait_for_state("LOST")
    assert lost.sent - killed_s < 0.5
    measured("kill -9 of the source", "LOST within 0.5 s", f"LOST after {1000 * (lost.sent - killed_s):.0f} ms")
