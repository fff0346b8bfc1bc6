"""Summary of a session: the service counts into it, and `serve` prints it at the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from pretap.signal.shifts import LossCounts
from pretap_realtime.decide.accuracy import Tally
from pretap_realtime.send.latencies import Latencies, describe_negative


@dataclass
class Summary:
    """Counts and latencies of a session."""

    n_decisions: int = 0
    n_invalid: int = 0
    tally: Tally = field(default_factory=Tally)  # of the cues whose class is known
    n_unmatched: int = 0  # markers that fit no cue pattern
    n_too_old: int = 0
    n_skipped: int = 0
    n_overflows: int = 0
    losses: LossCounts = field(default_factory=LossCounts)
    smallest_gap_samples: float = 0.0
    jitter_s: float = 0.0
    n_dropped: int = 0
    latencies: Latencies = field(default_factory=Latencies)
    cue_after_s: float = 0.0  # how long after the last sample of its window a cue comes

    def __str__(self) -> str:
        decisions = (
            f"{self.n_decisions} decisions, {self.n_skipped} skipped, {self.n_too_old} too old to publish, "
            f"{self.n_invalid} windows were invalid"
        )
        losses = self.losses
        samples = (
            f"{losses.n_received} samples received, {losses.n_lost} lost (gaps of {self.smallest_gap_samples:.1f} "
            f"samples and more are counted), {losses.n_nonfinite} not finite"
        )
        lines = [decisions, samples]
        if losses.n_bad_timestamps or losses.n_clock_steps:
            times = f"{losses.n_clock_steps} time{'s' * (losses.n_clock_steps != 1)}"
            lines.append(f"{losses.n_bad_timestamps} timestamps were not times; the clock was set {times}")
        if self.n_overflows:
            lines.append(f"{self.n_overflows} overflows of the buffer: the oldest samples were lost")
        if self.n_unmatched:
            lines.insert(0, f"markers that fit no cue pattern: {self.n_unmatched}")
        if n := self.tally.n_judged:
            correct = f"{self.tally.n_correct} of {n} cues whose class is known"
            lines.insert(0, f"accuracy {self.tally.n_correct / n:.3f} ({correct})")
        if self.latencies.n:
            p50, p95, p99 = (1000 * self.latencies.percentile(q) for q in (50, 95, 99))
            cue = f"; the cue comes {1000 * self.cue_after_s:g} ms after that sample" if self.cue_after_s > 0 else ""
            lines.append(f"latency, last sample to sending: p50 {p50:.1f} ms, p95 {p95:.1f} ms, p99 {p99:.1f} ms{cue}")
        negative = describe_negative(
            self.latencies.n_negative,
            self.latencies.n + self.latencies.n_negative,
            self.latencies.lowest_s,
            jitter_s=self.jitter_s,
        )
        if negative:
            lines.append(negative)
        elif self.n_decisions and not self.latencies.n:
            lines.append("latency n/a: the timestamps are not on this machine's clock (replay at another speed)")
        if self.n_dropped:
            lines.append(f"{self.n_dropped} messages were dropped because an outlet hung")
        return "\n".join(lines)
