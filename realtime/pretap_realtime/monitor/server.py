"""Server of the page: static files, and a WebSocket that sends updates thirty times a second. Used by `command`."""

from __future__ import annotations

import asyncio
import contextlib
import mimetypes
import socket
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from pretap_realtime.console.stopping import Stop
from pretap_realtime.monitor.follower import Follower
from pretap_realtime.monitor.guard import Guard, allowed_hosts
from pretap_realtime.monitor.view import Cursor

_TICK_S: Final = 1 / 30
_FIGURES_EVERY: Final = 10  # ticks
_MAX_PAGES: Final = 8
_SLOW_S: Final = 5.0  # a page that reads nothing for this long is disconnected
_STATIC: Final = Path(__file__).with_name("static")


def run(follower: Follower, *, listener: socket.socket, names: Collection[str], stop: Stop) -> None:
    """Serve pages on a bound socket until `stop` is set, under `names` and those of loopback."""
    app = _application(follower, hosts=allowed_hosts(names, listener.getsockname()[1]))
    asyncio.run(serve(app, listener=listener, stop=stop))


async def serve(app: ASGIApp, *, listener: socket.socket, stop: Stop) -> None:
    """Serve an application with static files and WebSockets on a bound socket until `stop` is set."""
    mimetypes.add_type("text/javascript", ".js")  # a Windows registry may contain another type, which browsers refuse
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="websockets-sansio",
        ws_max_size=1024,
        ws_max_queue=4,
        ws_per_message_deflate=False,  # it would take a third of a core, and EEG noise does not compress
        h11_max_incomplete_event_size=16384,
        limit_concurrency=64,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
    )
    await _Server(config, stop).serve(sockets=[listener])


class _Server(uvicorn.Server):
    """A server that ends when `stop` is set, and handles no signals itself."""

    def __init__(self, config: uvicorn.Config, stop: Stop) -> None:
        super().__init__(config)
        self._stop = stop

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end; called ten times a second."""
        return await super().on_tick(counter) or self._stop.is_set()

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


def _application(follower: Follower, *, hosts: Collection[str]) -> Guard:
    n_pages = 0

    async def live(socket: WebSocket) -> None:
        nonlocal n_pages
        if n_pages >= _MAX_PAGES:
            await socket.close(1013, f"At most {_MAX_PAGES} pages can be open.")
            return
        n_pages += 1
        try:
            await socket.accept()
            await _send_updates(socket, follower)
        finally:
            n_pages -= 1

    app = Starlette(routes=[WebSocketRoute("/live", live), Mount("/", StaticFiles(directory=_STATIC, html=True))])
    return Guard(app, hosts=hosts)


async def _send_updates(page: WebSocket, follower: Follower) -> None:
    """Send updates until the page disconnects. A page that sends a message is closed."""
    ended = asyncio.create_task(page.receive())
    cursor, n_ticks = Cursor(), 0
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    encoder = msgspec.json.Encoder()
    try:
        while not ended.done():
            update, frame, cursor = follower.update(cursor, with_figures=n_ticks % _FIGURES_EVERY == 0)
            n_ticks += 1
            is_news = update.about or update.decisions or update.events or update.judged or update.figures
            async with asyncio.timeout(_SLOW_S):
                if is_news:
                    await page.send_text(encoder.encode(update).decode())
                if frame:
                    await page.send_bytes(frame)
            due_s = max(due_s + _TICK_S, loop.time())
            await asyncio.wait([ended], timeout=due_s - loop.time())
        if ended.result()["type"] == "websocket.receive":
            await page.close(1008, "This socket accepts no messages.")
    except (WebSocketDisconnect, RuntimeError, TimeoutError):
        pass
    finally:
        ended.cancel()
