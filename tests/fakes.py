"""Stand-ins that several tests share; each keeps the promises of what it stands for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import replace

import numpy as np
from starlette.routing import Route

from xtts_rtc.api import Engine
from xtts_rtc.app import create_server, listen
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.guard.guards import Guards
from xtts_rtc.guard.keys import KeyRing
from xtts_rtc.text.segmenter import Segmenter
from xtts_rtc.types import Float32, Segment, Speech, SpeechChunk


class PlainSegmenter:
    """Segments at ``.!?`` and a space, with nothing to count and nothing to clean: what a transport test needs."""

    def __init__(self) -> None:
        self._text = ""
        self._index = 0

    @property
    def pending_chars(self) -> int:
        return len(self._text)

    def push(self, delta: str) -> list[Segment]:
        self._text += delta
        segments = []
        while (cut := self._cut()) > 0:
            segments.append(self._take(cut))
        return segments

    def flush(self) -> list[Segment]:
        return [self._take(len(self._text))] if self._text else []

    def end(self) -> list[Segment]:
        return self.flush()

    def _cut(self) -> int:
        for at in range(1, len(self._text)):
            if self._text[at].isspace() and self._text[at - 1] in ".!?":
                return at + 1
        return 0

    def _take(self, cut: int) -> Segment:
        text, self._text = self._text[:cut], self._text[cut:]
        spoken = text.strip() if any(letter.isalnum() for letter in text) else ""
        self._index += 1
        return Segment(self._index - 1, text, spoken)


def tone_engine(
    tone: ToneBackend,
    *,
    max_streams: int = 64,
    voices: Collection[str] = ("default",),
    make_segmenter: Callable[[str], Segmenter] = lambda language: PlainSegmenter(),  # type: ignore[assignment,return-value]
) -> Engine:
    """An engine that beeps."""
    return Engine.over(
        tone,
        make_segmenter,
        voices=lambda: voices,
        max_streams=max_streams,
        is_alive=lambda: not tone.is_dead,
    )


NO_GUARDS = Guards()


@contextlib.asynccontextmanager
async def serving(
    engine: Engine,
    *,
    port: int = 0,
    api_key: str | None = None,
    guards: Guards = NO_GUARDS,
    front: Sequence[Route] | None = None,
) -> AsyncIterator[int]:
    """The engine server on 127.0.0.1, in this event loop; gives its port."""
    listener = listen("127.0.0.1", port)
    guards = replace(guards, keys=KeyRing({"default": api_key})) if api_key else guards
    server = create_server(engine, guards=guards, front=front)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            await asyncio.sleep(0.005)
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task
        listener.close()


async def hear(speech: Speech) -> list[SpeechChunk]:
    """All chunks."""
    return [chunk async for chunk in speech]


def joined(chunks: list[SpeechChunk]) -> Float32:
    """Their audio."""
    return np.concatenate([np.zeros(0, np.float32), *(chunk.pcm for chunk in chunks)])


def loudest_hz(pcm: Float32, sample_rate: int) -> float:
    """The frequency of a beep."""
    return float(np.argmax(np.abs(np.fft.rfft(pcm))) * sample_rate / len(pcm))
