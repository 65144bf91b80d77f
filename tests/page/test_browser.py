"""The page at `/` in a real Chromium: what it shows is checked against the server, what it plays sample for sample."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from tests.fakes import tone_engine
from tests.page.conftest import BLOCK, HZ, Visit, background
from tests.scrape import parse
from xtts_rtc.api import Engine
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.types import Float32

pytestmark = [pytest.mark.browser, pytest.mark.net]

Open = Callable[..., Visit]
TEXT = "Only a few seats are left in the front row. There are three new voice messages in your inbox."
"""What the embedded voice says clearly, as does tests/room/test_room_words.py: ten seeds, 96 % of words at least."""


def wait_until(is_true: Callable[[], bool], timeout_s: float = 5.0) -> float:
    """Seconds until it was."""
    begun = time.monotonic()
    while not is_true():
        assert time.monotonic() - begun < timeout_s, "it never came true"
        time.sleep(0.002)
    return time.monotonic() - begun


def assert_heard_as_sent(heard: Float32, sent: Float32) -> None:
    """Sample for sample, but for whole blocks of silence at the ends."""
    begin = int(np.flatnonzero(sent)[0]) // BLOCK * BLOCK
    wanted = sent[begin : int(np.flatnonzero(sent)[-1]) + 1]
    np.testing.assert_array_equal(heard[: len(wanted)], wanted)
    assert not heard[len(wanted) :].any()


def test_the_real_voice_is_heard_as_it_was_streamed_and_its_times_are_the_servers(visit: Open) -> None:
    from xtts_rtc.demo.recogniser import Recogniser, share_heard, words

    with background(lambda: Engine.load(model="embedded", device="cpu")) as port:
        shown = visit(port)
        shown.page.fill("#text", TEXT)
        shown.page.click("#toggle")
        shown.state("speaking")
        assert shown.text("#toggle") == "Stop"
        shown.state("done", timeout_s=40)
        metrics = parse(shown.page.request.get(f"{shown.origin}/metrics").text())
        server_s = sum(value for name, value in metrics.items() if name.startswith("xtts_first_audio_seconds_sum"))
        page_s = shown.seconds("#first-audio")
        sent, heard = shown.sent(), shown.heard()
        assert shown.text("#underruns") == "0"
        assert 0 < float(shown.text("#factor")) < 2
    print(f"first audio: server {server_s * 1000:.0f} ms, page {page_s * 1000:.0f} ms, "
          f"sound {shown.seconds('#heard') * 1000:.0f} ms")  # fmt: skip
    assert server_s <= page_s + 0.001 and page_s - server_s < 0.6  # 60 ms on two cores
    assert page_s <= shown.seconds("#heard") < page_s + 1
    assert_heard_as_sent(heard, sent)
    recogniser = Recogniser()
    try:
        assert share_heard(words(TEXT), recogniser.words(heard, HZ)) >= 0.7
    finally:
        recogniser.close()


@pytest.mark.parametrize("how", ["button", "escape", "waveform"])
def test_stop_is_silence_at_once_and_the_servers_work_ends_within_a_step(visit: Open, how: str) -> None:
    tone = ToneBackend(step_s=0.02, max_ahead_s=3.0)
    with background(lambda: tone_engine(tone)) as port:
        shown = visit(port)
        shown.page.fill("#text", "A sentence of some length. " * 200)
        shown.page.click("#toggle")
        shown.state("speaking")
        wait_until(lambda: shown.page.evaluate("window.heard().length") > 100)
        if how == "escape":
            shown.page.keyboard.press("Escape")
        else:
            shown.page.click("#toggle" if how == "button" else "#wave")
        idle_s = wait_until(lambda: tone.num_streams == 0)
        assert tone.max_steps_after_cancel <= 1
        assert shown.page.get_attribute("body", "data-state") == "stopped"
        assert shown.text("#status").startswith("Stopped after")
        num_steps = tone.num_steps
        shown.page.wait_for_timeout(300)
        silent_s, heard = shown.silent_after_stop_s(), shown.heard()
        print(f"{how}: silent after {silent_s * 1000:.0f} ms, server idle after {idle_s * 1000:.0f} ms")
        assert tone.num_steps == num_steps
        assert silent_s < 0.1
        # A beep of 0.25 at 400 Hz moves 0.026 from sample to sample; a cut without a fade would be up to 0.25.
        assert np.abs(np.diff(heard, append=0)).max() < 0.03


def test_a_second_click_speaks_again_from_the_beginning(visit: Open) -> None:
    tone = ToneBackend(step_s=0.01)
    with background(lambda: tone_engine(tone)) as port:
        shown = visit(port)
        shown.page.fill("#text", "A sentence of some length. " * 20)
        for _ in range(3):
            shown.page.click("#toggle")
            shown.state("speaking")
            shown.page.click("#toggle")
            shown.state("stopped")
        assert shown.text("#toggle") == "Speak"
        shown.page.fill("#text", "Short.")
        shown.forget()
        shown.page.click("#toggle")
        shown.state("done")
        sent, heard = shown.sent(), shown.heard()
        assert_heard_as_sent(heard, sent)
        assert tone.max_steps_after_cancel <= 1


def test_a_stop_before_the_first_audio_ends_the_work_too(visit: Open) -> None:
    tone = ToneBackend(step_s=0.5)
    with background(lambda: tone_engine(tone)) as port:
        shown = visit(port)
        shown.page.click("#toggle")
        wait_until(lambda: tone.num_streams == 1)
        shown.page.click("#toggle")
        shown.state("stopped")
        wait_until(lambda: tone.num_streams == 0)
        assert shown.text("#status") == "Stopped before the first audio."
        assert shown.text("#first-audio") == "–" and not shown.heard().size


@pytest.mark.parametrize(
    ("status", "title", "detail"),
    [
        (404, "The voice was not found", "'zoe'"),
        (422, "The server cannot do this", "'de'"),
        (429, "Every stream is taken", "Try again in"),
        (503, "The server is not ready", "died"),
    ],
)
def test_a_refusal_is_told_in_plain_words_and_the_next_click_works(
    visit: Open, status: int, title: str, detail: str
) -> None:
    tone = ToneBackend(languages=("en",), max_streams=0 if status == 429 else 4)
    with background(lambda: tone_engine(tone, voices=("default", "zoe"))) as port:
        shown = visit(port)
        shown.page.fill("#text", "Short.")
        if status == 404:
            shown.page.select_option("#voice", "zoe")
        if status == 422:
            shown.page.select_option("#language", "de")
        if status == 503:
            tone.die()
        shown.page.click("#toggle")
        shown.state("failed")
        assert shown.text("#problem-title") == title
        assert detail in shown.text("#problem-detail")
        assert shown.page.locator("#key-form").is_hidden()
        assert [text for text in shown.errors if str(status) in text], "another status"
        if status in (404, 422):
            shown.page.select_option("#voice", "default")
            shown.page.select_option("#language", "en")
            shown.page.click("#toggle")
            shown.state("done")
            assert shown.page.locator("#problem").is_hidden()


def test_a_key_is_asked_for_only_by_a_server_that_wants_one_and_stays_in_the_tab(visit: Open) -> None:
    tone = ToneBackend()
    with background(lambda: tone_engine(tone), api_key="k-123") as port:
        shown = visit(port, voices=False)
        shown.page.wait_for_selector("#key-form:visible")
        assert shown.text("#problem-title") == "This server asks for a key"
        assert shown.page.evaluate("document.activeElement.id") == "key"
        shown.page.keyboard.type("wrong")
        shown.page.keyboard.press("Enter")
        shown.page.locator("#problem-title", has_text="refused").wait_for()
        shown.page.fill("#key", "k-123")
        shown.page.keyboard.press("Enter")
        shown.page.wait_for_selector("#toggle:enabled")
        assert shown.page.locator("#key-form").is_hidden() and shown.page.locator("#problem").is_hidden()
        shown.page.fill("#text", "Short.")
        shown.page.click("#toggle")
        shown.state("done")
        shown.page.reload()
        shown.page.wait_for_selector("#toggle:enabled")
        assert shown.page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        assert "k-123" not in "".join(shown.requests)


def test_a_server_that_goes_away_is_told_apart_from_speech_that_breaks_off(visit: Open) -> None:
    tone = ToneBackend(step_s=0.02)
    with background(lambda: tone_engine(tone)) as port:
        shown = visit(port)
        shown.page.fill("#text", "A sentence of some length. " * 20)
        shown.page.click("#toggle")
        shown.state("speaking")
        tone.die()
        shown.state("failed")
        assert shown.text("#problem-title") == "The speech was cut off"
        assert "0.0 s" not in shown.text("#problem-detail")
    shown.page.click("#toggle")
    shown.page.locator("#problem-title", has_text="No connection").wait_for()


def test_voices_are_asked_for_again_until_the_server_is_there(visit: Open) -> None:
    tone = ToneBackend()
    with background(lambda: tone_engine(tone)) as port:
        shown = visit(port, voices=False)
        shown.page.wait_for_selector("#toggle:enabled")
        shown.page.route(
            "**/v1/voices", lambda route: route.fulfill(status=503, json={"error": "it loads", "code": "x"})
        )
        shown.page.reload()
        shown.page.wait_for_selector("#problem:visible")
        assert (shown.text("#problem-title"), shown.text("#problem-detail")) == ("The server is not ready", "It loads.")
        assert shown.page.locator("#toggle").is_disabled()
        shown.page.unroute("**/v1/voices")
        shown.page.wait_for_selector("#toggle:enabled")
        assert shown.page.locator("#problem").is_hidden()


def test_a_phone_on_plain_http_speaks_without_the_audio_thread(visit: Open) -> None:
    tone = ToneBackend(step_s=0.01)
    with background(lambda: tone_engine(tone)) as port:
        shown = visit(port, host="engine.test", viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
        assert not shown.page.evaluate("isSecureContext")
        shown.page.fill("#text", "A sentence of some length. " * 5)
        shown.page.tap("#toggle")
        shown.state("speaking")
        shown.page.tap("#toggle")
        shown.state("stopped")
        wait_until(lambda: tone.num_streams == 0)
        shown.page.fill("#text", "Short.")
        shown.forget()
        shown.page.tap("#toggle")
        shown.state("done")
        assert_heard_as_sent(shown.heard(), shown.sent())
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= 360
        sizes = shown.page.evaluate("[...document.querySelectorAll('button, select, nav a')].map(e => e.offsetHeight)")
        assert min(size for size in sizes if size) >= 40


def test_everything_can_be_reached_and_named_without_a_mouse(visit: Open) -> None:
    with background(lambda: tone_engine(ToneBackend(step_s=0.02))) as port:
        shown = visit(port)
        names = []
        for _ in range(6):
            shown.page.keyboard.press("Tab")
            names.append(shown.page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        assert names == ["API", "Metrics", "text", "voice", "language", "toggle"]
        roles = shown.page.locator("body").aria_snapshot()
        for name in (
            'textbox "Text"',
            'combobox "Voice"',
            'combobox "Language"',
            'button "Speak"',
            "status",
            'img "Waveform',
        ):
            assert name in roles, name
        shown.page.focus("#text")
        shown.page.keyboard.press("Control+Enter")
        shown.state("speaking")
        assert 'button "Stop"' in shown.page.locator("body").aria_snapshot()
        shown.page.keyboard.press("Escape")
        shown.state("stopped")
        assert shown.page.evaluate("document.activeElement.id") == "text"
