"""Print every verdict of a running `pretap serve`: python examples/reader.py [SECONDS]."""

import json
import sys
import time

import pylsl

SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0

found = pylsl.resolve_byprop("name", "pretap-markers", timeout=10)
if not found:
    sys.exit("No stream 'pretap-markers' within 10 s: start `pretap serve` first.")
inlet = pylsl.StreamInlet(found[0], recover=False)
end_s = time.monotonic() + SECONDS
while time.monotonic() < end_s:
    text, _ = inlet.pull_sample(timeout=0.1)
    message = json.loads(text[0]) if text else {}
    if message.get("type") == "verdict" and message["valid"]:
        probs = "  ".join(f"{name} {p:.3f}" for name, p in message["p"].items())
        print(f"{message['t']:.3f} s  {message['label']:<5}  ({probs})", flush=True)
