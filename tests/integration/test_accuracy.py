"""Live accuracy: the page, the service and `score` on the recording count the same verdicts as correct."""

from __future__ import annotations

import contextlib
import json
import re
import secrets

import numpy as np
import pytest
from websockets.sync.client import connect

from pretap.bundle.file import load

N, N_WINDOW = 900, 50  # samples at 100 Hz
EVENTS = {-130: ("tap/left", "tap/right"), 0: ("769", "770"), 500: ("S  1", "S  2")}  # by offset in ms
HOP = 5  # samples
STABLE = 3  # samples: two estimates of a clock offset differ by less than that


class Player:
    """An amplifier, its markers, and a bundle with these classes of events; some of the markers tell another class."""

    def __init__(self, kit, make_decoder, folder, *, offset_ms, seed=0, wrong=(1, 4)):
        self.name = f"player-{secrets.token_hex(4)}"
        self.bundle = folder / f"{self.name}.safetensors"
        names = EVENTS[offset_ms]
        events = {name: (text,) for name, text in zip(("left", "right"), names, strict=True)}
        make_decoder(path=self.bundle, events=events, window_end_ms=float(offset_ms), spread=1.0)
        self.amp = kit.Amplifier(name=f"{self.name}-eeg")
        self.markers = kit.Amplifier(
            name=f"{self.name}-task", labels=("marker",), kind="Markers", format="string", sfreq_hz=0.0
        )
        self.x = np.repeat(kit.eeg(N // 15, seed=seed), 15, axis=0) + kit.eeg(N, seed=seed + 1) / 20  # slow
        self.sent = self._choose_markers(round(offset_ms / 10), names, wrong)
        self.n_correct = len(self.sent) - len(wrong)

    def _choose_markers(self, offset, names, wrong):
        """Return six markers (sample, text) at which the verdict does not depend on a few samples."""
        decoder, sent = load(self.bundle), []
        labels = [int(decoder.decode(self.x[k - N_WINDOW + 1 : k + 1]).argmax()) for k in range(N_WINDOW - 1, N)]
        for sample in range(120, N - 120):
            first = sample + offset - (N_WINDOW - 1)
            near = set(labels[first - HOP - STABLE : first + STABLE + 1])
            if len(near) == 1 and (not sent or sample > sent[-1][0] + 60) and len(sent) < 6:
                is_wrong = len(sent) in wrong
                sent.append((sample, names[near.pop() ^ is_wrong]))
        assert len(sent) == 6
        return sent

    def serve(self, start, *, is_cued):
        how = ["--cue-query", self.markers.name] if is_cued else ["--hop-ms", str(10 * HOP)]
        service = start(
            "serve", str(self.bundle), "--query", self.amp.name, "--set", f'markers.name="{self.name}"', *how
        )
        service.wait_for("RUNNING")
        return service

    def play(self):
        self.markers.wait_for_reader()
        for sample, text in [*self.sent, (N, None)]:
            self.amp.push(self.x[self.amp.n : sample], speed=1)
            if text is not None:
                self.markers.outlet.push_sample([text], self.amp.t0_s + sample / 100)


@pytest.fixture
def player(kit, make_decoder, tmp_path):
    return lambda **options: Player(kit, make_decoder, tmp_path, **options)


@pytest.fixture
def page(start, kit):
    """Open the page of a player; return a function that waits for figures that satisfy a condition."""
    sockets = contextlib.ExitStack()

    def begin(player, *more):
        monitor = start("monitor", "--port", "0", "--service", player.name, "--query", player.amp.name, *more)
        port = re.search(r":(\d+)/", monitor.wait_for(r"http://127\.0\.0\.1:\d+/"))[1]
        live = sockets.enter_context(
            connect(f"ws://127.0.0.1:{port}/live", origin=f"http://127.0.0.1:{port}", open_timeout=60, close_timeout=1)
        )
        newest, about = {}, {}

        def figures(condition=lambda figures: True):
            def look():
                data = live.recv(timeout=60)
                update = {} if isinstance(data, bytes) else json.loads(data)
                newest.update(update.get("figures") or {})
                about.update(update.get("about") or {})
                return newest and condition(newest)

            kit.until(look, lambda: f"in {newest} of {about}")
            return dict(newest)

        figures(lambda figures: figures["state"] and player.markers.name in about["markers"])
        return figures

    with sockets:
        yield begin


def accuracy_in(said: str) -> list[tuple[int, int]]:
    """Return the numbers of each line about the accuracy: correct, and of how many."""
    return [(int(a), int(b)) for a, b in re.findall(r"^accuracy [\d.]+ \((\d+) of (\d+)", said, re.MULTILINE)]


@pytest.mark.parametrize("offset_ms", EVENTS)
@pytest.mark.parametrize("is_cued", [True, False])
def test_the_page_the_service_and_the_score_agree(player, page, start, recorder, tmp_path, is_cued, offset_ms):
    me = player(offset_ms=offset_ms)
    service, recording = me.serve(start, is_cued=is_cued), recorder(me.amp, me.markers)
    figures = page(me)
    me.play()
    found = figures(lambda figures: figures["n_judged"] == 6)
    assert (found["n_correct"], found["n_none"], found["why_not_judged"]) == (me.n_correct, 0, "")
    assert service.interrupt() == 0
    assert accuracy_in(service.said) == ([(me.n_correct, 6)] if is_cued else [])
    assert recording.interrupt() == 0
    score = start("score", str(me.bundle), str(recorder.path), *([] if is_cued else ["--hop-ms", str(10 * HOP)]))
    assert score.wait() == 0, score.said
    assert accuracy_in(score.said) == [(me.n_correct, 6)]


def test_at_cues_each_of_two_players_sees_only_their_own_accuracy(player, page, start):
    players = [player(offset_ms=-130, wrong=()), player(offset_ms=-130, seed=1, wrong=range(6))]
    services = [each.serve(start, is_cued=True) for each in players]
    pages = [page(each) for each in players]
    for each in players:
        each.play()
    for each, service, figures in zip(players, services, pages, strict=True):
        assert figures(lambda figures: figures["n_judged"] == 6)["n_correct"] == each.n_correct
        assert service.interrupt() == 0
        assert accuracy_in(service.said) == [(each.n_correct, 6)]


def test_at_every_hop_one_of_two_players_is_judged_only_if_the_markers_are_named(player, page, start):
    me, other = player(offset_ms=-130), player(offset_ms=-130, seed=1, wrong=range(6))
    for each in (me, other):
        each.serve(start, is_cued=False)
    unnamed, named = page(me), page(me, "--cue-query", me.markers.name)
    unnamed(lambda figures: "--cue-query" in figures["why_not_judged"])
    other.play()
    me.play()
    assert named(lambda figures: figures["n_judged"] == 6)["n_correct"] == me.n_correct
    found = unnamed()
    assert (found["n_judged"], found["n_correct"]) == (0, 0)


def test_a_page_that_opens_late_shows_the_tally_of_the_whole_session(player, page, start, kit):
    me = player(offset_ms=0)
    service, listener = me.serve(start, is_cued=True), kit.Listener(f"{me.name}-markers")
    me.play()
    newest = listener.wait_for(lambda message: message.n_judged == 6, "the sixth verdict")
    assert [message.truth for message in listener.verdicts()] == [
        "left" if text == "769" else "right" for _, text in me.sent
    ]
    assert newest.n_correct == me.n_correct
    assert page(me)(lambda figures: figures["n_judged"] == 6)["n_correct"] == me.n_correct
    assert service.interrupt() == 0
