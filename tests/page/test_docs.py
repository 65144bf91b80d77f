"""The page at `/docs` in a real Chromium, over the description that the server itself gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.fakes import tone_engine
from tests.page.conftest import background
from xtts_rtc.engine.tone import ToneBackend

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def docs(browser: Browser) -> Iterator[Page]:
    """The open page; no test leaves an error in its console or asks another origin."""
    asked, errors = [], []
    with background(lambda: tone_engine(ToneBackend()), api_key="the right key") as port:
        page = browser.new_context().new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}/docs")
        page.wait_for_selector('body[data-state="ready"]')
        page.fill("#key", "the right key")
        yield page
        page.context.close()
    others = [url for url in asked if not url.startswith((f"http://127.0.0.1:{port}/", "blob:", "data:"))]
    assert others == []
    assert [error for error in errors if "status of 4" not in error] == []  # Chromium's word for a refusal we asked for


def card(page: Page, route: str) -> str:
    """Open a route's card; its selector."""
    selector = f'details[data-route="{route}"]'
    page.click(f"{selector} > summary")
    return selector


@pytest.mark.browser
@pytest.mark.net
def test_every_described_route_is_on_the_page_with_its_ranges(docs: Page) -> None:
    api = docs.request.get(docs.url.replace("/docs", "/openapi.json")).json()
    wanted = {f"{method} {path}" for path, routes in api["paths"].items() for method in routes}
    assert {"post /tts", "post /tts_stream", "post /v1/audio/speech", "get /v1/models"} <= wanted
    shown = docs.eval_on_selector_all("details.route", "cards => cards.map((card) => card.dataset.route)")
    assert set(shown) == wanted
    table = docs.inner_text(card(docs, "post /tts") + " .fields")
    assert "over 0, to 2; default 0.75" in table and "from 1, to 1026; default 50" in table
    assert "one of pcm, " in table and "one of en, es" in table


@pytest.mark.browser
@pytest.mark.net
@pytest.mark.parametrize(("format", "kind"), [("", "audio/L16"), ("l16be", "audio/L16"), ("flac", "audio/flac")])
def test_a_route_can_be_tried_and_heard(docs: Page, format: str, kind: str) -> None:
    selector = card(docs, "post /tts_stream")
    docs.fill(f"{selector} textarea[name=text]", "Hello there, this is a test.")
    docs.select_option(f"{selector} select[name=format]", format)
    docs.fill(f"{selector} input[name=seed]", "5")
    docs.click(f"{selector} button")
    docs.wait_for_selector(f"{selector} audio")
    assert docs.inner_text(f"{selector} .status").startswith(f"200 {kind}")
    docs.wait_for_function("selector => document.querySelector(selector).readyState > 0", arg=f"{selector} audio")
    seconds = docs.eval_on_selector(f"{selector} audio", "audio => audio.duration")
    assert format == "flac" or seconds == pytest.approx(28 / 15, abs=0.05)


@pytest.mark.browser
@pytest.mark.net
def test_a_refusal_is_shown_as_it_came(docs: Page) -> None:
    selector = card(docs, "post /tts")
    docs.fill(f"{selector} textarea[name=text]", "Hello.")
    docs.fill(f"{selector} input[name=speaker]", "nobody")
    docs.click(f"{selector} button")
    docs.wait_for_selector(f"{selector} pre")
    assert docs.inner_text(f"{selector} .status").startswith("404 application/json")
    assert "Speaker 'nobody' not found" in docs.inner_text(f"{selector} pre")
