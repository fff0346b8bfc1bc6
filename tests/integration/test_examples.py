"""The examples as real processes, beside a real service."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from real_lsl import Child

EXAMPLES = Path(__file__).parents[2] / "examples"
SECONDS = 8  # of samples in real time, for those examples that end by themselves


@pytest.fixture
def run(tmp_path):
    """Start an example; it ends with the test."""
    children = []

    def run(name, *arguments, seconds=SECONDS):
        environment = {**os.environ, "SDL_VIDEODRIVER": "dummy"}
        command = [sys.executable, str(EXAMPLES / name), "--seconds", str(seconds), *arguments]
        children.append(Child(tmp_path, command, env=environment))
        return children[-1]

    yield run
    for child in children:
        child.end()


@pytest.fixture
def amp(kit):
    return kit.Amplifier()


def serve(start, bundle, amp, *more):
    child = start("serve", str(bundle), "--query", f"name={amp.name}", "--hop-ms", "100", *more)
    amp.wait_for_reader()
    return child


def feed_until(kit, amp, condition, what):
    """Send samples until something holds."""
    x = kit.eeg(20)

    def look():
        amp.push(x, real_time=True)
        return condition()

    return kit.until(look, what)


def feed_to_the_end(kit, amp, child):
    """Send samples until an example ends by itself; gives what it said."""
    feed_until(kit, amp, lambda: child.process.poll() is not None, "the end of the example")
    assert child.process.returncode == 0, child.said
    return child.said


VERDICT = r"(left|right) +\(left 0\.\d{3}  right 0\.\d{3}\)$"


def test_read_lsl_prints_verdicts(start, bundle, kit, amp, run):
    serve(start, bundle, amp)
    said = feed_to_the_end(kit, amp, run("read_lsl.py"))
    assert len(re.findall(rf"^\d+\.\d{{3}} s  {VERDICT}", said, re.MULTILINE)) > 5


def test_the_pygame_game_counts_verdicts(start, bundle, kit, amp, run):
    pytest.importorskip("pygame", reason="no pygame-ce: pip install 'pretap[examples]'")
    serve(start, bundle, amp)
    said = feed_to_the_end(kit, amp, run("game_pygame.py"))
    total, n_left, n_right = map(
        int, re.search(r"^(\d+) verdicts, (\d+) left, (\d+) right", said, re.MULTILINE).groups()
    )
    assert total == n_left + n_right > 5


def test_polling_once_a_frame_gets_every_verdict_and_never_waits_for_one(start, bundle, kit, amp, run):
    serve(start, bundle, amp)
    said = feed_to_the_end(kit, amp, run("psychopy_polling.py"))
    n_frames, n_verdicts = map(int, re.search(r"^(\d+) frames, (\d+) verdicts", said, re.MULTILINE).groups())
    assert n_verdicts == len(re.findall(r"^frame \d+: (?:left|right), \d+ ms old$", said, re.MULTILINE)) > 5
    assert n_frames > 3 * n_verdicts  # a poll that waited for the next verdict would make one frame of each


def test_receive_udp_prints_verdicts_and_misses_none(start, bundle, kit, amp, run, free_port):
    serve(start, bundle, amp, "--set", f"outputs.udp=:{free_port}").wait_for("-> RUNNING")
    child = run("receive_udp.py", "--port", str(free_port))  # its seconds begin when it listens
    said = feed_to_the_end(kit, amp, child)
    assert len(re.findall(f"^{VERDICT}", said, re.MULTILINE)) > 5
    assert said.endswith("\n0 messages missed\n")


def test_receive_osc_prints_verdicts_and_states(start, bundle, kit, amp, run, free_port):
    pytest.importorskip("pythonosc", reason="no python-osc: pip install 'pretap[outputs]'")
    child = run("receive_osc.py", "--port", str(free_port), "--service", "duel", seconds=600)
    child.wait_for("listening")
    serve(start, bundle, amp, "--set", f"outputs.osc=127.0.0.1:{free_port}", "--set", "markers.name=duel")
    feed_until(kit, amp, lambda: child.said.count("/duel/verdict") > 10, "verdicts")
    child.wait_for("/duel/state  STALE")  # the samples have ended, and all before that is printed
    child.end()
    said = child.said
    verdicts = re.findall(
        r"^/duel/verdict  (left|right) +code (\d)  p (0\.\d+) (0\.\d+)  quality 1\.00$", said, re.MULTILINE
    )
    assert len(verdicts) > 5
    for label, code, p_left, p_right in verdicts:
        assert (label, code) == (("left", "1") if float(p_left) >= float(p_right) else ("right", "2"))
        assert float(p_left) + float(p_right) == pytest.approx(1, abs=0.0011)
    labels = [label for label, *_ in verdicts]
    changes = [label for before, label in zip(["none", *labels], labels, strict=False) if label != before]
    commands = re.findall(r"^/duel/command  (left|right)  code \d$", said, re.MULTILINE)
    assert commands[: len(changes)] == changes
    assert "/duel/state  RUNNING  0 samples lost" in said


@pytest.fixture
def page_server():
    """The examples' folder on a port of this machine, as ``python -m http.server`` serves it; gives the origin."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(EXAMPLES)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_browser_game_moves_its_ball_by_the_verdicts(start, bundle, kit, amp, page_server):
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    pytest.importorskip("websockets", reason="no websockets: pip install 'pretap[outputs]'")
    chromium = shutil.which("chromium") or pytest.skip("no Chromium here: apt-get install chromium")
    origins = f'outputs.websocket_origins=["{page_server}"]'
    child = serve(start, bundle, amp, "--set", "outputs.websocket=:0", "--set", origins)
    address = child.wait_for(r"ws://127\.0\.0\.1:\d+")
    said = []
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=chromium, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 375, "height": 700})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(f"{page_server}/browser_game.html?ws={address}")
        feed_until(kit, amp, lambda: int(page.inner_text("#count")) > 5, "verdicts on the page")
        assert page.inner_text("#state").startswith("RUNNING")
        assert page.inner_text("#label") in ("left", "right")
        assert page.inner_text("#missed") == "0"
        assert page.evaluate("document.getElementById('ball').style.left") != "50%"
        assert page.evaluate("document.documentElement.scrollWidth") <= 375
        assert child.interrupt() == 0
        page.wait_for_function("document.getElementById('state').textContent.startsWith('no service at')")
        assert said == [] or all("ERR_CONNECTION_REFUSED" in line for line in said)
        browser.close()
