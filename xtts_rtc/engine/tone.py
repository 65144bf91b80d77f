"""A backend that beeps: no model, the same promises, for transport, load and leak tests.

In: segments. Out: a sine whose pitch tells the stream (`pitch_hz`) and whose length tells the text. It
keeps the whole contract of `Backend`: one thread of its own, a bounded lead over reader and clock,
admission with a waiting time, cancel before the next step. It knows no tensor and no transport.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np

from xtts_rtc.errors import EngineFull, EngineUnavailable, UnknownLanguage, VoiceNotFound, XttsRtcError
from xtts_rtc.types import (
    LANGUAGES,
    OUTPUT_HZ,
    AudioEvent,
    EndEvent,
    ErrorEvent,
    Event,
    Float32,
    Segment,
    StreamMetrics,
    StreamRequest,
)

CHARS_PER_SECOND = 15.0
"""How fast the beep "speaks": about the pace of English."""
_AMPLITUDE = 0.25
_PITCHES = 12
"""Streams that can be told apart by ear; the next one starts over."""


def pitch_hz(stream: int) -> float:
    """The sine's frequency for a stream id: 300 Hz to 1,400 Hz in steps of 100 Hz."""
    return 300.0 + 100.0 * (stream % _PITCHES)


@dataclass(slots=True)
class _Stream:
    id: int
    request: StreamRequest
    on_event: Callable[[Event], None]
    opened_at: float
    deadline: float
    segments: deque[Segment] = field(default_factory=deque)
    is_ended: bool = False
    is_cancelled: bool = False
    cancelled_at: float = 0.0
    left_samples: int = 0
    made_samples: int = 0
    read_samples: int = 0
    first_audio_at: float | None = None
    num_steps: int = 0
    num_steps_after_cancel: int = 0
    num_segments: int = 0
    fail_at_step: int | None = None
    failure: XttsRtcError | None = None


class ToneBackend:
    """Beeps for many streams at once, in rounds: one round makes `step_audio_s` for each that may run.

    `step_s` is what one stream's step costs in wall time. A stream rests while it is `max_unread_s` ahead
    of its reader or, when it is real-time, `max_ahead_s` ahead of the clock. `max_streams` run at once;
    another waits `max_queue_s` for a place and then fails with EngineFull.

    `num_steps` counts all steps; `max_steps_after_cancel` is the most that any one stream's cancel has
    been followed by (the promise of `Backend.cancel` is 1). Both may be read from any thread.
    """

    def __init__(
        self,
        *,
        voices: Collection[str] = ("default",),
        languages: Collection[str] = LANGUAGES,
        max_streams: int = 64,
        max_queue_s: float = 0.0,
        step_s: float = 0.0,
        step_audio_s: float = 0.1,
        max_ahead_s: float = float("inf"),
        max_unread_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.num_steps = 0
        self.max_steps_after_cancel = 0
        self._voices = frozenset(voices)
        self._languages = frozenset(languages)
        self._max_streams = max_streams
        self._max_queue_s = max_queue_s
        self._step_s = step_s
        self._step_samples = round(step_audio_s * OUTPUT_HZ)
        self._max_ahead_s = max_ahead_s
        self._max_unread_samples = round(max_unread_s * OUTPUT_HZ)
        self._clock = clock
        self._changed = threading.Condition()
        self._streams: dict[int, _Stream] = {}
        self._waiting: dict[int, _Stream] = {}
        self._next_id = 0
        self._next_failure: tuple[int, XttsRtcError] | None = None
        self._death: EngineUnavailable | None = None
        self._thread = threading.Thread(target=self._run, name="tone-backend", daemon=True)
        self._thread.start()

    @property
    def num_streams(self) -> int:
        """Streams that run or wait."""
        with self._changed:
            return len(self._streams) + len(self._waiting)

    @property
    def is_dead(self) -> bool:
        """True after `die` or `close`."""
        return self._death is not None

    def die(self) -> None:
        """Stop as a crashed engine does: every stream fails, nothing can be opened any more."""
        self._stop("the engine died; start it again")

    def fail_next(self, error: XttsRtcError, *, after_steps: int = 0) -> None:
        """The stream opened next fails with `error` in place of its step number `after_steps`."""
        with self._changed:
            self._next_failure = (after_steps, error)

    def open(self, request: StreamRequest, on_event: Callable[[Event], None]) -> int:
        if request.voice not in self._voices:
            raise VoiceNotFound(f"Speaker '{request.voice}' not found")
        if request.language not in self._languages:
            known = ", ".join(sorted(self._languages))
            raise UnknownLanguage(f"language {request.language!r} is not spoken here; choose one of {known}")
        now = self._clock()
        with self._changed:
            if self._death is not None:
                raise EngineUnavailable(self._death.message)
            self._next_id += 1
            stream = _Stream(self._next_id, request, on_event, now, now + self._max_queue_s)
            if self._next_failure is not None:
                stream.fail_at_step, stream.failure = self._next_failure
                self._next_failure = None
            place = self._streams if len(self._streams) < self._max_streams else self._waiting
            place[stream.id] = stream
            self._changed.notify()
            return stream.id

    def say(self, stream: int, segment: Segment) -> None:
        with self._changed:
            if (found := self._find(stream)) is not None and not found.is_ended:
                found.segments.append(segment)
                self._changed.notify()

    def end(self, stream: int) -> None:
        with self._changed:
            if (found := self._find(stream)) is not None:
                found.is_ended = True
                self._changed.notify()

    def consumed(self, stream: int, samples: int) -> None:
        with self._changed:
            if (found := self._find(stream)) is not None:
                found.read_samples += samples
                self._changed.notify()

    def cancel(self, stream: int) -> None:
        with self._changed:
            if (found := self._find(stream)) is not None and not found.is_cancelled:
                found.is_cancelled = True
                found.cancelled_at = self._clock()
                self._changed.notify()

    def close(self) -> None:
        self._stop("the engine was closed")
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=5.0)

    def _stop(self, reason: str) -> None:
        with self._changed:
            self._death = self._death or EngineUnavailable(reason)
            self._changed.notify()

    def _find(self, stream: int) -> _Stream | None:
        return self._streams.get(stream) or self._waiting.get(stream)

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._death is None and not self._over_now() and not self._runnable():
                    self._changed.wait(self._wait_s())
                if self._death is not None:
                    break
                over = self._over_now()
                for stream, _ in over:
                    self._drop(stream)
                runnable = self._runnable()
            for stream, last in over:
                stream.on_event(last)
            for stream in runnable:
                self._step(stream)
        self._fail_all()

    def _fail_all(self) -> None:
        with self._changed:
            left = [*self._streams.values(), *self._waiting.values()]
            self._streams.clear()
            self._waiting.clear()
        assert self._death is not None
        for stream in left:
            stream.on_event(ErrorEvent(EngineUnavailable(self._death.message)))

    def _over_now(self) -> list[tuple[_Stream, Event]]:
        """Streams that need no step any more, each with its last event."""
        over: list[tuple[_Stream, Event]] = []
        for stream in (*self._streams.values(), *self._waiting.values()):
            is_said = stream.is_ended and not stream.segments and stream.id in self._streams
            if stream.is_cancelled or is_said:
                over.append((stream, EndEvent(self._metrics(stream), stream.is_cancelled)))
            elif stream.failure is not None and stream.num_steps == stream.fail_at_step:
                over.append((stream, ErrorEvent(stream.failure)))
            elif stream.id in self._waiting and self._clock() >= stream.deadline:
                message = f"all {self._max_streams} streams are taken; try again in a moment"
                over.append((stream, ErrorEvent(EngineFull(message))))
        return over

    def _metrics(self, stream: _Stream) -> StreamMetrics:
        now = self._clock()
        first = stream.first_audio_at
        return StreamMetrics(
            first_audio_s=None if first is None else first - stream.opened_at,
            total_s=now - stream.opened_at,
            audio_s=stream.made_samples / OUTPUT_HZ,
            num_tokens=stream.num_steps,
            num_segments=stream.num_segments,
            cancel_to_idle_ms=(now - stream.cancelled_at) * 1000 if stream.is_cancelled else None,
        )

    def _drop(self, stream: _Stream) -> None:
        self._streams.pop(stream.id, None)
        self._waiting.pop(stream.id, None)
        while self._waiting and len(self._streams) < self._max_streams:
            oldest = next(iter(self._waiting))
            self._streams[oldest] = self._waiting.pop(oldest)

    def _runnable(self) -> list[_Stream]:
        return [stream for stream in self._streams.values() if stream.segments and self._rest_s(stream) <= 0]

    def _rest_s(self, stream: _Stream) -> float:
        if stream.made_samples - stream.read_samples >= self._max_unread_samples:
            return float("inf")
        if not stream.request.is_realtime or stream.first_audio_at is None:
            return 0.0
        played_s = self._clock() - stream.first_audio_at
        return stream.made_samples / OUTPUT_HZ - played_s - self._max_ahead_s

    def _wait_s(self) -> float | None:
        """Seconds until the clock alone may change who runs; None when only a call can."""
        waits = [self._rest_s(stream) for stream in self._streams.values() if stream.segments]
        waits += [stream.deadline - self._clock() for stream in self._waiting.values()]
        soonest = min(waits, default=float("inf"))
        return None if soonest == float("inf") else max(0.0, soonest)

    def _step(self, stream: _Stream) -> None:
        if stream.is_cancelled or self._death is not None:
            return
        if self._step_s:
            time.sleep(self._step_s)
        segment = stream.segments[0]
        if stream.left_samples == 0:
            stream.left_samples = max(1, round(len(segment.spoken) / CHARS_PER_SECOND * OUTPUT_HZ))
            stream.num_segments += 1
        pcm = self._beep(stream, min(self._step_samples, stream.left_samples))
        stream.left_samples -= pcm.size
        stream.first_audio_at = stream.first_audio_at or self._clock()
        stream.num_steps += 1
        self.num_steps += 1
        if stream.is_cancelled:
            stream.num_steps_after_cancel += 1
            self.max_steps_after_cancel = max(self.max_steps_after_cancel, stream.num_steps_after_cancel)
        if stream.left_samples == 0:
            stream.segments.popleft()
        if not stream.is_cancelled:
            stream.on_event(AudioEvent(pcm, segment.index, stream.left_samples == 0))

    def _beep(self, stream: _Stream, samples: int) -> Float32:
        time_s = (np.arange(samples) + stream.made_samples) / OUTPUT_HZ
        stream.made_samples += samples
        return (_AMPLITUDE * np.sin(2 * np.pi * pitch_hz(stream.id) * time_s)).astype(np.float32)


__all__ = ["CHARS_PER_SECOND", "ToneBackend", "pitch_hz"]
