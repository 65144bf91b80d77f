"""The page of the voice agent in a real Chromium: every way to fail, a voice from a clip, and without a mouse."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("aiortc")
pytest.importorskip("livekit.agents")

from aioice.ice import StunProtocol

from tests.fakes import tone_engine
from tests.page.call_line import FRAME, HZ, Line, line_of, listener, loud_times, taped, told, until
from tests.page.conftest import Visit, on_a_thread
from xtts_rtc.api import Engine
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.guard.gate import GatedEngine
from xtts_rtc.settings import VoiceSettings
from xtts_rtc.transports.webrtc import Calls
from xtts_rtc.types import LANGUAGES

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.net, pytest.mark.slow]

Open = Callable[..., Visit]
SPEAKERS = Path(__file__).parents[2] / "speakers"


@pytest.fixture(scope="module")
def hearing(launch: Callable[..., Browser]) -> Browser:
    """With a microphone that beeps, for a page that has the permission."""
    return launch("--use-fake-device-for-media-stream")


@pytest.fixture
def visit_call(visit: Open, hearing: Browser) -> Open:
    """Opens the page in a browser whose microphone it may have."""
    return partial(visit, within=hearing, capture="call_capture.js", permissions=["microphone"])


def test_a_denied_microphone_is_told_and_takes_no_line(visit: Open, hearing: Browser) -> None:
    with on_a_thread(listener) as line:
        shown = visit(line.port, within=hearing)
        shown.page.click("#toggle")
        assert told(shown).startswith("The microphone is blocked: Allow it for this page")
        assert shown.text("#toggle") == "Call"
        assert line.calls.num_calls == 0
        assert not [url for url in shown.requests if "/call?" in url]


def test_a_device_without_a_microphone_is_told_apart(visit: Open) -> None:
    with on_a_thread(listener) as line:
        shown = visit(line.port, permissions=["microphone"])
        shown.page.click("#toggle")
        assert told(shown).startswith("No microphone was found: Plug one in")


def test_a_full_server_is_told_and_the_next_click_works(visit_call: Open) -> None:
    with on_a_thread(partial(listener, 1)) as line:
        first, second = visit_call(line.port), visit_call(line.port)
        first.page.click("#toggle")
        first.state("talking")
        second.page.click("#toggle")
        assert told(second) == "Every line is taken: Others are talking with it right now. Try again in 5 s."
        first.page.click("#toggle")
        until(lambda: line.calls.num_calls == 0, first, 10)
        second.page.click("#toggle")
        second.state("talking")
        assert second.page.locator("#problem").is_hidden()


async def lost(*packet: object) -> None:
    """In place of what sends."""


def test_a_network_that_goes_is_told_and_the_microphone_is_off(
    visit_call: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with on_a_thread(listener) as line:
        shown = visit_call(line.port)
        shown.page.click("#toggle")
        shown.state("talking")
        with monkeypatch.context() as cut:  # no packet goes in or out any more
            cut.setattr(StunProtocol, "datagram_received", lambda *packet: None)
            cut.setattr(StunProtocol, "send_stun", lambda *packet: None)
            cut.setattr(StunProtocol, "send_data", lost)
            shown.page.locator("#status", has_text="Nothing comes from the server").wait_for(timeout=10_000)
            assert told(shown).startswith("The connection was lost: Nothing comes from the server any more.")
            assert shown.page.get_attribute("body", "data-state") == "over"
            tracks = "[...document.querySelectorAll('audio')].map((audio) => audio.srcObject)"
            assert shown.page.evaluate(tracks) == [None]
        until(lambda: line.calls.num_calls == 0, shown, 15)


def test_a_server_that_is_stopped_says_good_bye(visit_call: Open) -> None:
    with on_a_thread(listener) as line:
        shown = visit_call(line.port)
        shown.page.click("#toggle")
        shown.state("talking")
    assert told(shown).startswith("The server ended the call: ")
    shown.page.click("#toggle")
    shown.page.locator("#problem-title", has_text="No connection to the server").wait_for()


def test_a_page_that_came_while_models_are_loaded_says_so_and_can_call_when_they_are(visit: Open) -> None:
    gate = GatedEngine()

    @contextlib.asynccontextmanager
    async def early() -> AsyncIterator[tuple[Line, Engine]]:
        async with tone_engine(ToneBackend()) as engine, line_of(gate, Calls(lambda peer: peer.closed.wait())) as line:
            yield line, engine

    with on_a_thread(early) as (line, engine):
        shown = visit(line.port, voices=False)
        shown.page.locator("#status", has_text="Loading the models").wait_for()
        assert shown.page.locator("#toggle").is_disabled() and shown.page.locator("#problem").is_hidden()
        gate.let_in(engine)
        shown.page.wait_for_selector("#toggle:enabled")
        assert shown.text("#status") == "Ready"


def test_plain_http_is_told_before_anybody_clicks(visit: Open) -> None:
    with on_a_thread(listener) as line:
        shown = visit(line.port, host="engine.test", voices=False)
        assert told(shown).startswith("No microphone over plain http: ")
        assert f"engine.test:{line.port}" in told(shown)
        assert shown.page.locator("#toggle").is_disabled()


def test_a_server_with_a_key_asks_for_it_and_calls_go_with_it(visit_call: Open) -> None:
    with on_a_thread(partial(listener, api_key="k-123")) as line:
        shown = visit_call(line.port, voices=False)
        assert told(shown).startswith("This server asks for a key: ")
        shown.page.keyboard.type("wrong")
        shown.page.keyboard.press("Enter")
        shown.page.locator("#problem-title", has_text="refused").wait_for()
        shown.page.fill("#key", "k-123")
        shown.page.keyboard.press("Enter")
        shown.page.wait_for_selector("#toggle:enabled")
        assert shown.page.locator("#key-form").is_hidden() and shown.page.locator("#problem").is_hidden()
        shown.page.click("#toggle")
        shown.state("talking")
        shown.page.click("#toggle")
        until(lambda: line.calls.num_calls == 0, shown, 5)
        shown.page.evaluate("sessionStorage.setItem('xtts-rtc.key', 'the one of yesterday')")
        shown.page.click("#toggle")
        shown.page.wait_for_selector("#key-form:visible")
        shown.page.fill("#key", "k-123")
        shown.page.keyboard.press("Enter")
        shown.page.wait_for_selector("#key-form", state="hidden")
        assert shown.page.locator("#problem").is_hidden()
        assert "k-123" not in "".join(shown.requests)


def test_a_call_begins_with_the_configured_voice_and_language(visit: Open) -> None:
    begins_with = VoiceSettings(voice="anna", language="fr")
    with on_a_thread(partial(listener, voices=("anna", "default"), begins_with=begins_with)) as line:
        shown = visit(line.port)
        assert [shown.page.input_value(f"#{name}") for name in ("voice", "language")] == ["anna", "fr"]


def test_another_voice_and_silence_of_ones_own_are_a_click_away_in_the_call(visit_call: Open) -> None:
    with on_a_thread(partial(listener, voices=("anna", "default"))) as line:
        shown = visit_call(line.port, viewport={"width": 1200, "height": 800})
        assert len(shown.page.locator("#language option").all()) == len(LANGUAGES)
        shown.page.click("#toggle")
        shown.state("talking")
        shown.page.select_option("#voice", "anna")
        shown.page.select_option("#language", "de")
        heard = "window.taped.events.filter(({ type }) => type === 'heard').map(({ event }) => event)"
        until(lambda: len(shown.page.evaluate(heard)) == 2, shown, 5)
        assert shown.page.evaluate(heard) == [
            {"type": "choose", "voice": "anna"},
            {"type": "choose", "language": "de"},
        ]
        until(lambda: loud_times(taped(shown, "caller")).size, shown, 5)
        shown.page.click("#mute")
        shown.page.locator('#mute[aria-pressed="true"]').wait_for()
        quiet = len(taped(shown, "caller"))
        until(lambda: len(taped(shown, "caller")) > quiet + 2 * HZ, shown, 10)
        assert not loud_times(taped(shown, "caller")[quiet + FRAME * 10 :]).size


def test_a_clip_becomes_a_voice_with_its_report_and_only_with_consent(visit: Open, tmp_path: Path) -> None:
    @contextlib.asynccontextmanager
    async def desk() -> AsyncIterator[Line]:
        engine = Engine.load(model="embedded", device="cpu", speakers_dir=tmp_path)
        async with engine, line_of(engine, Calls(lambda peer: peer.closed.wait())) as line:
            yield line

    text = tmp_path / "no clip.wav"
    with on_a_thread(desk) as line:
        text.write_text("This is no sound.")
        shown = visit(line.port)
        shown.page.click("#clone")
        shown.page.set_input_files("#clip", text)
        assert shown.page.input_value("#voice-name") == "no-clip"
        shown.page.click("#upload")
        assert shown.text("#clone-problem-title") == "Permission is needed"
        assert shown.page.evaluate("document.activeElement.id") == "consent"
        shown.page.check("#consent")
        shown.page.click("#upload")
        shown.page.locator("#clone-problem-title", has_text="This clip cannot be used").wait_for()
        shown.page.set_input_files("#clip", SPEAKERS / "default.wav")
        shown.page.fill("#voice-name", "anna")
        shown.page.click("#upload")
        shown.page.wait_for_selector("#clone-report:visible")
        assert shown.text("#report-title") == "“anna” is ready"
        assert shown.page.evaluate("document.activeElement.id") == "report-title"
        figures = dict(
            zip(
                *(shown.page.locator(f"#report-figures {kind}").all_inner_texts() for kind in ("dt", "dd")), strict=True
            )
        )
        assert figures["Rate"] == "24 kHz" and figures["Length"].endswith(" s")
        shown.page.click("#use-voice")
        assert shown.page.input_value("#voice") == "anna"
        assert (tmp_path / "anna.wav").is_file()


def test_everything_can_be_reached_named_and_read_without_a_mouse_on_a_phone_too(visit_call: Open) -> None:
    phone = {"width": 360, "height": 740}
    with on_a_thread(listener) as line:
        shown = visit_call(line.port, viewport=phone, has_touch=True, is_mobile=True, reduced_motion="reduce")
        roles = shown.page.locator("body").aria_snapshot()
        for name in (
            'heading "Talk to it" [level=1]',
            'button "Call"',
            'region "Conversation"',
            'combobox "Voice"',
            'combobox "Language"',
            'button "Clone a voice from a clip"',
            "status: Ready",
            'img "Sound of both sides',
        ):
            assert name in roles, name
        names = []
        for _ in range(5):
            shown.page.keyboard.press("Tab")
            names.append(shown.page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        assert names == ["API", "Metrics", "toggle", "language", "clone"]  # one voice is no choice
        shown.page.keyboard.press("Enter")
        roles = shown.page.locator("dialog").aria_snapshot()
        for name in (
            'dialog "Clone a voice"',
            'button "Choose a clip',
            'textbox "Name"',
            'checkbox "This is my voice',
            'button "Clone it"',
        ):
            assert name in roles, name
        shown.page.keyboard.press("Escape")
        shown.page.focus("#toggle")
        shown.page.keyboard.press("Enter")
        shown.state("talking")
        assert 'button "Hang up"' in shown.page.locator("body").aria_snapshot()
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= phone["width"]
        sizes = shown.page.evaluate("[...document.querySelectorAll('main button, select')].map((e) => e.offsetHeight)")
        assert min(size for size in sizes if size) >= 40
        log = shown.page.locator('[role="log"]')
        assert log.get_attribute("aria-live") == "polite"
