"""Print what `pretap serve --set outputs.udp=:9001` sends: python examples/receive_udp.py [--port N] [--seconds 60]."""

import argparse
import json
import socket
import time

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--port", type=int, default=9001)
parser.add_argument("--seconds", type=float, default=60.0)
options = parser.parse_args()

receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
receiver.bind(("127.0.0.1", options.port))
receiver.settimeout(0.1)
print(f"listening on 127.0.0.1:{options.port}", flush=True)

next_seq, n_missed = None, 0
end_s = time.monotonic() + options.seconds
while time.monotonic() < end_s:
    try:
        message = json.loads(receiver.recv(65_536))
    except TimeoutError:
        continue
    if next_seq is not None and message["seq"] > next_seq:
        n_missed += message["seq"] - next_seq  # UDP loses packets silently, but the numbering shows it
    next_seq = message["seq"] + 1
    if message["type"] == "verdict" and message["valid"]:
        probs = "  ".join(f"{name} {p:.3f}" for name, p in message["p"].items())
        print(f"{message['label']:<5}  ({probs})", flush=True)
    elif message["type"] == "state":
        print(f"{message['state']}  {message['why']}", flush=True)
print(f"{n_missed} messages missed")
