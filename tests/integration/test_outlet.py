"""Rows pushed through our own calls of liblsl's functions arrive as they were sent, if there is a reader."""

from __future__ import annotations

import itertools
import sys

import msgspec
import pylsl
import pytest

from pretap_realtime.lsl.description import describe
from pretap_realtime.lsl.outlet import Outlet
from pretap_realtime.send import outlet_sink
from pretap_realtime.send.messages import Message, ServiceDescription, encode
from pretap_realtime.send.sink import Outgoing
from real_lsl import Child, resolve

ROWS = {
    "string": [["left"], ["ü, Ж and \t"], [""], ['{"p": 0.25}']],
    "int32": [[1], [-(2**31)], [0], [2**31 - 1]],
    "float32": [[0.25, -1.5, 3e38], [0.0, 1e-45, 1.0], [1.0, 2.0, 3.0], [-0.0, 5.0, 6.0]],
}
T_S = [1000.25, 1000.5, 1000.75, 1001.0]

CLOSE_OUTLETS = """
import threading, pylsl
from pretap_realtime.lsl.library import LOST_ERRORS, LslTimeoutError
from pretap_realtime.lsl.outlet import Outlet

def come_and_go(info, closed):
    while not closed.is_set():
        try:
            pylsl.StreamInlet(info, recover=False).info(timeout=1)
        except (*LOST_ERRORS, LslTimeoutError):
            return

def open_and_close(name):
    for k in range(40):
        outlet = Outlet(f"{name}-{k}", "x", labels=["a"], format="float32")
        (info,) = pylsl.resolve_byprop("name", f"{name}-{k}", timeout=60)
        closed = threading.Event()
        readers = [threading.Thread(target=come_and_go, args=(info, closed)) for _ in range(2)]
        for reader in readers:
            reader.start()
        closed.wait(0.02)
        outlet.close()
        closed.set()
        for reader in readers:
            reader.join()
        print("closed", flush=True)

threads = [threading.Thread(target=open_and_close, args=(f"closing-{k}",)) for k in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.fixture(params=ROWS)
def rows(request):
    return request.param, ROWS[request.param]


def reader(name):
    inlet = pylsl.StreamInlet(pylsl.resolve_byprop("name", name, timeout=60)[0], recover=False)
    inlet.open_stream(timeout=60)
    return inlet


def reader_of(kit, outlet, name):
    inlet = reader(name)
    kit.until(outlet.has_consumers, "the reader")
    return inlet


def pulled(inlet, n):
    found = [inlet.pull_sample(timeout=60) for _ in range(n)]
    return [row for row, _ in found], [t_s for _, t_s in found]


def test_rows_that_are_sent_together_arrive_in_order_each_with_its_timestamp(kit, rows):
    kind, sent = rows
    name = f"outlet-{kind}"
    outlet = Outlet(name, "x", labels=["a", "b", "c"][: len(sent[0])], format=kind)
    inlet = reader_of(kit, outlet, name)
    outlet.push_sample(sent[0], T_S[0])
    outlet.push_samples(sent[1:], T_S[1:])
    received, t_s = pulled(inlet, len(sent))
    assert t_s == T_S
    for row, expected in zip(received, sent, strict=True):
        assert list(row) == (expected if kind == "string" else pytest.approx(expected, rel=1e-6))
    outlet.close()


def test_a_row_that_is_not_pushed_through_goes_with_the_next_one(kit):
    outlet = Outlet("outlet-held", "x", labels=["a"], format="int32")
    inlet = reader_of(kit, outlet, "outlet-held")
    outlet.push_sample([1], T_S[0], through=False)
    assert inlet.pull_sample(timeout=0.3) == (None, None)
    outlet.push_sample([2], T_S[1])
    assert pulled(inlet, 2) == ([[1], [2]], T_S[:2])
    outlet.close()


def test_bytes_are_sent_as_they_are(kit):
    outlet = Outlet("outlet-bytes", "x", labels=["a"], format="string")
    inlet = reader_of(kit, outlet, "outlet-bytes")
    outlet.push_sample(["ü".encode()], T_S[0])
    assert inlet.pull_sample(timeout=60) == (["ü"], T_S[0])
    outlet.close()


@pytest.mark.parametrize("row", [[], [1.0], [1.0, 2.0, 3.0]])
def test_a_row_of_another_length_is_refused(row):
    outlet = Outlet("outlet-short", "x", labels=["a", "b"], format="float32")
    with pytest.raises(ValueError):  # noqa: PT011 - ctypes' own message
        outlet.push_sample(row, T_S[0])
    outlet.close()


def test_messages_are_only_written_for_readers_and_a_late_reader_gets_all_from_then_on(kit, monkeypatch):
    written = []
    monkeypatch.setattr(outlet_sink, "encode", lambda message: written.append(message.seq) or encode(message))
    sink = outlet_sink.OutletSink("unread", classes=("left", "right"), format="json", sha256="0")
    seqs = itertools.count()

    def send():
        seq = next(seqs)
        t_s = T_S[0] + seq
        message = Message(type="verdict", seq=seq, label="right", state="RUNNING", t=t_s, sent=t_s)
        item = Outgoing(message, code=2, row=(0.25, 0.75, 1.0))
        sink.send_probabilities([item])
        sink.send([item])
        return seq

    for _ in range(3):  # the first one opens the outlets
        send()
    assert written == []
    texts, codes = reader("unread-markers"), reader("unread-codes")
    kit.until(lambda: send() in written and codes.pull_sample(timeout=0.0)[0], "both readers")
    last = [send() for _ in range(3)]
    assert written == list(range(written[0], last[-1] + 1))
    received, t_s = pulled(texts, len(written))
    assert [msgspec.json.decode(text)["seq"] for (text,) in received] == written
    assert t_s == [T_S[0] + seq for seq in written]
    t_s = []
    while t_s[-1:] != [T_S[0] + last[-1]]:
        code, timestamp_s = codes.pull_sample(timeout=60)
        assert code == [2]
        t_s.append(timestamp_s)
    assert t_s[-3:] == [T_S[0] + seq for seq in last]
    sink.group.close()


def test_every_outlet_of_a_service_describes_how_it_decides():
    events = {"left": ("tap/left", "1"), "right": ("<&\u00b5>",)}
    service = ServiceDescription(events=events, offset_ms=-130.0, is_cued=True, cue_query="name=<task>")
    sink = outlet_sink.OutletSink("told", classes=("left", "right"), format="json", sha256="0", service=service)
    message = Message(type="state", seq=0, state="RUNNING", t=T_S[0], sent=T_S[0])
    sink.send([Outgoing(message)])
    for kind in ("markers", "codes", "probabilities"):
        assert msgspec.json.decode(describe(resolve(f"told-{kind}")).service, type=ServiceDescription) == service
    sink.group.close()


def test_outlets_that_close_while_readers_come_and_go_do_not_crash(tmp_path, ending):
    """Without the remedy of `_StreamOutlet`, liblsl crashed in 5 of 10 runs on two cores at load 5."""
    child = Child(tmp_path, [sys.executable, "-c", CLOSE_OUTLETS])
    ending.append(child)
    assert (child.wait(), child.said.count("closed")) == (0, 160), child.said
