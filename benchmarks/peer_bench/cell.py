"""One cell: runs source, system and receiver in an LSL session of their own, for some seconds."""

from __future__ import annotations

import select
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peer_bench.processes import Child, child, cpu_s, rss_mb
from peer_bench.score import Received, Sent, count_misplaced, count_wrong, latencies
from peer_bench.systems import Job, System
from pretap.decoder.decoder import Decoder
from pretap_realtime.lsl.api_config import isolation

__all__ = ["CellError", "run_cell"]

_BENCHMARKS = Path(__file__).resolve().parents[1]
_START_S = 60.0  # at most, from the command to the first prediction: importing torch takes long on a busy machine
_WARM_UP_S = 1.5
_LAST_ROWS_S = 1.0  # for messages on their way at the end
_FILES = {"source": "sent.npz", "receiver": "got.npz"}


class CellError(Exception):
    """A cell that could not be measured."""


@dataclass(frozen=True)
class _Measured:
    """Begin and end of the measured interval on the LSL clock, and the cost of the system."""

    begin_s: float
    end_s: float
    costs: dict[str, float]


def run_cell(system: System, job: Job, *, chunk: int, seconds: float, decoder: Decoder) -> dict[str, Any]:
    """Measure a system for `seconds`; return the figures of one row.

    ``wrong`` counts those of ten predictions that differ when they are recomputed from the source's samples, and
    ``misplaced`` those that arrived twice or out of order.
    """
    with tempfile.TemporaryDirectory(prefix="peers-") as name:
        folder = Path(name)
        measured = _run(system, job, chunk=chunk, seconds=seconds, folder=folder)
        sent = Sent.read(folder / "sent.npz")
        try:
            got = Received.read(folder / "got.npz", sent)
        except ValueError as error:
            raise CellError(str(error)) from None
    found = latencies(sent, got, hop=job.hop, begin_s=measured.begin_s, end_s=measured.end_s)
    wrong = count_wrong(got, found.index, decoder.decode) if system.decides else 0
    return found.figures() | measured.costs | {"wrong": wrong, "misplaced": count_misplaced(got)}


def _run(system: System, job: Job, *, chunk: int, seconds: float, folder: Path) -> _Measured:
    """Run the three processes, which write ``sent.npz`` and ``got.npz`` to `folder`."""
    config = folder / "lsl_api.cfg"
    config.write_text(isolation(), encoding="utf-8")
    limit_s = round(_START_S + _WARM_UP_S + seconds + 60)
    session = {"LSLAPICFG": str(config), "BENCH_LIMIT_S": str(limit_s)}

    def ours(module: str, *arguments: str) -> Child:
        command = [sys.executable, "-m", f"peer_bench.{module}", *arguments, "--file", str(folder / _FILES[module])]
        options = {"environment": session, "ends_on": signal.SIGTERM, "limit_s": limit_s, "talks": True}
        return stack.enter_context(child(command, cwd=_BENCHMARKS, log=folder / f"{module}.log", **options))

    with ExitStack() as stack:  # the source, entered first, ends last
        source = ours("source", "--chunk", str(chunk))
        _line(source, "flows", wait_s=20)
        receiver = ours("receiver", "--stream", system.out)
        _line(receiver, "ready", wait_s=20)
        log, command = folder / "system.log", [str(system.python), *system.command(job)]
        options = {"environment": session | system.environment(job), "limit_s": limit_s, "talks": False}
        began_s = time.monotonic()  # LSL's clock
        process = stack.enter_context(child(command, cwd=folder, log=log, ends_on=signal.SIGINT, **options))
        try:
            first_s = float(_line(receiver, "first", wait_s=_START_S, needs=process))
        except CellError as failure:
            raise CellError(f"{failure}. Its last output: {_tail(log)}") from None
        measured = _measure(process, first_s=first_s, seconds=seconds)
        if process.poll() is not None:
            raise CellError(f"the system ended with exit code {process.returncode}: {_tail(log)}")
        measured.costs["start_s"] = round(first_s - began_s, 4)
    return measured


def _measure(process: Child, *, first_s: float, seconds: float) -> _Measured:
    time.sleep(max(0.0, first_s + _WARM_UP_S - time.monotonic()))
    before_s, begin_s = cpu_s(process.pid), time.monotonic()
    time.sleep(seconds)
    after_s, end_s = cpu_s(process.pid), time.monotonic()
    costs = {"cpu": round((after_s - before_s) / (end_s - begin_s), 4), "rss_mb": round(rss_mb(process.pid), 2)}
    time.sleep(_LAST_ROWS_S)
    return _Measured(begin_s, end_s, costs)


def _line(process: Child, word: str, *, wait_s: float, needs: Child | None = None) -> str:
    """Wait for a line that starts with `word` and return the rest of it, unless `needs` ends first."""
    assert process.stdout is not None
    deadline_s = time.monotonic() + wait_s
    while time.monotonic() < deadline_s:
        if select.select([process.stdout], [], [], 0.2)[0]:
            found, _, rest = process.stdout.readline().partition(" ")
            if found.strip() == word:
                return rest
            raise CellError(f"expected {word!r}, got {found!r}")
        if needs is not None and needs.poll() is not None:
            raise CellError(f"the system ended with exit code {needs.returncode} before its first prediction")
    raise CellError(f"no {word!r} within {wait_s:g} s")


def _tail(log: Path) -> str:
    return " | ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
