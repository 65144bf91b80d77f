"""What a caller heard: frames with their times of arrival, and what can be asked of them."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from xtts_rtc.types import Float32

HZ = 48_000
LOUD = 300.0
"""Root mean square of an int16 frame that counts as sound: -41 dBFS, far over Opus' idle noise."""


@dataclass
class Heard:
    at: float
    pcm: np.ndarray[Any, np.dtype[np.int16]] = field(repr=False)

    @cached_property
    def is_loud(self) -> bool:
        """Asked again and again while the call goes on, on its event loop: computed once."""
        return bool(np.sqrt(np.mean(self.pcm.astype(np.float64) ** 2)) > LOUD)


@dataclass(slots=True)
class Ears:
    """Frames of mono int16 at `HZ`, oldest first. Times are seconds since the epoch."""

    frames: list[Heard] = field(default_factory=list, repr=False)

    def loud_times(self, since: float = 0.0) -> list[float]:
        return [frame.at for frame in self.frames if frame.at >= since and frame.is_loud]

    def pcm(self, since: float = 0.0, until: float = float("inf")) -> Float32:
        parts = [frame.pcm for frame in self.frames if since <= frame.at < until]
        pcm: Float32 = np.concatenate([np.zeros(0, np.int16), *parts]).astype(np.float32) / np.float32(32_768)
        return pcm

    async def until_loud(self, since: float, limit_s: float = 20.0) -> float:
        async with asyncio.timeout(limit_s):
            while not (times := self.loud_times(since)):
                await asyncio.sleep(0.01)
        return times[0]

    async def until_quiet(self, for_s: float = 1.0, limit_s: float = 60.0) -> float:
        """Wait for so much silence after sound; the time of the last sound."""
        async with asyncio.timeout(limit_s):
            while not (times := self.loud_times()) or time.time() - times[-1] < for_s:
                await asyncio.sleep(0.05)
        return times[-1]


__all__ = ["HZ", "LOUD", "Ears", "Heard"]
