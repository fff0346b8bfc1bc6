"""From decisions to published verdicts: the policy, what must be withheld, and the session's counts."""

from __future__ import annotations

import math
from collections.abc import Callable

from pretap_realtime.decide.cues import truth
from pretap_realtime.decide.modes import CueLocked
from pretap_realtime.decide.pipeline import Pipeline
from pretap_realtime.decide.policy import Policy
from pretap_realtime.send.messages import Message
from pretap_realtime.send.publisher import Publisher
from pretap_realtime.send.sink import Outgoing
from pretap_realtime.serve.states import MAX_AGE_S, StateReporter
from pretap_realtime.serve.stream_clocks import StreamClock
from pretap_realtime.serve.summary import Summary
from pretap_realtime.signal.chunk import Decision


class VerdictPublisher:
    """Judges decisions, and publishes each as a verdict, or as what stands in the way of one.

    Attributes
    ----------
    stream_clock
        How the timestamps of decisions relate to this machine's clock.
    """

    def __init__(
        self,
        publisher: Publisher,
        pipeline: Pipeline,
        states: StateReporter,
        policy: Policy,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._publisher, self._pipeline, self._states = publisher, pipeline, states
        self._policy, self._clock = policy, clock
        self._summary = Summary()
        self.stream_clock = StreamClock()

    def publish(self, decisions: list[Decision], *, n_sent: int = 0) -> None:
        """Publish decisions; of the first `n_sent` with probabilities those were sent already."""
        state, tally, clock = self._states.state, self._states.tally, self.stream_clock
        assert state is not None
        classes = self._pipeline.manifest.classes
        # The offset is that of LSL's clock; if the timestamps jump, they are on another one.
        was_set = bool(self._pipeline.front_end.losses.shifts.stepped_s)
        has_latency = clock.is_known and clock.is_real_time and not was_set
        items = []
        for decision in decisions:
            is_sent = n_sent > 0 and decision.probs is not None
            n_sent -= is_sent
            why = "" if is_sent else decision.why or self._why_withheld(decision)
            verdict = self._policy.judge(decision, withheld=bool(why))
            k = truth(decision.cue, self._pipeline.manifest)
            true_class = "" if k is None else classes[k]
            self._count(decision, label=verdict.label, true_class=true_class, is_published=not why)
            probs = [] if decision.probs is None else decision.probs.tolist()
            has_time = clock.is_known and math.isfinite(decision.t_s)
            t_s = decision.t_s + clock.offset_s if has_time else self._clock()
            message = Message(
                type="verdict",
                seq=0,
                label=verdict.label,
                command=verdict.command,
                p={} if why else dict(zip(classes, probs, strict=True)),
                state=state,
                valid=not why,
                why=why,
                lost=decision.n_lost,
                t=t_s,
                sent=t_s,
                cue=decision.cue,
                truth=true_class,
                n_judged=tally.n_judged,
                n_correct=tally.n_correct,
                n_none=tally.n_none,
                quality=0.0 if why else round(decision.quality, 4),
            )
            items.append(
                Outgoing(
                    message,
                    code=verdict.code,
                    row=(0.0,) * (len(classes) + 1) if why else (*probs, decision.quality),
                    withheld_p=probs if why else (),
                    is_sent=is_sent,
                    has_latency=bool(probs) and has_latency,
                    origin=decision.origin,
                    sample=decision.sample,
                    adapted=decision.adapted,
                )
            )
        if items:
            self._publisher.publish(*items)

    @property
    def n_too_old(self) -> int:
        """How many decisions were not published because they were too old."""
        return self._summary.n_too_old

    def count_overflow(self) -> None:
        """Count an overflow of the stream's buffer."""
        self._summary.n_overflows += 1

    def summary(self) -> Summary:
        """Return the counts so far."""
        losses, s = self._pipeline.front_end.losses, self._summary
        s.losses, s.smallest_gap_samples, s.jitter_s = (
            losses.counts,
            losses.smallest_gap_samples,
            losses.shifts.line.jitter.seconds,
        )
        mode = self._pipeline.mode
        s.n_skipped, s.n_unmatched = mode.n_skipped, 0 if mode.cues is None else mode.cues.n_unmatched
        s.cue_after_s = -mode.offset_s if isinstance(mode, CueLocked) else 0.0
        s.tally = self._states.tally
        s.latencies, s.n_dropped = self._publisher.latencies, self._publisher.n_dropped
        return s

    def _count(self, decision: Decision, *, label: str, true_class: str, is_published: bool) -> None:
        if decision.why:
            self._summary.n_invalid += 1
        elif is_published:
            self._summary.n_decisions += 1
            if true_class:
                self._states.tally.add(label, true_class)

    def _why_withheld(self, decision: Decision) -> str:
        """Return why a decision with probabilities must not become a verdict; empty if it may."""
        if self._states.state != "RUNNING":
            return f"the stream is {self._states.state}"
        clock = self.stream_clock
        if not clock.is_known:
            return clock.why_unknown
        if not clock.is_real_time:
            return ""
        sample_s = decision.t_s + clock.offset_s - self._pipeline.front_end.losses.shifts.stepped_s
        if self._clock() - sample_s > MAX_AGE_S:
            self._summary.n_too_old += 1
            return f"older than {MAX_AGE_S:g} s when it was ready"
        return ""
