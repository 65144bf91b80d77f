"""The state of one utterance inside the engine. Engine thread only, but for `Stream.cancelled_at`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from xtts_rtc.engine.ramp import RunOnGuard
from xtts_rtc.model.window import LatentWindow
from xtts_rtc.types import OUTPUT_HZ, Conditioning, Event, Segment, StreamMetrics, StreamRequest


class Need(Enum):
    """What a stream waits for next."""

    TEXT = auto()
    PREFILL = auto()
    STEP = auto()
    VOCODE = auto()
    CLOSE = auto()


@dataclass(slots=True, eq=False)
class Decode:
    """One segment between its prefill and its last sample.

    `num_unfilled` positions have yet to be prefilled, which `interrupt` stops from any thread; `seen` [V] is the
    repetition penalty's memory; `chunk_tokens` is how many latents the next vocoder call waits for.
    """

    segment: Segment
    seen: NDArray[np.bool_]
    window: LatentWindow
    guard: RunOnGuard
    cap_tokens: int
    chunk_tokens: int
    num_unfilled: int
    interrupt: Callable[[], None]
    num_tokens: int = 0
    num_vocoded: int = 0
    last_token: int = 0
    is_stopped: bool = False

    @property
    def num_waiting(self) -> int:
        """Latents that no vocoder call has seen as new."""
        return self.window.num_latents - self.num_vocoded


@dataclass(slots=True, eq=False)
class Stream:
    """One utterance: its segments, its slot, its clock."""

    id: int
    request: StreamRequest
    on_event: Callable[[Event], None]
    opened_at: float
    rng: np.random.Generator
    segments: deque[Segment] = field(default_factory=deque)
    is_ended: bool = False
    cancelled_at: float | None = None  # written by any thread, once
    slot: int | None = None
    voice: Conditioning | None = None
    decode: Decode | None = None
    text_at: float | None = None  # when the text now waited for came
    admitted_at: float | None = None
    first_audio_at: float | None = None
    plays_until: float = 0.0  # when the audio handed out so far has been heard
    is_starved: bool = True  # all text so far is spoken: silence now is the writer's, not ours
    emitted_samples: int = 0
    consumed_samples: int = 0
    num_tokens: int = 0
    num_segments: int = 0
    num_underruns: int = 0

    @property
    def need(self) -> Need:
        if self.decode is not None:
            decode = self.decode
            if decode.num_unfilled:
                return Need.PREFILL
            is_full = decode.is_stopped or decode.num_waiting >= decode.chunk_tokens
            return Need.VOCODE if is_full else Need.STEP
        if self.segments:
            return Need.PREFILL
        return Need.CLOSE if self.is_ended else Need.TEXT

    @property
    def can_step(self) -> bool:
        """Its segment is prefilled and not over: a shared step may take it along."""
        return self.decode is not None and not self.decode.num_unfilled and not self.decode.is_stopped

    def ahead_s(self, now: float) -> float:
        """Seconds of audio between what is made and what was heard, by the clock and by the reader."""
        unread = (self.emitted_samples - self.consumed_samples) / OUTPUT_HZ
        return max(unread, self.plays_until - now) if self.request.is_realtime else unread

    def emitted(self, samples: int, now: float) -> None:
        """Move the clock of playback by a chunk that is handed out now."""
        seconds = samples / OUTPUT_HZ
        is_late = self.plays_until < now
        if is_late and not self.is_starved and self.request.is_realtime:
            self.num_underruns += 1
        self.plays_until = (now if is_late else self.plays_until) + seconds
        self.is_starved = False
        self.emitted_samples += samples
        if self.first_audio_at is None:
            self.first_audio_at = now

    def metrics(self, now: float) -> StreamMetrics:
        """The figures so far."""
        since = self.opened_at
        return StreamMetrics(
            queue_s=(self.admitted_at if self.admitted_at is not None else now) - since,
            first_audio_s=None if self.first_audio_at is None else self.first_audio_at - since,
            total_s=now - since,
            audio_s=self.emitted_samples / OUTPUT_HZ,
            num_tokens=self.num_tokens,
            num_segments=self.num_segments,
            num_underruns=self.num_underruns,
            cancel_to_idle_ms=None if self.cancelled_at is None else 1e3 * (now - self.cancelled_at),
        )


__all__ = ["Decode", "Need", "Stream"]
