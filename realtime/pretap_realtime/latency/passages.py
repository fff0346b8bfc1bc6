"""Passages: when each decision passed the points of its way, and the latencies that follow. Pure; used by `measure`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from pretap_realtime.latency.figures import Figures

_CLOCK_NOISE_S: Final = 0.001  # of a measured clock offset


class Passage(msgspec.Struct):
    """When one decision passed each point, in seconds on this computer's clock.

    Attributes
    ----------
    sample_s
        The timestamp of the window's last sample.
    sent_s, received_s
        When the service sent the decision, and when this process received it.
    arrived_s
        When that sample arrived at the reader of the EEG stream in this process; None if it was not read.
    shown_s
        When the page began the frame that shows the decision; None without a page.
    """

    sample_s: float
    sent_s: float
    received_s: float
    arrived_s: float | None = None
    shown_s: float | None = None


_STAGES: Final[dict[str, Callable[[Passage], float | None]]] = {
    "sample to arrival": lambda p: None if p.arrived_s is None else p.arrived_s - p.sample_s,
    "arrival to decision": lambda p: None if p.arrived_s is None else p.sent_s - p.arrived_s,
    "decision to consumer": lambda p: p.received_s - p.sent_s,
    "consumer to page frame": lambda p: None if p.shown_s is None else p.shown_s - p.received_s,
    "sample to consumer": lambda p: p.received_s - p.sample_s,
    "sample to page frame": lambda p: None if p.shown_s is None else p.shown_s - p.sample_s,
}


class Latencies(msgspec.Struct, frozen=True):
    """Report of `pretap latency` on a service; `stages` are by name, in the order of the way."""

    service: str
    eeg: str
    seconds: float
    n_decisions: int
    n_missed: int
    n_impossible: int
    stages: dict[str, Figures]

    @classmethod
    def of(cls, passages: Sequence[Passage], *, service: str, eeg: str, seconds: float, n_missed: int) -> Latencies:
        """Compute the figures of at least one passage; stages that were not measured are left out."""
        stages = {}
        for name, delay in _STAGES.items():
            delays_s = [each for passage in passages if (each := delay(passage)) is not None]
            if delays_s:
                stages[name] = Figures.of(delays_s)
        n_impossible = sum(
            each.sent_s < each.sample_s - _CLOCK_NOISE_S or each.received_s < each.sent_s - _CLOCK_NOISE_S
            for each in passages
        )
        return cls(service, eeg, seconds, len(passages), n_missed, n_impossible, stages)

    def __str__(self) -> str:
        lines = [
            f"{self.n_decisions} decisions of {self.service} on {self.eeg} in {self.seconds:.0f} s, "
            f"{self.n_missed} messages missed",
            f"{'milliseconds':<24}{'p50':>9}{'p95':>9}{'max':>9}",
        ]
        lines += [
            f"{name:<24}{each.p50_ms:9.2f}{each.p95_ms:9.2f}{each.max_ms:9.2f}" for name, each in self.stages.items()
        ]
        name, whole = next(reversed(self.stages.items()))
        return "\n".join([*lines, "", f"{name}, {whole.n} decisions:", whole.bars()])
