"""Live run: runs `serve` on a `replay` over real LSL and collects what they send. Used by ``verify`` and ``demo``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from pretap_realtime.check.isolated_session import IsolatedSession
from pretap_realtime.decide.cues import TRIAL_ENDS
from pretap_realtime.lsl.description import StreamInfo
from pretap_realtime.lsl.inlets import Inlet, MarkerInlet
from pretap_realtime.lsl.library import ConnectionLostError, local_clock
from pretap_realtime.lsl.resolver import StreamResolver
from pretap_realtime.send.messages import Message

_START_WITHIN_S = 30.0
# the cues of replayed trials, regardless of the events that the bundle was trained on
TRIAL_CUES = ("--set", f"cue.patterns={list(TRIAL_ENDS)}", "--set", "cue.offset_ms=0.0")
_LINGER_S = 1.0  # after the replay has ended, for messages that are still on their way


@dataclass
class Collected:
    """Everything received: verdicts in order, rows of the probabilities stream, times of the cues."""

    verdicts: list[Message] = field(default_factory=list)
    rows: list[tuple[float, NDArray[np.float32]]] = field(default_factory=list)
    cues: dict[str, float] = field(default_factory=dict)
    n_codes: int = 0
    service_output: str = ""
    n_missed: int = 0  # gaps in the numbering of the marker stream


class LiveRun:
    """One cue-locked run of `serve` on a `replay`, inside an `IsolatedSession`; with `folder`, it is recorded there."""

    def __init__(
        self,
        session: IsolatedSession,
        bundle: Path,
        *,
        engine: str,
        adapt: str = "off",
        folder: Path | None = None,
    ) -> None:
        self._session = session
        record = [] if folder is None else ["--record", str(folder)]
        self._serve = session.start("serve", str(bundle), "--cue-query", "name=pretap-replay-markers",
                                    "--engine", engine, "--adapt", adapt, *TRIAL_CUES, *record)  # fmt: skip
        self._markers = MarkerInlet(self._find("pretap-markers"))
        self._probabilities = _number_inlet(self._find("pretap-probabilities"))
        self._codes = _number_inlet(self._find("pretap-codes"))
        self._markers.start()
        self.collected = Collected()
        self._next_seq: int | None = None

    def follow(self, *replay: str, within_s: float, on_verdict: Callable[[Message], None]) -> Collected:
        """Run `pretap replay --wait` with these arguments, and collect everything until it has ended."""
        session = self._session
        child = session.start("replay", *replay, "--wait")
        cues = MarkerInlet(self._find("pretap-replay-markers"))
        cues.start()
        deadline_s = local_clock() + within_s
        end_s = np.inf
        while (now_s := local_clock()) < min(deadline_s, end_s):
            if child.poll() is not None and end_s == np.inf:
                end_s = now_s + _LINGER_S
            session.check_children()
            with contextlib.suppress(ConnectionLostError):  # the replay has ended normally
                self.collected.cues |= {cue.text: cue.t_s for cue in cues.pull()}
            self._collect(on_verdict)
        for process in (child, self._serve):
            session.stop(process)
            session.check_children()
        self.collected.service_output = session.output_of(self._serve)
        return self.collected

    def _find(self, name: str) -> StreamInfo:
        resolver = StreamResolver({"name": name})
        found = self._session.wait_for(
            f"The stream {name!r}", lambda: resolver.wait() or None, within_s=_START_WITHIN_S
        )
        return found[0]

    def _collect(self, on_verdict: Callable[[Message], None]) -> None:
        for cue in self._markers.pull(timeout_s=0.02):
            message = msgspec.json.decode(cue.text, type=Message)
            if self._next_seq is not None:
                self.collected.n_missed += message.seq - self._next_seq
            self._next_seq = message.seq + 1
            if message.type == "verdict":
                self.collected.verdicts.append(message)
                on_verdict(message)
        while (chunk := self._probabilities.pull(0.0)) is not None:
            self.collected.rows += list(zip(chunk.t_s.tolist(), chunk.x_uv.copy(), strict=True))
        while (chunk := self._codes.pull(0.0)) is not None:
            self.collected.n_codes += len(chunk.t_s)


def _number_inlet(found: StreamInfo) -> Inlet:
    inlet = Inlet(found)
    inlet.open(order=range(found.n_channels), factors=[1.0] * found.n_channels)
    return inlet
