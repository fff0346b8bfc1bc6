"""A service whose output the test decides, for the tests of the monitor's page in `browser`."""

from __future__ import annotations

import threading

import numpy as np
from msgspec.json import encode as encode_json

from pretap_realtime.lsl.library import local_clock
from pretap_realtime.lsl.outlet import Outlet
from pretap_realtime.send.messages import Message, ServiceDescription, encode
from real_lsl import Amplifier, eeg, until

LABELS = ("F3", "Fz", "F4", "C3", "Cz", "C4", "O1", "O2")


class Service:
    """The outlets of a service and the markers of a task, controlled by the test."""

    def __init__(self, name: str, *, classes=("left", "right"), labels=LABELS) -> None:
        self.name = name
        columns = [*classes, "quality"]
        described = encode_json(
            ServiceDescription(offset_ms=0.0, bundle="mine", subject="ben", channels=("C4", "C3"))
        ).decode()
        facts = {"service": described}
        self.rows = Outlet(f"{name}-probabilities", "Probabilities", labels=columns, format="float32", facts=facts)
        self.codes = Outlet(f"{name}-codes", "Markers", labels=["code"], format="int32")
        self.messages = Outlet(f"{name}-markers", "Markers", labels=["message"], format="string")
        self.truth = Outlet(f"{name}-task", "Markers", labels=["marker"], format="string")
        self.amplifier = Amplifier(
            name=f"{name}-eeg", labels=list(labels), sfreq_hz=250.0, facts={"subject/id": "anna"}
        )
        self._n_channels, self._classes = len(labels), classes
        self._seq = 0
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None
        self.p = [1 / len(classes)] * len(classes)
        self.gain = np.ones(len(labels), np.float32)  # of each channel
        self.valid, self.why = True, ""  # of the decisions
        self.quality = 1.0
        self.state: dict = {"state": "RUNNING"}

    @property
    def arguments(self) -> list[str]:
        return ["--service", self.name, "--query", f"{self.name}-eeg", "--cue-query", f"{self.name}-task"]

    def start(self, *, n_unread: int = 0) -> None:
        """Send EEG, a decision each 40 ms and a heartbeat twice a second, until `end`."""
        outlets = (self.truth, self.rows, self.codes, self.messages, self.amplifier.outlet)
        until(lambda: all(outlet.has_consumers() for outlet in outlets[n_unread:]), "the monitor on all outlets")
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        n = 0
        while not self._ends.is_set():
            self.amplifier.push(self.gain * eeg(10, self._n_channels, seed=n), real_time=True)
            now_s = float(self.amplifier.stamps(1)[0])
            p = dict(zip(self._classes, self.p, strict=True)) if self.valid else {}
            label = max(p, key=p.__getitem__) if self.valid else "none"
            self.say(type="verdict", t=now_s, p=p, label=label, valid=self.valid, why=self.why)
            if n % 12 == 0:
                self.say()
            n += 1

    def say(self, **facts) -> None:
        now_s = local_clock()
        fields = {"type": "heartbeat", "seq": self._seq, "t": now_s, "sent": now_s, "quality": self.quality}
        fields |= self.state | facts
        self._seq += 1
        self.messages.push_sample([encode(Message(**fields))], now_s)

    def mark(self, text: str) -> None:
        self.truth.push_sample([text], local_clock())

    def end(self) -> None:
        self._ends.set()
        if self._thread is not None:
            self._thread.join(60)
