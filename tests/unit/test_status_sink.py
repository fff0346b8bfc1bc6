"""The status line shows the rate of the decisions, and the verdict with its own probability."""

from __future__ import annotations

import pytest

from pretap_realtime.send.messages import Message
from pretap_realtime.send.sink import Outgoing
from pretap_realtime.serve.status import StatusSink


class Shown:
    """The fields that a sink shows, on a clock that a test sets."""

    def __init__(self) -> None:
        self.now_s, self.fields = 100.0, []
        self._sink = StatusSink(self._show, clock=lambda: self.now_s)

    def _show(self, fields) -> None:
        self.fields = list(fields)

    def send(self, kind: str, **facts) -> list[str]:
        message = Message(type=kind, seq=0, state="RUNNING", t=0.0, sent=0.0, **facts)
        self._sink.send([Outgoing(message=message)])
        return self.fields


def test_states_between_heartbeats_do_not_change_the_rate_of_the_decisions():
    shown = Shown()
    for _ in range(4):
        for _ in range(10):
            shown.now_s += 0.05
            shown.send("verdict", label="left", p={"left": 0.9, "right": 0.1})
        assert shown.send("heartbeat")[2] == "20.0/s"
    for _ in range(6):
        shown.now_s += 0.003
        assert shown.send("state")[2] == "20.0/s"


@pytest.mark.parametrize(
    ("label", "expected"), [("left", "left 0.20"), ("right", "right 0.80"), ("none", "none")]
)  # a policy with memory may give a class that is not the likeliest of the newest window
def test_a_verdict_is_shown_with_its_own_probability(label, expected):
    shown = Shown()
    shown.send("verdict", label=label, p={"left": 0.2, "right": 0.8})
    assert shown.send("heartbeat")[1] == expected
