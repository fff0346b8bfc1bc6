"""A task program: sends markers ``tap/left`` and ``tap/right`` on an LSL stream. task.py NAME LOG N EVERY_S FIRST_S.

The first one goes out FIRST_S after the file LOG.go appears. Each line of LOG is a marker's timestamp and text.
"""

import sys
import time
from pathlib import Path

import pylsl

name, log, n, every_s, first_s = sys.argv[1], sys.argv[2], *map(float, sys.argv[3:6])
outlet = pylsl.StreamOutlet(pylsl.StreamInfo(name, "Markers", 1, 0, "string", f"{name}-id"))
print("task: waits", flush=True)
while not Path(f"{log}.go").exists():
    time.sleep(0.01)
start_s = pylsl.local_clock() + first_s
with Path(log).open("w", buffering=1) as file:
    for k in range(int(n)):
        # Uneven, so that markers lie anywhere between samples.
        due_s = start_s + k * every_s + 0.0137 * (k % 7)
        time.sleep(max(0.0, due_s - pylsl.local_clock()))
        text = "tap/left" if k % 3 else "tap/right"
        t_s = pylsl.local_clock()
        outlet.push_sample([text], t_s)
        file.write(f"{t_s!r} {text}\n")
print("task: done", flush=True)
time.sleep(600)  # the last markers must reach their readers
