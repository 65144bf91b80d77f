"""What a call says: utterances in, a frame each 20 ms out.

In: audio as it is made, and a cut at any moment. Out: frames, silence included, and how much of each
utterance was sent. `Pacer` is the clock of the frames and knows nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from xtts_rtc.audio.frames import Int16, to_int16
from xtts_rtc.audio.playout import Playout
from xtts_rtc.types import Float32, StreamMetrics

FRAME_MS = 20
"""What Asterisk itself sends and expects."""
MAX_LATE_S = 0.1
"""A frame that is later than this is not caught up with: a burst would only make the caller's buffer drop."""

_MAX_WAITING_S = 0.4
"""Audio taken before its time; the engine holds the rest, where a cut costs nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Playback:
    """How an utterance ended: what of it was sent, in seconds, and whether it was cut.

    metrics are the engine's, None when it was not an engine that spoke or when it failed.
    """

    played_s: float
    is_interrupted: bool
    metrics: StreamMetrics | None = None


@dataclass(slots=True, eq=False)
class _Utterance:
    is_cut: bool = False
    has_audio: bool = False
    playback: Playback | None = None


class Mouth:
    """One utterance at a time: `begin`, `push`, `finish`; `cut` at any moment. hz is one of AudioSocket's."""

    def __init__(self, hz: int) -> None:
        self._hz = hz
        self._playout = Playout(hz, hz * FRAME_MS // 1000, on_finished=self._report)
        self._sounding: deque[_Utterance] = deque()  # those of which the playout has a segment
        self._now = _Utterance(is_cut=True)
        self._changed = asyncio.Event()

    @property
    def num_underruns(self) -> int:
        """How often the audio of an utterance was not there in time."""
        return self._playout.num_underruns

    def begin(self) -> None:
        """Another utterance; what is left of the one before is cut."""
        self.cut()
        self._now = _Utterance()

    async def push(self, pcm: Float32) -> bool:
        """pcm [S] float32; waits while enough audio waits. False when the utterance was cut."""
        utterance = self._now
        while not utterance.is_cut and self._playout.queued_samples >= _MAX_WAITING_S * self._hz:
            await self._next_change()
        if utterance.is_cut:
            return False
        if not utterance.has_audio:
            utterance.has_audio = True
            self._sounding.append(utterance)
        self._playout.push(to_int16(pcm))
        return True

    async def finish(self) -> Playback:
        """Nothing follows in this utterance; returns when it was sent or cut."""
        utterance = self._now
        self._playout.end_segment()
        while utterance.has_audio and utterance.playback is None:
            await self._next_change()
        return utterance.playback or Playback(played_s=0.0, is_interrupted=utterance.is_cut)

    def cut(self) -> None:
        """Say no more of it: the next frame falls to silence within 5 ms, and none follows. Idempotent."""
        if not self._now.is_cut:
            self._now.is_cut = True
            self._playout.clear()
            self._playout.end_segment()
            self._changed.set()

    def frame(self) -> Int16:
        """What to send now: [hz / 50] int16."""
        frame = self._playout.frame()
        self._changed.set()
        return frame

    def _report(self, samples: int, is_cut: bool) -> None:
        self._sounding.popleft().playback = Playback(played_s=samples / self._hz, is_interrupted=is_cut)

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class Pacer:
    """When the next frame is due: one each `FRAME_MS` since the first, on a clock that never goes back.

    Lateness does not add up: what was late is followed sooner by the next, up to `MAX_LATE_S`; then the
    schedule starts anew, and `num_skips` counts it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due = clock()
        self.num_skips = 0

    def delay_s(self) -> float:
        """Seconds to wait before the frame after the one that was just sent; 0 when it is late."""
        now = self._clock()
        self._due += FRAME_MS / 1000
        if now - self._due > MAX_LATE_S:
            self._due = now
            self.num_skips += 1
        return max(0.0, self._due - now)


__all__ = ["FRAME_MS", "MAX_LATE_S", "Mouth", "Pacer", "Playback"]
