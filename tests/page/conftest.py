"""A real Chromium in front of a real server; what is heard in the page is kept sample for sample."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.fakes import serving
from xtts_rtc.api import Engine
from xtts_rtc.transports.pages import page_routes
from xtts_rtc.types import Float32

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

T = TypeVar("T")
FOLDER = Path(__file__).parent
HZ = 24_000
BLOCK = 128
FLAGS = [
    "--autoplay-policy=no-user-gesture-required",
    "--disable-background-networking",
    "--no-proxy-server",
    "--host-resolver-rules=MAP engine.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@pytest.fixture(scope="module")  # its event loop stands in the way of every async test that follows
def launch() -> Iterator[Callable[..., Browser]]:
    """Starts Debian's Chromium, or Chrome, with further flags; `make test` installs one where there is none."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert path, "no Chromium: `make test` installs it, or apt-get install chromium"
    with sync_playwright() as playwright:
        made: list[Browser] = []

        def start(*flags: str) -> Browser:
            made.append(
                playwright.chromium.launch(
                    executable_path=path, args=[*FLAGS, *flags], chromium_sandbox=os.geteuid() != 0
                )
            )
            return made[-1]

        yield start
        for browser in made:
            browser.close()


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Browser]) -> Browser:
    """Without a microphone."""
    return launch()


def recorder_route() -> Route:
    """A file beside the page's: its policy takes scripts from the server only, and Playwright adds no worklet."""
    recorder = (FOLDER / "recorder.mjs").read_bytes()

    async def answer(request: Request) -> Response:
        return Response(recorder, media_type="text/javascript")

    return Route("/page/recorder.mjs", answer)


@contextlib.contextmanager
def on_a_thread(opened: Callable[[], contextlib.AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """What a context gives, which lives on an event loop and a thread of its own."""
    started = threading.Event()
    found: list[Any] = []

    async def run() -> None:
        stop = asyncio.Event()
        async with opened() as given:
            found.extend([given, asyncio.get_running_loop(), stop])
            started.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),), name="page-server")
    thread.start()
    try:
        assert started.wait(60), "the server did not start"
        yield found[0]
    finally:
        if found:
            found[1].call_soon_threadsafe(found[2].set)
        thread.join(30)


@contextlib.contextmanager
def background(make_engine: Callable[[], Engine], *, api_key: str | None = None, port: int = 0) -> Iterator[int]:
    """The engine server with the page that speaks a text; gives its port."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[int]:
        front = [*page_routes("page", "/"), recorder_route()]
        async with make_engine() as engine, serving(engine, port=port, api_key=api_key, front=front) as taken:
            yield taken

    with on_a_thread(opened) as taken:
        yield taken


@dataclass
class Visit:
    """One open page and what it did: console errors, requests, and the sound."""

    page: Page
    origin: str
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def state(self, wanted: str, *, timeout_s: float = 20) -> None:
        """Wait until the page is in this state."""
        self.page.wait_for_selector(f'body[data-state="{wanted}"]', timeout=timeout_s * 1000)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def seconds(self, selector: str) -> float:
        """A figure such as "182 ms" or "1.24 s"."""
        value, unit = self.text(selector).split()
        return float(value) / (1000 if unit == "ms" else 1)

    def sent(self, index: int = -1) -> Float32:
        """[S] float32: what the server streamed for a click on Speak that was not stopped."""
        number = f"window.captured.streams.length + {index}" if index < 0 else str(index)
        return np.array(self.page.evaluate(f"window.sent({number})"), np.float32) / 32768

    def heard(self) -> Float32:
        """[S] float32: what reached the loudspeaker, from its first sound to its last; pauses are silence."""
        blocks = self.page.evaluate("window.heard()")
        if not blocks:
            return np.zeros(0, np.float32)
        first = blocks[0]["frame"]
        pcm = np.zeros(blocks[-1]["frame"] - first + BLOCK, np.float32)
        for block in blocks:
            pcm[block["frame"] - first :][:BLOCK] = block["samples"]
        return pcm

    def forget(self) -> None:
        """Drop what was heard so far, once the fade of a stop has come through."""
        self.page.wait_for_timeout(300)
        self.page.evaluate("void (window.captured.blocks.length = 0)")

    def silent_after_stop_s(self) -> float:
        """From the last Stop until the last sound, on the clock of the audio."""
        last = self.page.evaluate("window.heard()")[-1]["frame"] + BLOCK
        return float(last / HZ - self.page.evaluate("window.captured.stops.at(-1)"))


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens the page of a port. No test leaves an error in the console or asks another origin."""
    visits: list[Visit] = []

    def open_page(
        port: int,
        *,
        host: str = "127.0.0.1",
        voices: bool = True,
        within: Browser = browser,
        capture: str = "capture.js",
        **options: Any,
    ) -> Visit:
        page = within.new_context(**options).new_page()
        made = Visit(page, f"http://{host}:{port}")
        visits.append(made)
        page.on("console", lambda message: message.type == "error" and made.errors.append(message.text))
        page.on("pageerror", lambda error: made.errors.append(str(error)))
        page.on("request", lambda request: made.requests.append(request.url))
        page.add_init_script(path=FOLDER / capture)
        page.goto(made.origin + "/")
        if voices:
            page.wait_for_selector("#toggle:enabled")
        return made

    yield open_page
    for made in visits:
        made.page.context.close()
        unasked = [text for text in made.errors if "Failed to load resource" not in text]  # refusals are tested too
        assert unasked == []
        assert [url for url in made.requests if not url.startswith((made.origin + "/", "blob:"))] == []
