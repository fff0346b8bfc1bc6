"""Publishing: readers that freeze an outlet, stand still, or come late."""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from pretap_realtime import lsl
from real_lsl import Child, until

_MANY_AT_ONCE = ("--hop-ms", "10")  # with 25 samples at a time: 25 decisions are ready together, and pushed in a row


@pytest.fixture
def hostile(tmp_path, ending):
    """Start a reader that asks for a buffer of one sample until the outlet freezes; see reader.py."""

    def hostile(name: str, *, n_times: int = 1) -> Child:
        script = Path(__file__).with_name("reader.py")
        ending.append(Child(tmp_path, [sys.executable, str(script), name, str(n_times)]))
        return ending[-1]

    return hostile


def announcements(service):
    """Give the log's messages that tell of a frozen outlet."""
    return [row for row in service.rows if "was frozen by one of its readers" in row["why"]]


def announced(service, n=1):
    """Wait for the n-th of them."""
    rows = until(lambda: announcements(service)[n - 1 :], lambda: f"frozen outlet {n} in:\n{service.said}")
    return rows[0]


def figure(pattern, text):
    return float(re.search(pattern, text).group(1))


@pytest.mark.parametrize("kind", ["markers", "codes", "probabilities"])
def test_a_reader_with_a_buffer_of_one_sample_freezes_nothing_for_long(
    serve, feeder, hostile, measured, kind
):  # fmt: skip
    service = serve(feeder(chunk=25), *_MANY_AT_ONCE)
    service.wait_for_verdict()
    hostile(f"{service.name}-{kind}")
    row = announced(service)
    assert f"{service.name}-{kind}" in row["why"]
    assert row["why"] in service.said
    held_up_ms = figure(r"held up for (\d+) ms", row["why"])
    hung_ms = figure(r"hung for (\d+) ms", row["why"])
    assert held_up_ms < 50
    assert hung_ms < 1000
    found = until(lambda: lsl.find({"name": f"{service.name}-{kind}"}), "the new outlet")
    assert [f.source_id for f in found] == [f"{service.name}-{kind}"]  # and the frozen one is not there any more
    service.wait_for_verdict(lambda later: later["seq"] > row["seq"] + 50)
    rows = service.rows
    assert all(before["seq"] < after["seq"] for before, after in pairwise(rows))
    stamps_s = [verdict["t"] for verdict in service.verdicts()]
    pauses_s = [after - before for before, after in pairwise(stamps_s)]
    assert max(pauses_s) < 0.015, [(v["why"], v["seq"], v["t"]) for v in service.verdicts()]
    since_s = lsl.local_clock()
    assert service.interrupt() == 0
    took_s = lsl.local_clock() - since_s
    assert took_s < 2
    measured(
        f"a reader of {kind} asks for a buffer of 1 sample (liblsl #156)",
        "loop stalled < 50 ms; found within 1 s; same source_id; sequence goes on, no verdict left out; exit in time",
        f"stalled {held_up_ms:.0f} ms, replaced after {hung_ms:.0f} ms, exit in {took_s:.1f} s",
    )
