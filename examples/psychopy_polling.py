"""Decisions in the frame loop of an experiment: python examples/psychopy_polling.py [--seconds 10].

Written for PsychoPy, but runs without it: `Window` stands for psychopy.visual.Window, whose flip() also waits for the
next frame. In your own script, keep `Decisions`, use your own window, and draw your own stimuli.
"""

import argparse
import json
import sys
import time

import pylsl


class Decisions:
    """The verdicts of a service, read once per frame without waiting."""

    def __init__(self, name="pretap-markers", wait_s=10.0):
        found = pylsl.resolve_byprop("name", name, timeout=wait_s)
        if not found:
            sys.exit(f"No stream {name!r} within {wait_s:g} s: start `pretap serve` first.")
        self._inlet = pylsl.StreamInlet(found[0], max_buflen=10, recover=False)
        self._inlet.open_stream(timeout=wait_s)  # at once, so that no frame waits for the connection
        self.state = "?"

    def poll(self):
        """Return all verdicts since the last frame, oldest first."""
        verdicts = []
        try:
            texts, _ = self._inlet.pull_chunk(timeout=0.0)
        except pylsl.util.LostError:
            self.state = "LOST"
            return verdicts
        for (text,) in texts:
            message = json.loads(text)
            self.state = message["state"]
            if message["type"] == "verdict" and message["valid"]:
                verdicts.append(message)
        return verdicts


class Window:
    """Stands for psychopy.visual.Window at 60 Hz."""

    def __init__(self, rate_hz=60.0):
        self._frame_s, self._next_s = 1 / rate_hz, time.perf_counter()

    def flip(self):
        self._next_s = max(self._next_s + self._frame_s, time.perf_counter())
        time.sleep(max(0.0, self._next_s - time.perf_counter()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--name", default="pretap-markers")
    options = parser.parse_args()
    decisions, win = Decisions(options.name), Window()
    n_frames, n_verdicts, longest_s = 0, 0, 0.0
    end_s = time.perf_counter() + options.seconds
    while time.perf_counter() < end_s and decisions.state != "LOST":
        began_s = time.perf_counter()
        for verdict in decisions.poll():
            n_verdicts += 1
            delay_ms = 1000 * (pylsl.local_clock() - verdict["t"])  # since the window's last sample, on this machine
            print(f"frame {n_frames}: {verdict['label']}, {delay_ms:.0f} ms old", flush=True)
        longest_s = max(longest_s, time.perf_counter() - began_s)
        # draw the stimulus here
        win.flip()
        n_frames += 1
    print(f"{n_frames} frames, {n_verdicts} verdicts; the longest poll took {1000 * longest_s:.1f} ms")
