"""The service: one loop that finds a stream, checks it, decodes it, and publishes what it decides.

Used by `serve`. It gets its connection, clock and stop event as arguments.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Final

from pretap.config.serve import StreamConfig
from pretap.errors import NoStreamError, StreamLostError, StreamRefusedError
from pretap_realtime.console.stopping import Stop
from pretap_realtime.decide.accuracy import Tally
from pretap_realtime.decide.pipeline import Pipeline
from pretap_realtime.decide.policy import Policy
from pretap_realtime.lsl.library import ConnectionLostError
from pretap_realtime.send.publisher import Publisher
from pretap_realtime.send.sink import SendingCall
from pretap_realtime.serve.connection import LslConnection
from pretap_realtime.serve.fast_path import FastPath
from pretap_realtime.serve.self_audit import SelfAudit
from pretap_realtime.serve.states import MAX_AGE_S, OVERLOAD_S, StateReporter
from pretap_realtime.serve.stream_clocks import ClockCheck, StreamClock, check_cue
from pretap_realtime.serve.summary import Summary
from pretap_realtime.serve.verdicts import VerdictPublisher
from pretap_realtime.signal.chunk import Chunk, Decision
from pretap_realtime.signal.compatibility import describe_rate
from pretap_realtime.signal.plain_samples import n_to_wait_for

PULL_S: Final = 0.1  # `stop` is only checked when the C call returns
PULL_WITH_CUES_S: Final = 0.002  # a cue may come after its last sample, and is not seen before the pull returns
STALE_S: Final = 0.3
CLOCK_WAIT_S: Final = 1.0
CLOCK_POLL_S: Final = 0.005


class _Silence:
    """How long the stream has sent nothing, and how long its silences usually are."""

    def __init__(self, now_s: float) -> None:
        self._last_s = now_s
        self._intervals_s: deque[float] = deque(maxlen=101)

    def end(self, now_s: float, *, is_usual: bool) -> None:
        """Note that samples came."""
        if is_usual:
            self._intervals_s.append(now_s - self._last_s)
        self._last_s = now_s

    def too_long_s(self, now_s: float) -> float:
        """Return for how many seconds there has been silence if that is too long, otherwise 0."""
        usual_s = 3 * statistics.median(self._intervals_s) if self._intervals_s else 0.0
        silent_s = now_s - self._last_s
        return silent_s if silent_s > max(STALE_S, usual_s) else 0.0


class Service:
    """Finds, checks, decodes and publishes; see `run`.

    Parameters
    ----------
    connect
        Tries once to connect, for at most half a second; returns None if no stream answers. It calls its argument as
        soon as one does. It raises StreamRefusedError if the stream does not fit.
    stream
        Only `wait_s` and `reconnect_s` are used.
    say
        Shows one line to the operator.
    make_fast_path
        Builds the fast path for a connection; returns None if there is none.
    restarted
        Why this service replaces one that crashed, if it does. It then waits for the stream as for a lost one.
    tally
        The counts of the one that crashed, which are continued; None begins with zero.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        publisher: Publisher,
        *,
        connect: Callable[[Callable[[], None]], LslConnection | None],
        stream: StreamConfig,
        policy: Policy,
        clock: Callable[[], float],
        stop: Stop,
        say: Callable[[str], None],
        make_fast_path: Callable[[LslConnection], FastPath | None] = lambda _: None,
        restarted: str = "",
        tally: Tally | None = None,
    ) -> None:
        self._pipeline, self._connect, self._make_fast_path = pipeline, connect, make_fast_path
        self._stream, self._clock, self._stop, self._restarted = stream, clock, stop, restarted
        self._states = StateReporter(publisher, pipeline, clock=clock, say=say, tally=tally or Tally())
        self._verdicts = VerdictPublisher(publisher, pipeline, self._states, policy, clock=clock)
        self._audit = SelfAudit(pipeline, clock=clock)

    def run(self) -> Iterator[SendingCall | None]:
        """Serve until `stop` is set. Yield None if items may be sent, or a `SendingCall` to run first.

        Raises
        ------
        NoStreamError, StreamRefusedError, StreamLostError
            If no stream came in time, the first one does not fit, or a lost one did not come back.
        """
        self._states.enter("WAITING", self._restarted)
        is_first = not self._restarted
        wait_s = self._stream.wait_s if is_first else self._stream.reconnect_s
        connection = yield from self._find(deadline_s=self._clock() + wait_s, is_first=is_first)
        while connection is not None:
            try:
                yield from self._serve(connection)
            except ConnectionLostError as lost:
                self._states.enter("LOST", str(lost))
            except StreamRefusedError as refusal:  # because of its samples
                self._states.enter("REFUSED", str(refusal))
                if is_first:
                    raise
            finally:
                connection.close()
                self._verdicts.publish(self._pipeline.close())
            if self._stop.is_set():
                break
            self._verdicts.stream_clock = StreamClock()
            self._verdicts.publish(self._pipeline.interrupt(self._clock(), "the stream was lost"))
            is_first = False
            deadline_s = self._clock() + self._stream.reconnect_s
            connection = yield from self._find(deadline_s=deadline_s, is_first=False)

    def summary(self) -> Summary:
        """Return the counts so far."""
        return self._verdicts.summary()

    def _find(self, *, deadline_s: float, is_first: bool) -> Generator[SendingCall | None, None, LslConnection | None]:
        """Look until a stream fits, the deadline passes or `stop` is set (None)."""
        refusal: StreamRefusedError | None = None
        while not self._stop.is_set():
            self._states.beat()
            yield None
            try:
                connection = self._connect(lambda: self._states.enter("VALIDATING", ""))
            except StreamRefusedError as error:
                if str(error) != str(refusal):
                    self._states.enter("REFUSED", str(error))
                refusal = error
                if is_first:
                    raise
                connection = None
                self._stop.wait(PULL_S)  # twins answer at once: do not ask without a pause
            except ConnectionLostError as lost:  # while it was being checked
                self._states.enter("WAITING" if is_first else "LOST", str(lost))
                connection = None
            if connection is not None:
                self._start(connection)
                return connection
            if self._clock() > deadline_s:
                raise _why_given_up(refusal, self._stream, is_first=is_first)
        return None

    def _start(self, connection: LslConnection) -> None:
        """Prepare the pipeline for this stream, and announce it."""
        pipeline, mapping = self._pipeline, connection.mapping
        pipeline.reset(sfreq_hz=mapping.sfreq_hz, missing=mapping.missing, order=mapping.order)
        rate_note, facts, sfreq_hz = "", {}, pipeline.manifest.sfreq_hz
        if pipeline.delay_s:
            rate_note = describe_rate(mapping.sfreq_hz, sfreq_hz, delay_s=pipeline.delay_s)
            facts = {
                "resampling/from_hz": f"{mapping.sfreq_hz:g}",
                "resampling/to_hz": f"{sfreq_hz:g}",
                "resampling/delay_ms": f"{1000 * pipeline.delay_s:g}",
            }
        self._states.run(changed=connection.changed, rate_note=rate_note, facts=facts)

    def _serve(self, connection: LslConnection) -> Iterator[SendingCall | None]:
        """Receive, decide and publish until the stream is lost, refused, or `stop` is set."""
        pull_s = PULL_WITH_CUES_S if connection.has_cues else PULL_S
        yield None
        yield from self._wait_for_clock(connection)
        silence, clock_check = _Silence(self._clock()), ClockCheck()
        self._audit.start()
        fast_path = self._make_fast_path(connection)
        n_overload = connection.max_buffered  # samples that came while the stream was checked are no overload
        while not self._stop.is_set():
            clock = self._verdicts.stream_clock = connection.clock()
            chunk = yield from self._receive(connection, fast_path, timeout_s=pull_s, n_overload=n_overload)
            now_s = self._clock()
            if chunk is not None:
                is_stale = self._states.state == "STALE"
                silence.end(now_s, is_usual=not is_stale)
                if is_stale:
                    self._states.enter("RUNNING", "samples flow again")
                clock_check.update(float(chunk.t_s[-1]), now_s=now_s, clock=clock)
                if len(chunk.t_s) >= connection.max_buffered:
                    self._verdicts.count_overflow()
                    self._states.warn(f"overflow: {len(chunk.t_s)} samples waited, the oldest are lost")
                yield from self._decide(chunk, fast_path, n_overload=n_overload)
                self._audit.run_if_due(now_s, warn=self._states.warn)
            elif self._states.state == "RUNNING" and (silent_s := silence.too_long_s(now_s)):
                self._states.enter("STALE", f"no sample for {silent_s:.1f} s")
            if connection.has_cues:
                self._answer_cues(connection, now_s)
            n_overload = math.floor(OVERLOAD_S * self._pipeline.front_end.losses.rate_hz)
            if self._states.beat():
                self._announce(connection, clock_check)
            if fast_path is None:  # otherwise the items go out before its next call
                yield None

    def _wait_for_clock(self, connection: LslConnection) -> Iterator[SendingCall | None]:
        """Leave the first samples with liblsl until the clock offsets are known, for a second at most.

        They take 0.7 s, most of which the first window takes to fill. What waited is then decided as usual, and is not
        too old. If the offsets take longer, the decisions are withheld.
        """
        deadline_s = self._clock() + CLOCK_WAIT_S
        while not (connection.clock().is_known or self._stop.is_set()) and self._clock() < deadline_s:
            self._states.beat()
            yield None
            self._stop.wait(CLOCK_POLL_S)

    def _announce(self, connection: LslConnection, clock_check: ClockCheck) -> None:
        """Announce what would go unnoticed: a second stream, and decisions that are not published."""
        for newcomer in connection.newcomers():
            self._states.warn(newcomer)
        self._states.warn_of_skips(self._pipeline.mode.n_skipped)
        clock = self._verdicts.stream_clock
        if not clock.is_known:
            why = f"{clock.why_unknown}, so decisions are withheld. Does a firewall drop UDP? See docs/lab.md"
            self._states.warn_once("offset", why)
        self._states.warn_once("clock of the EEG", clock_check.finding(self._clock()))
        self._states.warn_of_age(self._verdicts.n_too_old)

    def _receive(
        self,
        connection: LslConnection,
        fast_path: FastPath | None,
        *,
        timeout_s: float,
        n_overload: int,
    ) -> Generator[SendingCall | None, None, Chunk | None]:
        """Wait for samples; the fast path decides on them in the same call."""
        if fast_path is None:
            is_resampled = self._pipeline.resampler is not None
            return connection.pull(timeout_s, 1 if is_resampled else n_to_wait_for(self._pipeline.mode.n_to_next))
        clock = self._verdicts.stream_clock
        clock_was_set = bool(self._pipeline.front_end.losses.shifts.stepped_s)
        found = fast_path.prepare(
            timeout_s=timeout_s,
            n_overload=n_overload,
            may_send=self._states.state == "RUNNING" and not clock_was_set and clock.is_known,
            max_age_s=MAX_AGE_S if clock.is_real_time else math.inf,
            clock_offset_s=clock.offset_s,
        )
        self._publish_findings(found)
        yield fast_path
        return fast_path.received()

    def _decide(self, chunk: Chunk, fast_path: FastPath | None, *, n_overload: int) -> Iterator[SendingCall | None]:
        """Publish every decision that a chunk completes: first those of the fast path, then those on what is left."""
        pipeline = self._pipeline
        while fast_path is not None and (taken := fast_path.taken()) is not None:
            self._verdicts.publish(pipeline.accept(taken), n_sent=fast_path.n_sent)
            if fast_path.is_done:
                yield None  # what follows has time until the next samples
                return
            self._publish_findings(fast_path.take_more())
            yield fast_path
        if fast_path is not None:
            chunk = fast_path.remainder()
        is_overload = len(chunk.t_s) > n_overload
        now_s = self._verdicts.stream_clock.eeg_time(self._clock()) + pipeline.front_end.losses.shifts.stepped_s
        self._verdicts.publish(pipeline.process(chunk, newest_only=is_overload, now_s=now_s, arrived_s=self._clock()))
        yield None  # what follows has time until the next samples
        self._publish_findings(pipeline.catch_up())
        self._states.report_quality()

    def _publish_findings(self, found: list[Decision]) -> None:
        """Publish what the checks found when they caught up: an electrode is flat, or works again."""
        if found:
            self._verdicts.publish(found)
            self._states.report_quality()

    def _answer_cues(self, connection: LslConnection, now_s: float) -> None:
        cues = connection.pull_cues()
        if cues and self._verdicts.stream_clock.is_real_time:
            self._states.warn_once("clock of the cues", check_cue(cues[0], now_s=now_s))
        decisions = [d for cue in cues for d in self._pipeline.ask(cue, arrived_s=now_s)]
        self._verdicts.publish(decisions + self._pipeline.expire(now_s))
        if (news := self._pipeline.mode.cues) is not None:
            for sentence in news.take_news():
                self._states.warn(sentence)


def _why_given_up(refusal: StreamRefusedError | None, stream: StreamConfig, *, is_first: bool) -> Exception:
    if is_first:
        return NoStreamError(f"No stream answered within {stream.wait_s:g} s.")
    if refusal is not None:
        return refusal
    return StreamLostError(f"The stream was lost and did not come back within {stream.reconnect_s:g} s.")
