"""The demo's page on a server of this process, and what a test asks of it and of its tape."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.fakes import serving, tone_engine
from tests.page.conftest import Visit, recorder_route
from xtts_rtc.api import Engine
from xtts_rtc.demo.ears import LOUD
from xtts_rtc.demo.page_server import demo_routes
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.settings import VoiceSettings
from xtts_rtc.transports.webrtc import Calls, IceOptions, Peer
from xtts_rtc.types import Float32

HZ = 24_000
"""Of the tape."""
FRAME = HZ // 50


@dataclass(frozen=True, slots=True)
class Line:
    port: int
    calls: Calls


@contextlib.asynccontextmanager
async def line_of(
    engine: Engine, calls: Calls, api_key: str | None = None, begins_with: VoiceSettings | None = None
) -> AsyncIterator[Line]:
    """The engine and the calls stay the caller's."""
    front = [*demo_routes(engine, calls, begins_with or VoiceSettings()), recorder_route()]
    async with calls, serving(engine, front=front, api_key=api_key) as port:
        yield Line(port, calls)


@contextlib.asynccontextmanager
async def listener(
    max_calls: int = 4,
    voices: tuple[str, ...] = ("default",),
    api_key: str | None = None,
    begins_with: VoiceSettings | None = None,
) -> AsyncIterator[Line]:
    """A server whose agent is ready and says nothing."""

    async def talk(peer: Peer) -> None:
        peer.send_event({"type": "ready", "voice": "default", "model": "none"})
        peer.on_event = lambda event: peer.send_event({"type": "heard", "event": event})
        await peer.closed.wait()

    engine = tone_engine(ToneBackend(), voices=voices)
    calls = Calls(talk, ice=IceOptions(addresses=("127.0.0.1",)), max_calls=max_calls)
    async with engine, line_of(engine, calls, api_key, begins_with) as line:
        yield line


def taped(shown: Visit, side: str) -> Float32:
    """[S] float32 at `HZ`, from the zero of the tape's clock."""
    data = base64.b64decode(shown.page.evaluate("name => window.side(name)", side))
    return np.frombuffer(data, np.int16).astype(np.float32) / 32_768


def loud_times(pcm: Float32) -> np.ndarray[Any, np.dtype[np.float64]]:
    """When it sounds, in seconds: the starts of the 20 ms that are louder than an idle line."""
    frames = pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME)
    return np.flatnonzero(np.sqrt((frames**2).mean(axis=1)) > LOUD / 32_768) * 0.02


def until(is_true: Callable[[], Any], shown: Visit, limit_s: float = 40.0) -> None:
    begun = time.monotonic()
    while not is_true():
        assert time.monotonic() - begun < limit_s, "it never came true"
        shown.page.wait_for_timeout(50)


def told(shown: Visit) -> str:
    shown.page.wait_for_selector("#problem:visible", timeout=20_000)
    assert shown.page.get_attribute("#problem", "role") == "alert"
    return f"{shown.text('#problem-title')}: {shown.text('#problem-detail')}"
