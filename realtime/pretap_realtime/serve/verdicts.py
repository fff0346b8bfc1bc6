"""From decisions to published verdicts: the policy, what must be withheld, and the session's counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pretap_realtime.decide.cues import truth
from pretap_realtime.decide.pipeline import Pipeline
from pretap_realtime.decide.policy import Policy
from pretap_realtime.send.messages import Message
from pretap_realtime.send.publisher import Publisher
from pretap_realtime.send.sink import Outgoing
from pretap_realtime.serve.states import StateReporter
from pretap_realtime.serve.summary import Summary
from pretap_realtime.signal.chunk import Decision

MAX_AGE_S: Final = 1.0  # an older decision is not a verdict any more


class VerdictPublisher:
    """Judges decisions, and publishes each as a verdict, or as what stands in the way of one.

    Attributes
    ----------
    clock_offset_s
        Added to the timestamps of decisions it gives this machine's clock; None if it is not known.
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
        self.clock_offset_s: float | None = None

    def publish(self, decisions: list[Decision], *, n_sent: int = 0) -> None:
        """Publish decisions; of the first `n_sent` with probabilities those were sent already."""
        state, clock_offset_s = self._states.state, self.clock_offset_s
        assert state is not None
        classes = self._pipeline.manifest.classes
        # On a clock that was set, and with nothing else to go by, no latency is known.
        was_set = self._pipeline.front_end.losses.shifts.stepped_s and clock_offset_s == 0
        is_clock_known = clock_offset_s is not None and not was_set
        items = []
        for decision in decisions:
            is_sent = n_sent > 0 and decision.probs is not None
            n_sent -= is_sent
            why = "" if is_sent else decision.why or self._why_withheld(decision)
            verdict = self._policy.judge(decision, withheld=bool(why))
            self._count(decision, code=verdict.code, is_published=not why)
            probs = [] if decision.probs is None else decision.probs.tolist()
            t_s = decision.t_s + (clock_offset_s or 0.0)
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
            )
            items.append(
                Outgoing(
                    message,
                    code=verdict.code,
                    row=(0.0,) * (len(classes) + 1) if why else (*probs, decision.quality),
                    withheld_p=probs if why else (),
                    is_sent=is_sent,
                    has_latency=bool(probs) and is_clock_known,
                )
            )
        if items:
            self._publisher.publish(*items)

    def count_overflow(self) -> None:
        """Count an overflow of the stream's buffer."""
        self._summary.n_overflows += 1

    def summary(self) -> Summary:
        """Return the counts so far."""
        losses, s = self._pipeline.front_end.losses, self._summary
        s.losses, s.smallest_gap_samples = losses.counts, losses.smallest_gap_samples
        mode = self._pipeline.mode
        s.n_skipped, s.n_unmatched = mode.n_skipped, 0 if mode.cues is None else mode.cues.n_unmatched
        s.latencies, s.n_dropped = self._publisher.latencies, self._publisher.n_dropped
        return s

    def _count(self, decision: Decision, *, code: int, is_published: bool) -> None:
        if decision.why:
            self._summary.n_invalid += 1
        elif is_published:
            self._summary.n_decisions += 1
            true = truth(decision.cue, self._pipeline.manifest) if decision.cue else None
            self._summary.n_judged += true is not None
            self._summary.n_right += true is not None and code == true + 1

    def _why_withheld(self, decision: Decision) -> str:
        """Return why a decision with probabilities must not become a verdict; empty if it may."""
        if self._states.state != "RUNNING":
            return f"the stream is {self._states.state}"
        if self.clock_offset_s is None:
            return ""
        sample_s = decision.t_s + self.clock_offset_s - self._pipeline.front_end.losses.shifts.stepped_s
        if self._clock() - sample_s > MAX_AGE_S:
            self._summary.n_too_old += 1
            return f"older than {MAX_AGE_S:g} s when it was ready"
        return ""
