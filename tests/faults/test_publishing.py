"""Publishing: readers that freeze an outlet, stand still, or come late."""

from __future__ import annotations

import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from pretap_realtime import lsl
from real_lsl import Child, Listener, until

_FIVE_AT_ONCE = ("--hop-ms", "10")  # the amplifier sends five samples at a time: five decisions are ready together


@pytest.fixture
def reader(tmp_path, ending):
    """Start a reader of a stream that asks for a buffer of `n_buffer` samples; see reader.py."""

    def reader(name: str, *, n_buffer: int, again: bool = False, reads=True) -> Child:
        script = Path(__file__).with_name("reader.py")
        spec = json.dumps({"name": name, "buffer": n_buffer, "again": again, "reads":reads})
        ending.append(Child(tmp_path, [sys.executable, str(script), spec]))
        ending[-1].wait_for("attached")
        return ending[-1]

    return reader


def announcement(service, kind="", *, n=1):
    """Wait for the n-th message of the log that tells of a frozen outlet."""

    def found():
        rows = [row for row in service.rows if "was frozen by one of its readers" in row["why"]]
        return rows[n - 1] if len(rows) >= n else None

    row = until(found, lambda: f"announcement {n} in:\n{service.said}")
    assert f"{service.name}-{kind}" in row["why"]
    return row


def held_up_ms(row):
    return int(re.search(r"held up for (\d+) ms", row["why"]).group(1))


def without_holes(rows):
    """Whether the numbers of a log go on by one; heartbeats, which are not in it, take some."""
    return all(later["seq"] > row["seq"] for row, later in pairwise(rows))


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("kind", ["markers", "codes", "probabilities"])
def test_a_reader_with_a_buffer_of_one_sample_freezes_nothing_for_long(serve, feeder, reader, measured, kind,reads):
    service = serve(feeder(), *_FIVE_AT_ONCE)
    service.wait_for_verdict()
    began_s = lsl.local_clock()
    reader(f"{service.name}-{kind}", n_buffer=1,reads=reads)
    row = announcement(service, kind)
    print(service.said)
    assert service.interrupt() == 0
    print(service.said)
    print(json.dumps(service.rows[-3:], indent=1))
