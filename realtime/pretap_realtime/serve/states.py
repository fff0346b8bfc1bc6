"""The state of the service: knows it, and announces changes, heartbeats, warnings and the signal's quality."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, astuple
from typing import Final, Literal

from pretap_realtime.decide.accuracy import Tally
from pretap_realtime.decide.pipeline import Pipeline
from pretap_realtime.send.messages import Message, State
from pretap_realtime.send.publisher import Publisher
from pretap_realtime.send.sink import Outgoing

OVERLOAD_S: Final = 0.5  # if more samples than this are waiting, the service skips to the newest hop
MAX_AGE_S: Final = 1.0  # an older decision is not a verdict any more
HEARTBEAT_S: Final = 0.5  # a late reader knows the state within a second, also while a stream is looked for


class HandedOverTally(Tally):
    """A tally that continues the counts of the previous worker, and stores its own for the next one."""

    def __init__(self, counts: memoryview[int]) -> None:
        super().__init__(*counts)
        self._counts = counts

    def add(self, label: str, true_class: str) -> None:
        super().add(label, true_class)
        for k, count in enumerate(astuple(self)):
            self._counts[k] = count


class StateReporter:
    """Tells the operator and the readers of the marker stream in which state the service is.

    Parameters
    ----------
    say
        Shows one line to the operator.
    tally
        The counts to continue.

    Attributes
    ----------
    state
        The current state; None before the first.
    tally
        The counts of verdicts whose true class is known, which every message tells.
    """

    def __init__(
        self,
        publisher: Publisher,
        pipeline: Pipeline,
        *,
        clock: Callable[[], float],
        say: Callable[[str], None],
        tally: Tally,
    ) -> None:
        self.state: State | None = None
        self.tally = tally
        self._publisher, self._pipeline, self._clock, self._say = publisher, pipeline, clock, say
        self._heartbeat_due_s = -math.inf
        self._quality = self._rate_note = ""
        self._warned_of: set[str] = set()

    def enter(self, state: State, why: str, *, facts: dict[str, str] | None = None) -> None:
        """Change the state, for the reason `why`; `facts` are added to the descriptions of our streams."""
        before, self.state = self.state, state
        if before == state:
            return
        change = f"{before} -> {state}" if before else state
        self._say(f"{change}: {why}" if why else change)
        self._send("state", why, facts=facts)

    def run(self, *, changed: str, rate_note: str, facts: dict[str, str]) -> None:
        """Enter RUNNING with a stream: `changed` is what differs from the last one, `rate_note` the resampling."""
        self._quality, self._rate_note = self._pipeline.front_end.status.describe(), rate_note
        self.enter("RUNNING", "; ".join(filter(None, (changed, self._quality, rate_note))), facts=facts)

    def beat(self) -> bool:
        """Send a heartbeat if one is due; return whether it was."""
        is_due = self._clock() >= self._heartbeat_due_s
        if is_due:
            why = "; ".join(filter(None, (self._rate_note, self._quality)))
            self._send("heartbeat", why if self.state == "RUNNING" else "")
        return is_due

    def warn(self, fault: str) -> None:
        """Warn the operator and the readers, without a change of state."""
        self._say(f"WARNING: {fault}")
        self._send("state", fault)

    def report_quality(self) -> None:
        """Announce the signal's quality if it has changed."""
        quality = self._pipeline.front_end.status.describe()
        if quality != self._quality:
            self._quality = quality
            self._say(quality or "the signal is good again")
            self._send("state", quality or "the signal is good again")

    def warn_of_skips(self, n_skipped: int) -> None:
        """Warn once if decisions were skipped."""
        if n_skipped:
            self.warn_once(
                "skips",
                f"{n_skipped} decisions were skipped so far: more than {OVERLOAD_S:g} s of samples came at once. The "
                "amplifier's program sends too rarely, or this computer is too slow",
            )

    def warn_of_age(self, n_too_old: int) -> None:
        """Warn once if decisions were too old to be published, unless a foreign clock explains it."""
        if n_too_old and "clock of the EEG" not in self._warned_of:
            self.warn_once(
                "age",
                f"{n_too_old} decisions so far were older than {MAX_AGE_S:g} s when they were ready: they are logged, "
                "and not published. The samples come late, or their timestamps are not on the clock of their computer",
            )

    def warn_once(self, subject: str, fault: str) -> None:
        """Warn of a fault, unless there is none or the subject was warned of before."""
        if fault and subject not in self._warned_of:
            self._warned_of.add(subject)
            self.warn(fault)

    def _send(self, kind: Literal["state", "heartbeat"], why: str, *, facts: dict[str, str] | None = None) -> None:
        assert self.state is not None
        now_s = self._clock()
        self._heartbeat_due_s = now_s + HEARTBEAT_S
        front_end = self._pipeline.front_end
        n_lost = front_end.losses.counts.n_lost
        is_checked = self.state in ("RUNNING", "STALE")
        message = Message(
            type=kind,
            seq=0,
            state=self.state,
            why=why,
            lost=n_lost,
            t=now_s,
            sent=now_s,
            bad=front_end.status.bad if is_checked else (),
            quality=round(front_end.status.current_share, 4) if is_checked else None,
            **asdict(self.tally),
        )
        self._publisher.publish(Outgoing(message, facts=facts))
