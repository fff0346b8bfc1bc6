"""A real Chromium on the page of a real `pretap monitor`, with a real `replay` and `serve`."""

from __future__ import annotations

import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from monitored_service import Service
from real_lsl import Child


def _chromium() -> str | None:
    return next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )


@pytest.fixture(scope="session")
def browser():
    """Chromium of the system; tests without one are skipped by name."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install playwright")
    path = _chromium()
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(
            executable_path=path, args=["--headless", "--no-sandbox", "--disable-gpu"], headless=True
        )
        yield chromium
        chromium.close()


@pytest.fixture
def expect(browser):
    """Playwright's assertions, which wait."""
    from playwright.sync_api import expect

    expect.set_options(timeout=60_000)
    return expect


def _note(said: list[str], message) -> None:
    if "willReadFrequently" not in message.text:  # from a test that reads pixels
        said.append(f"{message.type}: {message.text}")


@pytest.fixture
def open_page(browser, request) -> Iterator[Callable]:
    """Open a page in the browser; its console messages are collected in `open_page.said`."""
    contexts, said = [], []

    def open_page(url: str, *, width=1280, height=800, dark=False):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        context.set_default_timeout(60_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: _note(said, message))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        page.goto(url)
        return page

    open_page.said = said
    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Child]]:
    """Start ``pretap ARGUMENTS`` as a process; it ends with the test."""
    children: list[Child] = []

    def start(*arguments: str) -> Child:
        children.append(Child(tmp_path, [sys.executable, "-m", "pretap", *arguments]))
        return children[-1]

    yield start
    for child in reversed(children):
        if child.process.poll() is None:
            child.process.terminate()
    for child in reversed(children):
        child.end()
        print(child.said)  # shown if the test failed


@pytest.fixture
def monitor(start) -> Callable[..., str]:
    """Start a monitor; return the address of its page."""

    def begin(*arguments: str) -> str:
        said = start("monitor", "--port", "0", *arguments).wait_for(r"http://127\.0\.0\.1:\d+/")
        return re.search(r"http\S+", said)[0]

    return begin


@pytest.fixture
def service():
    made = []

    def make(**options) -> Service:
        made.append(Service(f"svc-{secrets.token_hex(4)}", **options))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest.fixture
def picture(request) -> Callable:
    """Save a screenshot in docs/figures/ if `--pictures` is given."""

    folder = Path(__file__).resolve().parents[2] / "docs" / "figures"

    def take(page, name: str) -> None:
        if take.asked:
            page.screenshot(path=folder / name)
            with Image.open(folder / name) as picture:
                picture.convert("RGB").quantize(128).save(folder / name, optimize=True)

    take.asked = request.config.getoption("--pictures")
    return take
