"""What the tests of the LiveKit plugin share: how to use a TTS as an agent does, and what it emitted."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from livekit.agents import APIConnectOptions

from xtts_rtc.engine.tone import ToneBackend

TEXT = "The first sentence is here. A second one follows it! And a third?"
ONCE = APIConnectOptions(max_retry=0, timeout=5.0)
QUICK_RETRY = APIConnectOptions(max_retry=3, retry_interval=0.0, timeout=5.0)


class Events:
    """The metrics and errors that a TTS emitted."""

    def __init__(self, voice: Any) -> None:
        self.metrics: list[Any] = []
        self.errors: list[Any] = []
        voice.on("metrics_collected", self.metrics.append)
        voice.on("error", self.errors.append)


def pcm_of(events: list[Any]) -> np.ndarray[Any, np.dtype[np.int16]]:
    return np.concatenate([np.frombuffer(event.frame.data, np.int16) for event in events])


async def collect(stream: Any) -> list[Any]:
    async with stream:
        return [event async for event in stream]


def spoken(voice: Any, text: str = TEXT, options: APIConnectOptions = ONCE) -> Any:
    stream = voice.stream(conn_options=options)
    stream.push_text(text)
    stream.end_input()
    return stream


async def until_idle(tone: ToneBackend) -> None:
    async with asyncio.timeout(5):
        while tone.num_streams:
            await asyncio.sleep(0.001)
