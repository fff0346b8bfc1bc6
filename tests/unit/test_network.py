"""The network outputs: their queue, their failures and their addresses."""

from __future__ import annotations

import threading

import pytest

from pretap.config.reading import load_config
from pretap.config.serve import OutputsConfig, ServeConfig
from pretap.errors import UsageError
from pretap_realtime.send.messages import Message
from pretap_realtime.send.network.network_sink import NetworkSink
from pretap_realtime.send.sink import Outgoing

LONG_S = 60


def batch(*seqs):
    return [Outgoing(Message(type="verdict", seq=seq, state="RUNNING", t=0, sent=0)) for seq in seqs]


class Slow:
    """Sends a message only once it may."""

    name = "slow"

    def __init__(self):
        self.may_go, self.has_begun = threading.Event(), threading.Event()
        self.sent = []

    def close(self):
        self.is_closed = True

    def send(self, item):
        self.has_begun.set()
        assert self.may_go.wait(LONG_S)
        self.sent.append(item.message.seq)


class Broken(Slow):
    name = "broken"

    def send(self, item):
        raise OSError(90, "Message too long")


def test_a_sender_that_hangs_delays_no_decision_and_what_does_not_fit_is_counted_and_said():
    slow, said = Slow(), []
    sink = NetworkSink([slow], say=said.append)
    sink.send(batch(0))
    assert slow.has_begun.wait(LONG_S)
    sink.send(batch(*range(1, 601)))  # 512 fit; this returns though nothing can be sent
    sink.send(batch(601))
    assert sink.n_dropped == 601 - 512
    slow.may_go.set()
    sink.close()
    assert slow.sent == list(range(513))
    assert said == [
        "WARNING: the outputs are slower than the decisions: messages are dropped, and counted",
        "the outputs dropped 89 messages",
    ]


def test_what_is_pending_is_sent_before_the_senders_close():
    slow = Slow()
    slow.may_go.set()
    sink = NetworkSink([slow], say=lambda _: None)
    for n in range(100):
        sink.send(batch(n))
    sink.close()
    assert slow.sent == list(range(100))
    assert slow.is_closed


def test_a_sender_that_fails_is_said_once_and_the_others_go_on():
    good, said = Slow(), []
    good.may_go.set()
    sink = NetworkSink([Broken(), good], say=said.append)
    sink.send(batch(0, 1, 2))
    sink.close()
    assert good.sent == [0, 1, 2]
    assert said == [
        "WARNING: broken: a message could not be sent: Message too long",
        "the outputs dropped 3 messages",
    ]


def test_by_default_every_output_is_off_and_only_pages_of_this_machine_may_connect():
    own_pages = ("http://127.0.0.1:8000", "http://localhost:8000")
    assert OutputsConfig() == OutputsConfig(websocket="", osc="", udp="", websocket_origins=own_pages)


@pytest.mark.parametrize("text", [":8765", "127.0.0.1:8765", "[::1]:8765", "my-machine.local:8765"])
def test_addresses(text):
    assert load_config(ServeConfig, None, [f'outputs.websocket="{text}"']).outputs.websocket == text


@pytest.mark.parametrize(
    "setting",
    [
        'outputs.udp="9001"',
        'outputs.udp="host"',
        'outputs.udp=":0"',
        'outputs.osc=":65536"',
        'outputs.udp="a b:1"',
        'outputs.websocket_origins=["*"]',
        'outputs.websocket_origins=["http://a/path"]',
    ],
)
def test_invalid_addresses_and_origins_are_refused(setting):
    with pytest.raises(UsageError, match=r"outputs"):
        load_config(ServeConfig, None, [setting])
