"""A game on another computer: reads a service's messages, and logs each with its time on this computer's clock.

game.py NAME LOG. Each line of LOG is a JSON object: the timestamp of the message, the offset to add to it, the time of
its arrival, and the message.
"""

import json
import sys
from pathlib import Path

import pylsl

name, log = sys.argv[1:3]
found = []
while not found:
    found = pylsl.resolve_byprop("name", name, timeout=2.0)
inlet = pylsl.StreamInlet(found[0], recover=False)
inlet.open_stream(timeout=5.0)
inlet.time_correction(5.0)
print("game: reads", flush=True)
with Path(log).open("w", buffering=1) as file:
    while True:
        row, t_s = inlet.pull_sample(timeout=0.1)
        if row is not None:
            line = {"t_s": t_s, "offset_s": inlet.time_correction(), "arrived_s": pylsl.local_clock()}
            file.write(json.dumps(line | {"message": json.loads(row[0])}) + "\n")
