"""An amplifier as a process: sends samples in real time until it is ended; run by `real_lsl.Feeder`.

Its only argument is JSON: what the stream is (labels, rate, ...), `chunk` samples a push, `sends_hz` (where the rate is
not the nominal one), `n_most` samples in all (then it stays there, silent), `waits` for its first reader, `host` (a
host name of its own, where the system lets it have one), and `count`, the file that always holds how many were sent.
Sample n carries the stamp ``t0 + n / sends_hz``; where the process was stopped, it sends all that has become due when
it goes on. The values are noise; the channel ``COUNTER`` carries n.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

_NEW_UTS, _NEW_USER = 0x04000000, 0x10000000
NO_HOST = 77  # exit code: no host name of its own


def _take_host(name: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_UTS) and libc.unshare(_NEW_USER | _NEW_UTS):
        raise SystemExit(NO_HOST)
    if libc.sethostname(name.encode(), len(name)):
        raise SystemExit(NO_HOST)


def main(spec: dict) -> None:
    if spec.get("host"):
        _take_host(spec["host"])
    import pylsl

    from pretap_realtime.lsl.outlet import Outlet

    labels, sfreq_hz = spec["labels"], spec["sfreq_hz"]
    outlet = Outlet(
        spec["name"], spec["kind"], labels=labels, format="float32", sfreq_hz=sfreq_hz, unit=spec["unit"],
        source_id=spec["source_id"],
    )  # fmt: skip
    print("ready", pylsl.local_clock(), flush=True)
    rng = np.random.default_rng(spec["seed"])
    sends_hz = spec.get("sends_hz") or sfreq_hz
    chunk, n_most = spec["chunk"], spec.get("n_most") or sys.maxsize
    count = os.open(spec["count"], os.O_WRONLY | os.O_CREAT)
    counter = labels.index("COUNTER") if "COUNTER" in labels else None
    if spec.get("waits"):
        while not outlet.has_consumers():
            time.sleep(0.005)
    n, t0_s = 0, pylsl.local_clock()
    while n < n_most:
        m = min(chunk, n_most - n)
        numbers = np.arange(n, n + m)
        time.sleep(max(0.0, t0_s + float(numbers[-1]) / sends_hz - pylsl.local_clock()))
        x = rng.normal(0, 20, (m, len(labels))).astype(np.float32)
        if counter is not None:
            x[:, counter] = numbers
        outlet.push_chunk(x, t0_s + numbers / sends_hz)
        n += m
        os.pwrite(count, b"%d" % n, 0)
    print("all sent", flush=True)
    while Path(spec["count"]).exists():
        time.sleep(0.05)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
