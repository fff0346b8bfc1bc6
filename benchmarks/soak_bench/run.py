"""The service under test and the replays for it. Import it inside an `IsolatedSession`: liblsl reads its file once."""

from __future__ import annotations

import dataclasses
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
from msgspec.structs import replace

from pretap.bundle.file import load
from pretap.bundle.shipped import find_bundle
from pretap.recordings.named import open_any
from pretap_realtime.check.isolated_session import IsolatedSession
from pretap_realtime.lsl.description import StreamInfo
from pretap_realtime.lsl.inlets import MarkerInlet
from pretap_realtime.lsl.library import local_clock
from pretap_realtime.lsl.resolver import StreamResolver
from pretap_realtime.replay.command import LINGER_S
from pretap_realtime.replay.report import Report
from pretap_realtime.send.messages import Message
from soak_bench.checks import Checks, Resources, check_growth, check_numbering
from soak_bench.days import Day, draw
from soak_bench.truth import Life, Truth

__all__ = ["Soak"]

_NAME, _COUNTER, _HOP_MS = "soak", "COUNT", 50.0
_RECORDING_S = 60
_WITHIN_S = 30.0
_LOOK_S = 0.05
_SETTLED_S = 3.0  # after this time, a service certainly reads an outlet
_MORE = 200  # extra samples that a killed replay may have sent, because its clock may be fast


class Soak:
    """A service under test, a listener, and one replay after the other."""

    def __init__(self, session: IsolatedSession, *, bundle: str, seed: int) -> None:
        self._session, self._rng = session, np.random.default_rng(seed)
        file = find_bundle(bundle)
        decoder = load(file)
        self._recording_file = session.folder / "soak_raw.fif"
        session.run("simulate", str(self._recording_file), "--seconds", str(_RECORDING_S), "--seed", str(seed))
        self._recording = open_any(str(self._recording_file), part="test")
        self._log = session.folder / "log.jsonl"
        settings = {"stream.query": f"name={_NAME}", "stream.counter": _COUNTER, "decode.hop_ms": f"{_HOP_MS:g}"}
        flags = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        self._serve = session.start("serve", str(file), "--log", str(self._log), "--wait-s", "inf", *flags)
        self._markers = MarkerInlet(self._found("pretap-markers"))
        self._markers.start()
        self._heard: list[str] = []
        self._resources: list[Resources] = []
        self.checks = Checks(decoder, round(_HOP_MS * decoder.manifest.sfreq_hz / 1000))
        self.days: list[dict[str, Any]] = []
        self._n_read = self._n_judged = 0
        self._messages: list[Message] = []
        self._n_taken = self._n_unknown = 0
        self._has_clocks = can_have_clocks()

    def _found(self, name: str) -> StreamInfo:
        resolver = StreamResolver({"name": name})

        def look() -> StreamInfo | None:
            found = resolver.wait()
            return found[0] if found else None

        return self._session.wait_for(f"The stream {name!r}", look, within_s=_WITHIN_S)

    def run(self, *, minutes: float) -> None:
        """Run random replays for `minutes`, or until a check fails."""
        end_s = time.monotonic() + 60 * minutes
        while (left_s := end_s - time.monotonic()) > 5 and not self.checks.wrong:
            day = draw(self._rng, longest_s=min(30.0, left_s))
            self._day(day if self._has_clocks else dataclasses.replace(day, clock_s=0))

    def end(self) -> str:
        """End the service, check its summary, and return it."""
        self._serve.send_signal(signal.SIGINT)
        code = self._wait(self._serve)
        said = self._session.output_of(self._serve)
        self._read_log()
        wrong = self.checks.wrong
        if code:
            wrong.append(f"serve ended with {code}: {said[-2000:]}")
        wrong += [
            f"serve printed: {line}" for line in said.splitlines() if re.search("Traceback|differs|dropped", line)
        ]
        wrong += check_growth(self._resources)
        counts = re.search(r"(\d+) samples received, (\d+) lost", said)
        if counts is None:
            wrong.append("serve printed no summary")
            return said
        n_accounted = sum(map(int, counts.groups()))
        if not self._n_taken <= n_accounted <= self._n_taken + self._n_unknown:
            wrong.append(f"received + lost = {n_accounted}; taken {self._n_taken} to {self._n_taken + self._n_unknown}")
        return said[said.rfind("\n", 0, said.rfind(" decisions,")) + 1 :]

    def _day(self, day: Day) -> None:
        report = self._session.folder / f"day-{len(self.days)}.json"
        command = [sys.executable, "-m", "pretap", "replay", str(self._recording_file), "--name", _NAME, "--loop"]
        command += ["--wait", "--counter", _COUNTER, "--json", str(report), *day.options]
        about = f"{day.length_s:.0f} s, {day.ending}, clock {day.clock_s:+d} s, {' '.join(day.options)}"
        print(f"day {len(self.days)}: {about}", file=sys.stderr)
        command = _with_clock(day.clock_s) + command
        with (self._session.folder / f"day-{len(self.days)}.log").open("wb") as log:
            replay = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            frozen_s, end_s = self._live_through(day, replay, report)
        finally:
            replay.kill()
            replay.wait()
        told = msgspec.json.decode(report.read_bytes(), type=Report)
        self._judge(day, _on_our_clock(told, day.clock_s), frozen_s=frozen_s, end_s=end_s)

    def _live_through(
        self, day: Day, replay: subprocess.Popen[bytes], report: Path
    ) -> tuple[list[tuple[float, float]], float]:
        """Run a replay; return when it was frozen and when it ended, on LSL's clock."""
        self._until(report.exists, "the first sample of a replay")
        start_s = local_clock()
        frozen: list[tuple[float, float]] = []
        for at_s, length_s in day.frozen_s:
            if frozen and start_s + at_s < frozen[-1][1] + 1:
                continue
            self._until(lambda due=start_s + at_s: local_clock() >= due, "a moment", within_s=day.length_s + 10)
            replay.send_signal(signal.SIGSTOP)
            begun_s = local_clock()
            self._until(lambda due=begun_s + length_s: local_clock() >= due, "a moment")
            replay.send_signal(signal.SIGCONT)
            frozen.append((begun_s, local_clock()))
        self._until(lambda: local_clock() >= start_s + day.length_s, "the day's end", within_s=day.length_s + 10)
        replay.send_signal(signal.SIGINT if day.ending == "Ctrl-C" else signal.SIGKILL)
        end_s = local_clock()
        self._wait(replay)
        self._until(self._has_ended, "LOST or REFUSED at the end of a day")
        return frozen, end_s

    def _has_ended(self) -> bool:
        states = [m.state for m in self._messages if m.type == "state"]
        return states[-1] in ("LOST", "REFUSED")

    def _judge(self, day: Day, report: Report, *, frozen_s: list[tuple[float, float]], end_s: float) -> None:
        last = report.connected[-1]
        is_known = day.ending == "Ctrl-C" and last.to_s is None and end_s - last.from_s > _SETTLED_S
        if day.ending == "Ctrl-C":
            n_taken = report.n_taken
        else:
            n_taken = round((end_s - report.t0_s) * self._recording.sfreq_hz) + _MORE
        truth = Truth.make(self._recording, day.faults, n_chunk=day.n_chunk, t0_s=report.t0_s, n_taken=n_taken)
        if day.ending == "Ctrl-C":
            truth.lives = [
                Life(each.from_s, np.inf if each.to_s is None else each.to_s, life.fits)
                for life, each in zip(truth.lives, report.connected, strict=True)
            ]
        truth.lives[0].from_s = report.connected[0].from_s
        if truth.lives[-1].to_s == np.inf:
            truth.lives[-1].to_s = end_s + (LINGER_S if day.ending == "Ctrl-C" else 0.0)
        messages, self._n_judged = self._messages[self._n_judged :], len(self._messages)
        self.checks.day(messages, truth, frozen_s=frozen_s)
        self._compare()
        if is_known and truth.lives[-1].fits:
            self._n_taken += n_taken
        else:
            sure = max((truth.n_taken_by(m.t) for m in messages if m.type == "verdict" and m.valid), default=0)
            self._n_taken += sure
            self._n_unknown += n_taken - sure
        states = [(m.sent, m.state, m.why) for m in messages if m.type == "state"]
        self.days.append(
            {
                "options": day.options,
                "ending": day.ending,
                "clock_s": day.clock_s,
                "frozen_s": frozen_s,
                "kinds": truth.kinds,
                "lives": [(each.from_s, each.to_s) for each in truth.lives],
                "states": states,
            }
        )

    def _compare(self) -> None:
        """Compare the marker stream with the log, message by message; the log leaves out heartbeats."""
        heard = [msgspec.json.decode(text, type=Message) for text in self._heard]
        self.checks.wrong += check_numbering([m.seq for m in heard])
        logged = {m.seq: m for m in self._messages if heard[0].seq <= m.seq <= heard[-1].seq}
        of_stream = {m.seq: m for m in heard if m.type != "heartbeat" and m.seq <= self._messages[-1].seq}
        differ = [seq for seq in logged | of_stream if logged.get(seq) != of_stream.get(seq)]
        self.checks.wrong += [f"seq {seq}: the marker stream and the log differ" for seq in differ]
        del self._heard[:-1]  # the numbering continues from the last one

    def _listen(self) -> None:
        """Read new messages, and measure the resources of the service."""
        if self._serve.poll() is None:
            self._heard += [cue.text for cue in self._markers.pull(_LOOK_S)]
            self._resources.append(_held(self._serve.pid))
        self._read_log()

    def _read_log(self) -> None:
        with self._log.open("rb") as log:
            log.seek(self._n_read)
            whole = log.read().rpartition(b"\n")[0]
        self._messages += [msgspec.json.decode(line, type=Message) for line in whole.splitlines()]
        self._n_read += len(whole) + bool(whole)

    def _until(self, condition: Callable[[], bool], what: str, *, within_s: float = _WITHIN_S) -> None:
        deadline_s = time.monotonic() + within_s
        while not condition():
            self._listen()
            self._session.check_children()
            if time.monotonic() > deadline_s:
                raise click.ClickException(f"{what}: not within {within_s:g} s")

    def _wait(self, child: subprocess.Popen[bytes]) -> int:
        try:
            return child.wait(10)
        except subprocess.TimeoutExpired:
            self.checks.wrong.append(f"process {child.args} did not end within 10 s")
            child.kill()
            return child.wait()

    def growth(self) -> str:
        """Describe the resources of the service after a quarter of the time and at the end."""
        early, late = (asdict(self._resources[k]) for k in (len(self._resources) // 4, -1))
        return ", ".join(f"{name} {early[name]:.1f} -> {late[name]:.1f}" for name in early)


def can_have_clocks() -> bool:
    """Whether this machine can run a process with another clock: Linux, as root, with time namespaces."""
    command = [*_with_clock(1), "true"]
    return shutil.which("unshare") is not None and subprocess.run(command, check=False).returncode == 0


def _with_clock(clock_s: int) -> list[str]:
    """Return what starts a command on a computer whose clock is `clock_s` ahead of this one's."""
    return ["unshare", "-T", "--monotonic", str(clock_s), "--boottime", str(clock_s)] if clock_s else []


def _on_our_clock(report: Report, clock_s: int) -> Report:
    lives = [
        replace(each, from_s=each.from_s - clock_s, to_s=None if each.to_s is None else each.to_s - clock_s)
        for each in report.connected
    ]
    return replace(report, t0_s=report.t0_s - clock_s, connected=lives)


def _held(pid: int) -> Resources:
    status = Path(f"/proc/{pid}/status").read_text()
    rss_kb, n_threads = (int(re.search(rf"^{key}:\s+(\d+)", status, re.M).group(1)) for key in ("VmRSS", "Threads"))
    return Resources(rss_kb / 1024, n_threads, len(list(Path(f"/proc/{pid}/fd").iterdir())))
