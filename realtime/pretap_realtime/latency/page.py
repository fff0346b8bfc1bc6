"""Page: shows decisions, or a square that flips, in a browser, and reports when. Used by --page and --flash."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.routing import Mount, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from pretap_realtime.lsl.library import local_clock
from pretap_realtime.monitor.guard import Guard, allowed_hosts
from pretap_realtime.monitor.server import serve

Result = TypeVar("Result")
OnShown = Callable[[float | None], None]
"""Called with the time of the frame, or None if the page closed before."""

_STATIC: Final = Path(__file__).with_name("static")
_N_COMPARISONS: Final = 10  # of the clocks, when a page opens
_N_KEPT: Final = 100  # comparisons
_SLOW_S: Final = 3.0
_MAX_PENDING: Final = 100


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Answer of the page to message `n`: when it came and when its frame began, in ms on the page's own clock."""

    n: int
    got: float
    frame: float | None


class PageClock:
    """Converts the page's clock to ours. A message cannot arrive before it was sent, nor can its answer.

    Each exchange so bounds the offset from both sides; the middle of the tightest bounds is taken.
    """

    def __init__(self) -> None:
        self._at_least_s: deque[float] = deque(maxlen=_N_KEPT)
        self._at_most_s: deque[float] = deque(maxlen=_N_KEPT)

    def add(self, answer: Answer, *, sent_s: float, answered_s: float) -> None:
        """Add an exchange: when the message was sent, and when its answer was received."""
        self._at_least_s.append(sent_s - answer.got / 1000)
        self._at_most_s.append(answered_s - (answer.got if answer.frame is None else answer.frame) / 1000)

    def to_ours_s(self, page_ms: float) -> float:
        """Return the time on our clock of a time on the page's."""
        return page_ms / 1000 + (max(self._at_least_s) + min(self._at_most_s)) / 2


class Page:
    """One page in a browser on this machine; a second one is refused.

    Parameters
    ----------
    say
        Called once with a message if the page draws no frames.
    """

    def __init__(self, *, say: Callable[[str], None]) -> None:
        self.is_open = threading.Event()
        self._say, self._has_said = say, False
        self._is_taken = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._queue: asyncio.Queue[tuple[dict[str, object], OnShown]] = asyncio.Queue()
        self._pending: dict[int, tuple[float, OnShown]] = {}  # by number: when it was sent
        self._last: dict[str, object] = {}

    def run(self, work: Callable[[], Result], *, listener: socket.socket) -> Result:
        """Serve the page on a bound socket while `work` runs in a thread, and return its result."""
        return asyncio.run(self._run(work, listener))

    async def _run(self, work: Callable[[], Result], listener: socket.socket) -> Result:
        self._loop = asyncio.get_running_loop()
        routes = [WebSocketRoute("/frames", self._converse), Mount("/", StaticFiles(directory=_STATIC, html=True))]
        app = Guard(Starlette(routes=routes), hosts=allowed_hosts((), listener.getsockname()[1]))
        ended = threading.Event()
        serving = asyncio.create_task(serve(app, listener=listener, stop=ended))
        try:
            return await asyncio.to_thread(work)
        finally:
            ended.set()
            await serving

    def show(self, content: dict[str, object], on_shown: OnShown) -> bool:
        """Show something on the page, from any thread; return whether a page is there to do it."""
        oldest_s = min((sent_s for sent_s, _ in list(self._pending.values())), default=local_clock())
        if not self._has_said and local_clock() > oldest_s + _SLOW_S:
            self._has_said = True
            self._say("The page draws no frames. Is its tab in front?")
        if self._loop is None or not self.is_open.is_set() or len(self._pending) >= _MAX_PENDING:
            return False
        self._loop.call_soon_threadsafe(self._queue.put_nowait, (content, on_shown))
        return True

    async def _converse(self, page: WebSocket) -> None:
        if self._is_taken:
            await page.close(1013, "Another page is open already.")
            return
        self._is_taken = True
        try:
            await page.accept()
            await self._exchange(page)
        finally:
            self._is_taken = False

    async def _exchange(self, page: WebSocket) -> None:
        """Compare the clocks, then send what is to be shown, until the page closes."""
        self._queue = asyncio.Queue()
        answers = asyncio.create_task(self._receive(page))
        n = 0
        try:
            for content in [*[{}] * _N_COMPARISONS, self._last]:
                n += 1
                await self._send(page, n, content, lambda _: None)
                while n in self._pending and not answers.done():
                    await asyncio.sleep(0.001)
            self.is_open.set()
            while not answers.done():
                item = asyncio.create_task(self._queue.get())
                await asyncio.wait([item, answers], return_when=asyncio.FIRST_COMPLETED)
                if not item.done():
                    item.cancel()
                    break
                n += 1
                self._last = item.result()[0]
                await self._send(page, n, *item.result())
        except (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            answers.cancel()
            self.is_open.clear()
            lost = [on_shown for _, on_shown in self._pending.values()]
            while not self._queue.empty():
                lost.append(self._queue.get_nowait()[1])
            self._pending.clear()
            for on_shown in lost:
                on_shown(None)

    async def _send(self, page: WebSocket, n: int, content: dict[str, object], on_shown: OnShown) -> None:
        self._pending[n] = (local_clock(), on_shown)
        await page.send_text(msgspec.json.encode({"n": n, **content}).decode())

    async def _receive(self, page: WebSocket) -> None:
        """Read answers until the page closes; a page that sends anything else is closed."""
        clock = PageClock()
        try:
            while True:
                text = await page.receive_text()
                answered_s = local_clock()
                try:
                    answer = msgspec.json.decode(text, type=Answer)
                    sent_s, on_shown = self._pending.pop(answer.n)
                except (msgspec.MsgspecError, KeyError):
                    await page.close(1008, "Expected the answer to a message.")
                    return
                clock.add(answer, sent_s=sent_s, answered_s=answered_s)
                if answer.frame is not None:
                    on_shown(clock.to_ours_s(answer.frame))
        except (WebSocketDisconnect, RuntimeError, KeyError):
            return
