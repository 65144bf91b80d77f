"""A call as its caller has it: what he says, what he hears, and what the agent's side tells him of it.

Nothing here knows how the sound travels: `phone` and `room_line` do.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xtts_rtc.audio.frames import Int16
from xtts_rtc.demo.ears import HZ, Ears, Heard

FRAME_SAMPLES = HZ // 50


class Mouth:
    """Speaks what is queued, in frames of 20 ms, silence else. `spoken` keeps when which frame went out."""

    def __init__(self) -> None:
        self.spoken: list[Heard] = []
        self.is_choked = False
        self._queue: deque[Int16] = deque()
        self._began: float | None = None
        self._count = 0

    @property
    def is_busy(self) -> bool:
        return bool(self._queue)

    def say(self, pcm: Int16) -> None:
        """pcm [S] int16 mono at 48 kHz, behind what is queued."""
        padded = np.pad(pcm, (0, -len(pcm) % FRAME_SAMPLES))
        self._queue.extend(padded.reshape(-1, FRAME_SAMPLES))

    def choke(self) -> None:
        """Send nothing any more, as when the network goes."""
        self.is_choked = True

    async def next_frame(self) -> tuple[int, Int16]:
        """The next 20 ms, when they are due, and where they begin, in samples since the first."""
        self._began = time.monotonic() if self._began is None else self._began
        await asyncio.sleep(max(0.0, self._began + 0.02 * self._count - time.monotonic()))
        while self.is_choked:
            await asyncio.sleep(0.05)
        pcm = self._queue.popleft() if self._queue else np.zeros(FRAME_SAMPLES, np.int16)
        self.spoken.append(Heard(time.time(), pcm))
        self._count += 1
        return (self._count - 1) * FRAME_SAMPLES, pcm


@dataclass(slots=True)
class Line(Ears):
    """One call. `events` holds what the agent's side told, each with its time `at`."""

    mouth: Mouth = field(default_factory=Mouth)
    events: list[dict[str, Any]] = field(default_factory=list)

    async def until_event(self, kind: str, *, since: float = 0.0, limit_s: float = 20.0) -> dict[str, Any]:
        """The first event of a type after `since`."""
        async with asyncio.timeout(limit_s):
            while True:
                for event in self.events:
                    if event["type"] == kind and event["at"] > since:
                        return event
                await asyncio.sleep(0.01)

    def take_event(self, message: str | bytes) -> None:
        self.events.append({**json.loads(message), "at": time.time()})


__all__ = ["FRAME_SAMPLES", "Line", "Mouth"]
