"""The service: one loop that finds a stream, checks it, decodes it, and says at every moment what state it is in."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pretap.decoder.decoder import Decoder
from pretap.errors import NoStreamError, StreamLostError, StreamRefusedError
from pretap_realtime.console.stopping import Stop
from pretap_realtime.decide.cues import truth
from pretap_realtime.decide.pipeline import Pipeline
from pretap_realtime.decide.policy import Policy
from pretap_realtime.lsl.library import ConnectionLostError
from pretap_realtime.send.messages import State
from pretap_realtime.send.publisher import Publisher
from pretap_realtime.send.sink import Outgoing, SendingCall
from pretap_realtime.serve.fast_path import Express
from pretap_realtime.serve.summary import Summary
from pretap_realtime.signal.chunk import Chunk, Cue, Decision
from pretap_realtime.signal.compatibility import Mapping, describe_rate

__all__ = ["Connection", "Service", "Timing"]

PULL_S = 0.1  # Ctrl-C is only seen when the C call returns
PULL_WITH_CUES_S = 0.002  # a cue may come after its last sample; it is not seen before this pull returns
HEARTBEAT_S = 0.5  # a late reader knows the state within a second, while a stream is looked for too
FIRST_AUDIT_S = 1.0  # after the first whole window
AUDIT_S = 10.0  # between self-audits, at least
AUDIT_SHARE = 3e-4  # of the time, at most: numpy takes 2 to 20 ms for a window, and decisions wait meanwhile
STALE_S = 0.3
OVERLOAD_S = 0.5  # more than this waiting: skip to the newest hop
TOO_OLD_S = 1.0  # an older decision is no verdict any more


class Connection(Protocol):
    """A stream that was found and fits, flowing."""

    def pull(self, timeout_s: float, n_wanted: int = 1) -> Chunk | None:
        """Wait for `n_wanted` samples, and give what is there; raises ConnectionLostError when their source is gone."""
        ...

    @property
    def mapping(self) -> Mapping: ...

    @property
    def has_cues(self) -> bool: ...

    def pull_cues(self) -> list[Cue]: ...

    @property
    def changed(self) -> str:
        """Say in what the stream differs from the one before; empty where there was none."""
        ...

    @property
    def n_most(self) -> int:
        """How many samples wait for a pull at most, before the oldest are lost."""
        ...

    def newcomers(self) -> list[str]:
        """Name each stream that could be meant too and has come since; without waiting."""
        ...

    def stamp_to_clock_s(self) -> float | None:
        """Give what makes the stream's stamps this machine's clock; None where its stamps are data time."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Timing:
    """How long to wait for a stream at the start, and for its return."""

    wait_s: float
    reconnect_s: float


class Service:
    """Finds, checks, decodes, publishes; see `run`.

    Parameters
    ----------
    connect
        Tries once, for at most 0.2 s or so: a connection, or None where no stream answers. `validating` is called
        when one does. Raises StreamRefusedError for one that does not fit.
    say
        Takes one line for the operator.
    make_express
        Gives for a connection what receives and sends in C, where that can be done.
    restarted
        Why this service takes the place of one that crashed, where it does: it then waits for the stream as for one
        that was lost.
    """

    def __init__(
        self,
        decoder: Decoder,
        pipeline: Pipeline,
        publisher: Publisher,
        *,
        connect: Callable[[Callable[[], None]], Connection | None],
        timing: Timing,
        policy: Policy,
        clock: Callable[[], float],
        stop: Stop,
        say: Callable[[str], None],
        make_express: Callable[[Any], Express | None] = lambda _: None,
        restarted: str = "",
    ) -> None:
        self._make_express, self._restarted = make_express, restarted
        self._manifest = decoder.manifest
        self._sfreq_hz = decoder.manifest.sfreq_hz
        self._window_s = decoder.manifest.n_window / self._sfreq_hz
        self._pipeline, self._publisher, self._connect = pipeline, publisher, connect
        self._timing, self._policy, self._clock, self._stop, self._say = timing, policy, clock, stop, say
        self._state: State | None = None
        self._heartbeat_due_s = self._audit_due_s = -math.inf
        self._quality = self._terms = ""
        self._told_of_skips = False
        self._summary = Summary()

    def run(self) -> Iterator[SendingCall | None]:
        """Serve until `stop` is set; yields what is in a hurry to be sent or done, see `publisher`.

        Raises
        ------
        NoStreamError, StreamRefusedError, StreamLostError
            When no stream came in time, the first one does not fit, or a lost one did not come back.
        """
        self._enter("WAITING", self._restarted)
        first = not self._restarted
        wait_s = self._timing.wait_s if first else self._timing.reconnect_s
        connection = yield from self._find(deadline_s=self._clock() + wait_s, first=first)
        while connection is not None:
            try:
                yield from self._serve(connection)
            except ConnectionLostError as lost:
                self._enter("LOST", str(lost))
            except StreamRefusedError as refusal:  # by what it sends
                self._enter("REFUSED", str(refusal))
                if first:
                    raise
            finally:
                connection.close()
                self._publish_all(self._pipeline.end(), stamp_to_clock_s=connection.stamp_to_clock_s())
            if self._stop.is_set():
                break
            self._publish_all(self._pipeline.interrupt(self._clock(), "the stream was lost"), stamp_to_clock_s=None)
            first = False
            connection = yield from self._find(deadline_s=self._clock() + self._timing.reconnect_s, first=False)

    def summary(self) -> Summary:
        """Give the accounts so far."""
        health, s = self._pipeline.health, self._summary
        s.n_received, s.n_lost, s.n_nonfinite = health.n_received, health.n_lost, health.n_nonfinite
        s.n_bad_stamps, s.n_clock_steps = health.n_bad_stamps, health.n_clock_steps
        s.smallest_gap_samples, s.n_skipped = health.smallest_gap_samples, self._pipeline.mode.n_skipped
        s.latencies, s.n_dropped = self._publisher.latencies, self._publisher.n_dropped
        return s

    def _find(self, *, deadline_s: float, first: bool) -> Generator[SendingCall | None, None, Connection | None]:
        """Look until a stream fits, the deadline passes or `stop` is set (None)."""
        refusal: StreamRefusedError | None = None
        while not self._stop.is_set():
            self._beat()
            yield None
            try:
                connection = self._connect(lambda: self._enter("VALIDATING", ""))
            except StreamRefusedError as error:
                if str(error) != str(refusal):
                    self._enter("REFUSED", str(error))
                refusal = error
                if first:
                    raise
                connection = None
                self._stop.wait(PULL_S)  # twins answer at once: do not ask without a pause
            except ConnectionLostError as lost:  # it went away while it was being checked
                self._enter("WAITING" if first else "LOST", str(lost))
                connection = None
            if connection is not None:
                self._begin(connection)
                return connection
            if self._clock() > deadline_s:
                raise self._gave_up(refusal, first=first)
        return None

    def _begin(self, connection: Connection) -> None:
        """Get the pipeline ready for this stream, and say on what terms it runs."""
        pipeline, mapping = self._pipeline, connection.mapping
        pipeline.health.now_s = lambda: self._stamped_now_s(connection)
        pipeline.begin(sfreq_hz=mapping.sfreq_hz, missing=mapping.missing, order=mapping.order)
        self._quality = pipeline.status
        facts = {}
        self._terms = ""
        if pipeline.delay_s:
            self._terms = describe_rate(mapping.sfreq_hz, self._sfreq_hz, delay_s=pipeline.delay_s)
            facts = {
                "resampling/from_hz": f"{mapping.sfreq_hz:g}",
                "resampling/to_hz": f"{self._sfreq_hz:g}",
                "resampling/delay_ms": f"{1000 * pipeline.delay_s:g}",
            }
        why = "; ".join(filter(None, [connection.changed, self._quality, self._terms]))
        self._enter("RUNNING", why, facts=facts)

    def _stamped_now_s(self, connection: Connection) -> float:
        """Give the time on the clock of the stamps; infinite where that is not known."""
        to_clock_s = connection.stamp_to_clock_s()
        return math.inf if to_clock_s is None else self._clock() - to_clock_s + self._pipeline.health.stepped_s

    def _gave_up(self, refusal: StreamRefusedError | None, *, first: bool) -> Exception:
        if first:
            return NoStreamError(f"No stream answered within {self._timing.wait_s:g} s.")
        if refusal is not None:
            return refusal
        return StreamLostError(f"The stream was lost and did not come back within {self._timing.reconnect_s:g} s.")

    def _serve(self, connection: Connection) -> Iterator[SendingCall | None]:
        pull_s = PULL_WITH_CUES_S if connection.has_cues else PULL_S
        last_s = self._clock()
        self._audit_due_s = max(self._audit_due_s, last_s + self._window_s + FIRST_AUDIT_S)
        intervals_s: deque[float] = deque(maxlen=101)
        yield None
        express = self._make_express(connection)
        n_most = connection.n_most
        n_overload = n_most  # what came while the stream was checked is no overload
        while not self._stop.is_set():
            to_clock_s = connection.stamp_to_clock_s()
            if express is None:
                chunk = connection.pull(pull_s, self._pipeline.n_wanted)
            else:
                self._arm(express, timeout_s=pull_s, n_overload=n_overload, stamp_to_clock_s=to_clock_s)
                yield express
                chunk = express.chunk()
            now_s = self._clock()
            if chunk is not None:
                if self._state == "STALE":
                    self._enter("RUNNING", "samples flow again")
                else:
                    intervals_s.append(now_s - last_s)
                last_s = now_s
                if len(chunk.t_s) >= n_most:
                    self._summary.n_overflows += 1
                    self._warn(f"overflow: {len(chunk.t_s)} samples waited, the oldest are lost")
                looked = yield from self._decide(chunk, express, stamp_to_clock_s=to_clock_s, n_overload=n_overload)
                yield None  # what follows has time until the next samples
                if looked:
                    self._pipeline.settle()
                self._look_after(looked=looked, now_s=now_s)
            else:
                self._note_silence(now_s - last_s, intervals_s)
            if connection.has_cues:
                decisions = [d for cue in connection.pull_cues() for d in self._pipeline.ask(cue, arrived_s=now_s)]
                decisions += self._pipeline.expire(now_s)
                self._publish_all(decisions, stamp_to_clock_s=connection.stamp_to_clock_s())
            if now_s >= self._heartbeat_due_s or n_overload == n_most:
                n_overload = math.floor(OVERLOAD_S * self._pipeline.health.rate_hz)
                self._announce(connection)
            if express is None:  # else what was said goes before its next call
                yield None

    def _announce(self, connection: Connection) -> None:
        """Say at a heartbeat what nobody would see otherwise: a second stream, decisions that were skipped."""
        if not self._beat():
            return
        for newcomer in connection.newcomers():
            self._warn(newcomer)
        n_skipped = self._pipeline.mode.n_skipped
        if n_skipped and not self._told_of_skips:
            self._told_of_skips = True
            self._warn(
                f"{n_skipped} decisions were skipped so far: more than {OVERLOAD_S:g} s of samples came at once. The "
                "amplifier's program sends too rarely, or this computer is too slow"
            )

    def _arm(self, express: Express, *, timeout_s: float, n_overload: int, stamp_to_clock_s: float | None) -> None:
        """Say on what terms it may decide, and send the numbers: not where they may have to be withheld."""
        is_plain = self._state == "RUNNING" and not self._pipeline.health.stepped_s
        decisions = express.arm(timeout_s=timeout_s, n_most=n_overload, too_old_s=TOO_OLD_S)
        self._settled(decisions, stamp_to_clock_s=stamp_to_clock_s)
        express.allow(sending=is_plain, stamp_to_clock_s=stamp_to_clock_s)

    def _note_silence(self, silent_s: float, intervals_s: Collection[float]) -> None:
        quiet_s = max(STALE_S, 3 * statistics.median(intervals_s)) if intervals_s else STALE_S
        if self._state == "RUNNING" and silent_s > quiet_s:
            self._enter("STALE", f"no sample for {silent_s:.1f} s")

    def _decide(
        self, chunk: Chunk, express: Express | None, *, stamp_to_clock_s: float | None, n_overload: int
    ) -> Generator[SendingCall | None, None, bool]:
        """Publish every decision that a chunk completes; of some the numbers are sent already.

        Says whether samples were looked at one by one: there may be something to say of them.
        """
        while express is not None:
            taken = express.taken()
            if taken is None:
                chunk = express.rest()
                break
            decisions = self._pipeline.took(taken, *express.found())
            self._publish_all(decisions, stamp_to_clock_s=stamp_to_clock_s, n_sent=express.n_sent)
            if express.is_done:
                return False
            self._settled(express.go_on(), stamp_to_clock_s=stamp_to_clock_s)
            yield express
        decisions = self._pipeline.push(chunk, newest_only=len(chunk.t_s) > n_overload)
        self._publish_all(decisions, stamp_to_clock_s=stamp_to_clock_s)
        return True

    def _settled(self, decisions: list[Decision], *, stamp_to_clock_s: float | None) -> None:
        """Publish what came of settling: an electrode is flat, or lives again."""
        if decisions:
            self._publish_all(decisions, stamp_to_clock_s=stamp_to_clock_s)
            self._tell_quality()

    def _look_after(self, *, looked: bool, now_s: float) -> None:
        """Say what is new of the signal's quality; now and then compare the newest decision with the reference's.

        Windows are recomputed once it differs.
        """
        if looked:
            self._tell_quality()
        if now_s > self._audit_due_s:
            began_s = self._clock()
            fault = self._pipeline.audit()
            ended_s = self._clock()
            self._audit_due_s = now_s + max(AUDIT_S, (ended_s - began_s) / AUDIT_SHARE)
            if fault:
                self._warn(fault)

    def _warn(self, fault: str) -> None:
        self._say(f"WARNING: {fault}")
        self._send_state("state", fault)

    def _tell_quality(self) -> None:
        quality = self._pipeline.status
        if quality != self._quality:
            self._quality = quality
            self._say(quality or "the signal is good again")
            self._send_state("state", quality or "the signal is good again")

    def _publish_all(self, decisions: list[Decision], *, stamp_to_clock_s: float | None, n_sent: int = 0) -> None:
        """Publish decisions; of the first `n_sent` with probabilities the numbers are sent already."""
        assert self._state is not None
        stepped_s = self._pipeline.health.stepped_s
        items = []
        for decision in decisions:
            is_out = n_sent > 0 and decision.probs is not None
            n_sent -= is_out
            why = "" if is_out else decision.why or self._withheld(decision, stamp_to_clock_s)
            verdict = self._policy.judge(decision, withheld=bool(why))
            if decision.why:
                self._summary.n_invalid += 1
            elif not why:
                self._summary.n_decisions += 1
                true = truth(decision.cue, self._manifest) if decision.cue else None
                self._summary.n_judged += true is not None
                self._summary.n_right += true is not None and verdict.code == true + 1
            items.append(
                Outgoing(
                    "verdict",
                    self._state,
                    decision.t_s,
                    label=verdict.label,
                    code=verdict.code,
                    command=verdict.command,
                    probs=decision.probs,
                    why=why,
                    n_lost=decision.n_lost,
                    cue=decision.cue,
                    is_sent=is_out,
                    quality=decision.quality,
                    # On a clock that was set, and that is all there is to go by, no latency is known.
                    clock_offset_s=None if stepped_s and stamp_to_clock_s == 0 else stamp_to_clock_s,
                )
            )
        if items:
            self._publisher.publish(*items)

    def _withheld(self, decision: Decision, stamp_to_clock_s: float | None) -> str:
        """Say why a decision with probabilities must not become a verdict; empty where it may."""
        if self._state != "RUNNING":
            return f"the stream is {self._state}"
        if stamp_to_clock_s is None:
            return ""
        sample_s = decision.t_s + stamp_to_clock_s - self._pipeline.health.stepped_s
        if self._clock() - sample_s > TOO_OLD_S:
            self._summary.n_too_old += 1
            return f"older than {TOO_OLD_S:g} s when it was ready"
        return ""

    def _enter(self, state: State, why: str, *, facts: dict[str, str] | None = None) -> None:
        before, self._state = self._state, state
        if before == state:
            return
        self._say(
            f"{before} -> {state}{': ' + why if why else ''}" if before else f"{state}{': ' + why if why else ''}"
        )
        self._send_state("state", why, facts=facts)

    def _beat(self) -> bool:
        """Send a heartbeat where one is due; says whether."""
        due = self._clock() >= self._heartbeat_due_s
        if due:
            why = "; ".join(s for s in (self._terms, self._quality) if s)
            self._send_state("heartbeat", why if self._state == "RUNNING" else "")
        return due

    def _send_state(
        self, kind: Literal["state", "heartbeat"], why: str, *, facts: dict[str, str] | None = None
    ) -> None:
        assert self._state is not None
        now_s = self._clock()
        self._heartbeat_due_s = now_s + HEARTBEAT_S
        n_lost = self._pipeline.health.n_lost
        bad = self._pipeline.bad if self._state in ("RUNNING", "STALE") else ()
        self._publisher.publish(Outgoing(kind, self._state, now_s, why=why, n_lost=n_lost, facts=facts, bad=bad))
