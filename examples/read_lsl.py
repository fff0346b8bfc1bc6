"""Print every verdict of a running `pretap serve`: python examples/read_lsl.py [--seconds 60] [--name NAME]."""

import argparse
import json
import sys
import time

import pylsl

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--seconds", type=float, default=60.0)
parser.add_argument("--name", default="pretap-markers")
options = parser.parse_args()

found = pylsl.resolve_byprop("name", options.name, timeout=10)
if not found:
    sys.exit(f"No stream {options.name!r} within 10 s: start `pretap serve` first.")
inlet = pylsl.StreamInlet(found[0], recover=False)
end_s = time.monotonic() + options.seconds
while time.monotonic() < end_s:
    text, _ = inlet.pull_sample(timeout=0.1)
    message = json.loads(text[0]) if text else {}
    if message.get("type") == "verdict" and message["valid"]:
        probs = "  ".join(f"{name} {p:.3f}" for name, p in message["p"].items())
        print(f"{message['t']:.3f} s  {message['label']:<5}  ({probs})", flush=True)
