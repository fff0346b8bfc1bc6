"""The pages of `pretap latency` in a real Chromium: the square, its markers on LSL, and the times of its frames."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from itertools import pairwise

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

from pretap_realtime.lsl.inlets import MarkerInlet
from pretap_realtime.lsl.library import ConnectionLostError, local_clock
from pretap_realtime.lsl.resolver import StreamResolver
from real_lsl import LABELS, Amplifier, eeg, resolve, until
from xdf_files import n_saved

pytestmark = pytest.mark.xdist_group("browser")  # one Chromium


class Lamp:
    """An amplifier whose channel DIODE sees the square `DELAY_S` after the marker of each flip."""

    DELAY_S = 0.2

    def __init__(self) -> None:
        self.amplifier = Amplifier(labels=[*LABELS, "DIODE"])
        self.name = self.amplifier.name
        self._changes_s: list[float] = []
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        inlet, step_s, seed = None, 1 / self.amplifier.sfreq_hz, 0
        resolver = StreamResolver({"name": "pretap-flash"})
        self.amplifier.start_clock(lead_s=0.0)
        while not self._ends.is_set():
            with contextlib.suppress(ConnectionLostError):  # the page has ended
                if inlet is None and (found := resolver.streams()):
                    inlet = MarkerInlet(found[0])
                    inlet.start()
                flips = inlet.pull(0.0) if inlet is not None else []
                self._changes_s += [each.t_s + self.DELAY_S for each in flips if each.text.startswith("flash/")]
            ends_s = self.amplifier.stamps(5) + step_s / 2
            lit = sum(
                ((-1) ** k * np.clip((ends_s - t_s) / step_s, 0, 1) for k, t_s in enumerate(self._changes_s)), 0.0
            )
            x = np.column_stack([eeg(5, seed=seed), 100.0 * np.broadcast_to(lit, 5)])
            self.amplifier.push(x.astype(np.float32), n_chunk=5, real_time=True)
            seed += 1

    def end(self) -> None:
        self._ends.set()
        self._thread.join(60)


@pytest.fixture
def service(start, tmp_path, make_decoder):
    """The name of a running service and of its EEG stream, an amplifier with a photodiode."""
    lamp, bundle = Lamp(), tmp_path / "random.safetensors"
    try:
        make_decoder(path=bundle)
        start("serve", str(bundle), "--query", lamp.name, "--set", f"markers.name={lamp.name}").wait_for("-> RUNNING")
        yield lamp.name
    finally:
        lamp.end()


def address(child) -> str:
    return re.search(r"http\S+", child.wait_for(r"http://127\.0\.0\.1:\d+/"))[0]


def test_the_square_flips_at_decisions_and_each_flip_sends_its_markers(start, service, open_page, expect, tmp_path):
    file = tmp_path / "flash.json"
    child = start("latency", "--flash", "--service", service, "--query", service, "--port", "0",
                  "--no-browser", "--json", str(file))  # fmt: skip
    url = address(child)
    inlet = MarkerInlet(resolve("pretap-flash"))
    inlet.start()
    page = open_page(url)
    square = page.locator("#square")
    expect(square).to_have_class("on")
    expect(square).to_have_css("background-color", "rgb(255, 255, 255)")
    expect(square).not_to_have_class("on")
    markers = []
    until(lambda: markers.extend(inlet.pull(0.1)) or len(markers) >= 8, "eight markers")
    now_s = local_clock()
    texts = [each.text for each in markers[:8]]
    on, off = ["decision/on", "flash/on"], ["decision/off", "flash/off"]
    assert texts in ([*on, *off] * 2, [*off, *on] * 2)
    for decision, flash in zip(markers[::2], markers[1::2], strict=False):
        assert decision.t_s < flash.t_s < now_s
    flashes_s = [each.t_s for each in markers if each.text.startswith("flash/")]
    assert all(later - earlier >= 0.49 for earlier, later in pairwise(flashes_s))
    assert child.interrupt() == 0, child.said
    expect(page.locator("#hint")).to_have_text("The measurement has ended.")
    assert re.search(r"\d+ flips", child.said)
    result = json.loads(file.read_bytes())
    assert result["stages"]["sample to page frame"]["n"] >= 4
    assert result["stages"]["consumer to page frame"]["p5_ms"] > 0
    assert result["n_impossible"] == 0
    assert open_page.said == []


def test_a_second_page_is_refused_and_a_reloaded_one_continues(start, service, open_page, expect):
    child = start("latency", "--page", "--service", service, "--query", service, "--port", "0",
                  "--no-browser", "--seconds", "300")  # fmt: skip
    url = address(child)
    page = open_page(url)
    expect(page.locator("#label")).to_have_text(re.compile("left|right"))
    second = open_page(url)
    expect(second.locator("#hint")).to_have_text(re.compile("Another page is open|has ended"))
    page.reload()
    expect(page.locator("#label")).to_have_text(re.compile("left|right"))
    assert child.interrupt() == 0, child.said
    assert "sample to page frame" in child.said


def test_only_its_own_page_may_connect_and_only_with_answers(start, service):
    child = start("latency", "--page", "--service", service, "--query", service, "--port", "0",
                  "--no-browser", "--seconds", "300")  # fmt: skip
    origin = address(child).rstrip("/")
    socket = origin.replace("http", "ws") + "/frames"
    for other in (None, "http://example.org"):
        with pytest.raises(InvalidStatus), connect(socket, origin=other):
            pass
    for nonsense in ("nonsense", '{"n":99,"got":1,"frame":null}', '{"n":1,"got":"now","frame":null}'):
        with connect(socket, origin=origin) as page:
            page.send(nonsense)
            with contextlib.suppress(ConnectionClosedError):
                for _ in page:  # until it is closed
                    pass
            assert page.close_code == 1008


def test_the_delay_of_a_photodiode_is_found_in_what_was_recorded(start, service, open_page, tmp_path):
    """Service, flashing page, recorder and streams are all real; only the light is simulated."""
    path, file = tmp_path / "diode.xdf", tmp_path / "delay.json"
    flash = start("latency", "--flash", "--service", service, "--query", service, "--port", "0", "--no-browser")
    url = address(flash)
    recorder = start("record", str(path), "--query", service, "--query", "pretap-flash")
    recorder.wait_for("recording 'pretap-flash'")
    open_page(url)
    until(lambda: n_saved(path).get("pretap-flash", 0) >= 24, "twelve flips in the file")
    assert flash.interrupt() == 0, flash.said
    n_recorded = n_saved(path)[service]
    until(lambda: n_saved(path)[service] > n_recorded + 100, "a second more, with the light of the last flip")
    assert recorder.interrupt() == 0, recorder.said
    analysis = start("latency", "--analyse", str(path), "--channel", "DIODE", "--json", str(file))
    assert analysis.wait() == 0, analysis.said
    result = json.loads(file.read_bytes())
    assert result["markers"]["delay"]["p50_ms"] == pytest.approx(1000 * Lamp.DELAY_S, abs=5)
    assert result["markers"]["delay"]["n"] >= 8
    assert result["loop"]["delay"]["p50_ms"] > result["markers"]["delay"]["p50_ms"]
