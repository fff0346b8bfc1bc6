"""Sinks and outlets that keep what they are sent, or hang, for the tests of the publisher and its threads."""

from __future__ import annotations

import threading
import time

from pretap_realtime.send.leader import Leader
from pretap_realtime.send.messages import Message
from pretap_realtime.send.publisher import Publisher
from pretap_realtime.send.sink import Outgoing

LONG_S = 60.0  # only guards against hanging: a busy machine may need its time


class Sink:
    """Keeps the messages it is sent."""

    def __init__(self):
        self.messages = []

    def send(self, batch):
        self.messages += [item.message for item in batch]

    def verdicts(self):
        return [message.t for message in self.messages if message.type == "verdict"]

    def seqs(self):
        return [message.seq for message in self.messages]


class Outlets(Sink):
    """Outlets that hang while they are frozen, as LSL's do if a peer asks for a buffer of one sample."""

    def __init__(self, *, is_frozen=False, may_hang=True):
        super().__init__()
        self.group, self.may_hang = self, may_hang
        self.is_frozen, self.n_rescues, self.probabilities = is_frozen, 0, []
        self.entered, self.thaw, self.returned = threading.Event(), threading.Event(), threading.Event()
        self._in_progress = None

    def send_probabilities(self, items):
        self.probabilities += [item.message.t for item in items if not item.is_sent]

    def send(self, batch):
        self._in_progress = batch
        if self.is_frozen:
            self.entered.set()
            self.thaw.wait(LONG_S)
            if self._in_progress is not batch:
                self.returned.set()
                return  # this thread was abandoned
        super().send(batch)

    def rescue(self):
        self.n_rescues += 1
        self.is_frozen = False
        self.send(list(self._in_progress))
        return "the outlet was frozen and is replaced"

    def begin_sending(self, batch):
        """Note what a call is sending."""
        self._in_progress = batch

    def freeze(self):
        self.thaw.clear()
        self.entered.clear()
        self.is_frozen = True

    def melt(self):
        self.is_frozen = False
        self.thaw.set()


def outgoing(kind="verdict", t_s=10.0, **facts):
    """Return a message without probabilities on its way out."""
    return Outgoing(Message(type=kind, seq=0, state="RUNNING", t=t_s, sent=t_s, **facts))


def verdict(t_s=10.0, **more):
    p = {"left": 0.75, "right": 0.25}
    message = Message(type="verdict", seq=0, state="RUNNING", label="left", p=p, t=t_s, sent=t_s)
    return Outgoing(message, code=1, row=(*p.values(), 1.0), **({"has_latency": True} | more))


def make_leader(*sinks, say=print, **more):
    """Return a publisher to these sinks, and its leader."""
    publisher = Publisher(sinks, clock=lambda: 10.5, say=say, **more)
    return publisher, Leader(publisher)


def until(condition, within_s=LONG_S):
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
