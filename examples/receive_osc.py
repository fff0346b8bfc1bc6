"""Print what `pretap serve --set outputs.osc=:9000` sends: python examples/receive_osc.py [--port 9000] [--seconds 60].

Needs python-osc: pip install python-osc
"""

import argparse
import time

from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import BlockingOSCUDPServer

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--port", type=int, default=9000)
parser.add_argument("--seconds", type=float, default=60.0)
parser.add_argument("--service", default="pretap", help="markers.name of the service")
options = parser.parse_args()


def on_verdict(address, label, code, *numbers):
    *probs, quality = numbers
    print(
        f"{address}  {label:<5}  code {code}  p {' '.join(f'{p:.3f}' for p in probs)}  quality {quality:.2f}",
        flush=True,
    )


def on_command(address, label, code):
    print(f"{address}  {label}  code {code}", flush=True)  # games act on this, see docs/decisions.md


def on_state(address, state, why, n_lost):
    print(f"{address}  {state}  {n_lost} samples lost  {why}", flush=True)


dispatcher = Dispatcher()
dispatcher.map(f"/{options.service}/verdict", on_verdict)
dispatcher.map(f"/{options.service}/command", on_command)
dispatcher.map(f"/{options.service}/state", on_state)
server = BlockingOSCUDPServer(("127.0.0.1", options.port), dispatcher)
server.timeout = 0.1
print(f"listening on 127.0.0.1:{options.port}", flush=True)
end_s = time.monotonic() + options.seconds
while time.monotonic() < end_s:
    server.handle_request()
