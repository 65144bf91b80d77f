"""Those who listen: one that notes when sound came, and one that plays it at the speed of sound.

Both are called on the engine's thread and read by the one that measures. Times are in seconds of one clock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from xtts_rtc.errors import EngineUnavailable, XttsRtcError
from xtts_rtc.types import (
    OUTPUT_HZ,
    AudioEvent,
    Backend,
    EndEvent,
    Event,
    SamplingParams,
    Segment,
    StreamRequest,
)

FRAME_SAMPLES = OUTPUT_HZ // 50
"""What a listener takes at once: 20 ms, a WebRTC frame."""
FRAME_S = FRAME_SAMPLES / OUTPUT_HZ
_TICK_S = 0.004
_UNLIMITED = 10**9

Clock = Callable[[], float]


@dataclass(slots=True, eq=False)
class Listener:
    """Notes when each chunk came, in seconds after `opened_at`, and how the stream ended."""

    opened_at: float
    clock: Clock = time.monotonic
    chunks: list[tuple[float, int]] = field(default_factory=list)
    end: EndEvent | None = None
    error: XttsRtcError | None = None
    completed_s: float | None = None
    is_over: threading.Event = field(default_factory=threading.Event)

    def __call__(self, event: Event) -> None:
        now = self.clock() - self.opened_at
        if isinstance(event, AudioEvent):
            self.hear(now, event.pcm.size)
            if event.is_segment_end:
                self.completed_s = now
            return
        if isinstance(event, EndEvent):
            self.end = event
        else:
            self.error = event.error
        self.is_over.set()

    def hear(self, at_s: float, samples: int) -> None:
        """Note a chunk."""
        if samples:
            self.chunks.append((at_s, samples))

    def wait(self) -> EndEvent:
        """Until the stream is over; raises its error."""
        self.is_over.wait()
        if self.end is None:
            raise self.error or EngineUnavailable("the stream ended without an event; report this as a bug")
        return self.end

    @property
    def first_s(self) -> float | None:
        """When the first chunk came."""
        return self.chunks[0][0] if self.chunks else None

    @property
    def total_s(self) -> float:
        """When the last chunk came."""
        return self.chunks[-1][0]

    @property
    def audio_s(self) -> float:
        return sum(samples for _, samples in self.chunks) / OUTPUT_HZ

    def gap_s(self) -> float:
        """The longest wait of somebody who starts with the first chunk and has no buffer; 0 is gap-free."""
        late, plays_until = 0.0, None
        for at, samples in self.chunks:
            if plays_until is not None:
                late = max(late, at - plays_until)
            plays_until = max(at, plays_until or at) + samples / OUTPUT_HZ
        return late


@dataclass(slots=True, eq=False)
class Playout:
    """Takes a frame every 20 ms, beginning `start_buffer_s` after the first chunk.

    A frame that had not come when it was due is an underrun: 20 ms of silence, after which playing goes on.
    Judged by the times of arrival, so a late look at the clock changes nothing.
    """

    start_buffer_s: float
    num_due: int = 0
    num_taken: int = 0
    underruns: int = 0
    is_over: bool = False
    _num_heard: int = 0
    _next_chunk: int = 0

    def advance(self, now_s: float, listener: Listener) -> int:
        """Play all frames due until `now_s` (seconds after the listener's `opened_at`); samples taken."""
        taken = 0
        while not self.is_over and listener.first_s is not None:
            due_s = listener.first_s + self.start_buffer_s + self.num_due * FRAME_S
            if due_s > now_s:
                break
            taken += self._take(due_s, listener)
            self.num_due += 1
        self.num_taken += taken
        self.is_over = self.is_over or listener.error is not None
        return taken

    def _take(self, due_s: float, listener: Listener) -> int:
        chunks = listener.chunks
        while self._next_chunk < len(chunks) and chunks[self._next_chunk][0] <= due_s:
            self._num_heard += chunks[self._next_chunk][1]
            self._next_chunk += 1
        wanted = min(FRAME_SAMPLES, self._num_heard - (self.num_due - self.underruns) * FRAME_SAMPLES)
        if wanted == FRAME_SAMPLES:
            return wanted
        if listener.completed_s is not None and listener.completed_s <= due_s:
            self.is_over = True
            return wanted
        self.underruns += 1
        return 0


@dataclass(frozen=True, slots=True)
class Played:
    """One paced listener and how it fared."""

    listener: Listener
    playout: Playout

    @property
    def is_refused(self) -> bool:
        """It got no audio: admission turned it away, or it failed before its first chunk."""
        return self.listener.error is not None and not self.listener.chunks


def speak(backend: Backend, text: str, clock: Clock = time.monotonic) -> Listener:
    """Begin an utterance whose listener takes everything at once."""
    listener, stream = _open(backend, text, clock)
    backend.consumed(stream, _UNLIMITED)
    return listener


def play(
    backend: Backend,
    starts_s: Sequence[float],
    text: str,
    *,
    start_buffer_s: float,
    clock: Clock = time.monotonic,
    wait: Callable[[float], None] = time.sleep,
) -> list[Played]:
    """Listeners who come at `starts_s` (ascending, from now), all paced here until each has heard everything.

    Raises what ended a stream that had begun to speak; one that was refused is reported as such.
    """
    begin = clock()
    playing: list[tuple[int, Played]] = []
    while len(playing) < len(starts_s) or not all(played.playout.is_over for _, played in playing):
        if len(playing) < len(starts_s) and clock() - begin >= starts_s[len(playing)]:
            listener, stream = _open(backend, text, clock)
            playing.append((stream, Played(listener, Playout(start_buffer_s))))
            continue
        for stream, played in playing:
            taken = played.playout.advance(clock() - played.listener.opened_at, played.listener)
            if taken:
                backend.consumed(stream, taken)
        wait(_TICK_S)
    for _, played in playing:
        if not played.is_refused:
            played.listener.wait()
    return [played for _, played in playing]


def _open(backend: Backend, text: str, clock: Clock) -> tuple[Listener, int]:
    listener = Listener(clock(), clock)
    stream = backend.open(StreamRequest(sampling=SamplingParams(seed=0)), listener)
    backend.say(stream, Segment(0, text, text))
    backend.end(stream)
    return listener, stream


__all__ = ["FRAME_S", "FRAME_SAMPLES", "Clock", "Listener", "Played", "Playout", "play", "speak"]
