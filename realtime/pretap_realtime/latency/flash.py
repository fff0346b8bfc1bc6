"""Content of the page: each decision as text, or a square that flips, with a marker at each flip. Used by `command`."""

from __future__ import annotations

import random
from typing import Final

from pretap_realtime.latency.measure import OnDecision
from pretap_realtime.latency.page import Page
from pretap_realtime.latency.passages import Passage
from pretap_realtime.lsl.library import local_clock
from pretap_realtime.lsl.outlet import Outlet
from pretap_realtime.send.messages import Message

STREAM: Final = "pretap-flash"
_FLIP_S: Final = 0.5  # so at most one flash a second: more than three a second can cause seizures (WCAG 2.3.1)


def label_on(page: Page) -> OnDecision:
    """Return what shows each decision as text on the page."""

    def on_decision(passage: Passage, message: Message) -> None:
        def on_shown(shown_s: float | None) -> None:
            passage.shown_s = shown_s

        page.show({"label": message.label}, on_shown)

    return on_decision


class Flasher:
    """Flips the square at decisions, half a second to a second apart.

    The pause is random, so that flips do not keep in step with the frames of the screen, and a missed one is noticed.
    Each flip sends two markers on `STREAM`: ``decision/on`` with the timestamp of the decision's last sample, and
    ``flash/on`` with the time of the page's frame; or ``off``.
    """

    def __init__(self, page: Page) -> None:
        self.n_flips = 0
        self._page = page
        self._outlet = Outlet(STREAM, "Markers", labels=["marker"], format="string")
        self._is_on = self._is_pending = False
        self._next_s = 0.0

    def on_decision(self, passage: Passage, message: Message) -> None:  # noqa: ARG002
        """Flip the square if it is time."""
        if self._is_pending or local_clock() < self._next_s:
            return
        self._is_pending, self._is_on = True, not self._is_on
        word = "on" if self._is_on else "off"

        def on_shown(shown_s: float | None) -> None:
            if shown_s is not None:
                passage.shown_s = shown_s
                self._outlet.push_sample([f"decision/{word}"], passage.sample_s)
                self._outlet.push_sample([f"flash/{word}"], shown_s)
                self.n_flips += 1
            self._next_s = local_clock() + _FLIP_S * (1 + random.random())  # noqa: S311
            self._is_pending = False

        if not self._page.show({"on": self._is_on}, on_shown):
            self._is_pending, self._is_on = False, not self._is_on

    def close(self) -> None:
        self._outlet.close()
