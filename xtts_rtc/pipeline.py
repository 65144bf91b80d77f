"""One utterance over a backend in this process.

In: text as it is written. Out: `SpeechChunk`s at the listener's rate. Text goes through the segmenter to
the backend on the event loop; audio comes back from the backend's thread over one bridge (`_cross`) into
one bounded buffer, trimmed, faded and resampled on the way. Nothing here knows a model or a wire format.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from xtts_rtc.audio.fade import EdgeFade, TailTrim
from xtts_rtc.audio.resample import Resampler
from xtts_rtc.errors import GenerationFailed, InputTimeout, InvalidText, XttsRtcError
from xtts_rtc.metrics import Metrics
from xtts_rtc.types import (
    MAX_UTTERANCE_CHARS,
    OUTPUT_HZ,
    AudioEvent,
    Backend,
    EndEvent,
    ErrorEvent,
    Event,
    Float32,
    Segment,
    SpeechChunk,
    StreamMetrics,
    StreamRequest,
)

if TYPE_CHECKING:
    from xtts_rtc.text.segmenter import Segmenter

_log = logging.getLogger(__name__)

_CHARS_PER_TURN = 500
"""Text that is segmented in one turn of the event loop, so that a long text does not block it (about 5 ms)."""
_RELEASE_CHARS = 20
"""A tail that is shorter than this waits for its end: alone it would be spoken badly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechLimits:
    """Bounds of one local utterance.

    max_chars: text that may be pushed in all. max_buffer_s: audio that may wait for the reader; a backend
    that rests on unread audio, as it must, never comes near it, and one that does not is stopped there.
    release_s: speak a tail of some length after so many seconds without new text (None: wait for its end).
    idle_s: a stream that waits so long for its writer or its reader is ended with InputTimeout, so that it
    does not hold a slot for ever (None: it may). silence_s: what a piece that says nothing sounds like.
    close_s: how long `aclose` waits for the backend.
    """

    max_chars: int = MAX_UTTERANCE_CHARS
    max_buffer_s: float = 60.0
    release_s: float | None = None
    idle_s: float | None = None
    silence_s: float = 0.2
    close_s: float = 10.0


class _Mark(Enum):
    FLUSH = "flush"
    END = "end"


class _Shaper:
    """Backend audio to listener's chunks: tail trim and edge fades per segment, one resampler for all."""

    def __init__(self, sample_rate: int, silence_s: float) -> None:
        self._sample_rate = sample_rate
        self._silence = np.zeros(round(silence_s * OUTPUT_HZ), np.float32)
        self._resampler = Resampler(OUTPUT_HZ, sample_rate)
        self._waiting: deque[Segment] = deque()
        self._segment = -1
        self._text = ""
        self._trim = TailTrim(OUTPUT_HZ)
        self._fade = EdgeFade(OUTPUT_HZ)
        self._num_samples = 0

    def announce(self, segment: Segment) -> None:
        """A segment that will come, spoken or not, in order."""
        self._waiting.append(segment)

    def audio(self, event: AudioEvent) -> list[SpeechChunk]:
        """What the listener gets for it; empty while trim or resampler still hold it."""
        chunks = self._begin(event.segment) if event.segment != self._segment else []
        is_last = event.is_segment_end
        pcm = self._resampler.push(self._fade.push(self._trim.push(event.pcm, is_last), is_last))
        if pcm.size or (is_last and self._text):
            chunks.append(self._chunk(pcm))
        return chunks

    def finish(self) -> list[SpeechChunk]:
        """The rest, the last chunk marked; an utterance without any audio is a short silence."""
        chunks = self._skip_unspoken(None)
        rest = self._resampler.flush()
        if not self._num_samples and not rest.size:
            rest = np.zeros(round(self._silence.size * self._sample_rate / OUTPUT_HZ), np.float32)
        return [*chunks, self._chunk(rest, is_final=True)]

    def _begin(self, index: int) -> list[SpeechChunk]:
        chunks = self._skip_unspoken(index)
        self._segment = index
        self._text = self._waiting.popleft().text
        return chunks

    def _skip_unspoken(self, before: int | None) -> list[SpeechChunk]:
        """Segments that were not sent to the backend, up to index `before` (None: all)."""
        chunks = []
        while self._waiting and self._waiting[0].index != before:
            segment = self._waiting.popleft()
            self._segment, self._text = segment.index, segment.text
            silence = self._silence if segment.text.strip() else self._silence[:0]
            chunks.append(self._chunk(self._resampler.push(silence)))
        return chunks

    def _chunk(self, pcm: Float32, *, is_final: bool = False) -> SpeechChunk:
        text, self._text = self._text, ""
        self._num_samples += pcm.size
        return SpeechChunk(pcm, self._sample_rate, max(0, self._segment), text, is_final)


class LocalSpeech:
    """`Speech` over a `Backend` that is passed in; make and use it on one running event loop.

    The backend's stream is opened here, so its errors (VoiceNotFound, UnknownLanguage, EngineUnavailable)
    come from the constructor. sample_rate in Hz is the rate of the chunks; `metrics` counts what becomes of it.
    """

    def __init__(
        self,
        backend: Backend,
        segmenter: Segmenter,
        request: StreamRequest,
        *,
        sample_rate: int = OUTPUT_HZ,
        limits: SpeechLimits | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._backend = backend
        self._segmenter = segmenter
        self._limits = limits or SpeechLimits()
        self._counts = metrics or Metrics()
        self._is_realtime = request.is_realtime
        self._asked_at: float | None = None
        self._has_audio = False
        self._loop = asyncio.get_running_loop()
        self._shaper = _Shaper(sample_rate, self._limits.silence_s)
        self._inbox: deque[str | _Mark] = deque()
        self._num_chars = 0
        self._segmented_chars = 0
        self._num_unspoken = 0
        self._is_ended = False
        self._turn: asyncio.Handle | None = None
        self._release: asyncio.TimerHandle | None = None
        self._buffer: deque[tuple[SpeechChunk, int]] = deque()
        self._buffered_samples = 0
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._is_cancelled = False
        self._error: XttsRtcError | None = None
        self._metrics: StreamMetrics | None = None
        self._stream = backend.open(request, self._cross)
        self._active_at = self._loop.time()
        self._idle_timer: asyncio.TimerHandle | None = None
        self._watch()

    @property
    def metrics(self) -> StreamMetrics | None:
        return self._metrics

    @property
    def is_idle(self) -> bool:
        """The backend is done with it, whatever of its audio is still unread."""
        return self._idle.is_set()

    def push_text(self, text: str) -> None:
        if self._is_over or not text:
            return
        if self._is_ended:
            raise InvalidText("text was pushed after end_input(); open another speech for it")
        if self._num_chars + len(text) > self._limits.max_chars:
            limit = self._limits.max_chars
            raise InvalidText(f"the text is over the limit of {limit:,} characters for one utterance; split it")
        self._num_chars += len(text)
        self._accept(text)

    def flush(self) -> None:
        if not self._is_ended and not self._is_over:
            self._accept(_Mark.FLUSH)

    def end_input(self) -> None:
        if not self._is_ended and not self._is_over:
            self._is_ended = True
            self._accept(_Mark.END)

    def cancel(self) -> None:
        if not self._is_cancelled:
            self._is_cancelled = True
            self._stop()

    async def aclose(self) -> None:
        if not self._idle.is_set() or self._buffer:
            self.cancel()
        try:
            async with asyncio.timeout(self._limits.close_s):  # Python 3.11's wait_for may lose a cancel
                await self._idle.wait()
        except TimeoutError:
            # The contract of Backend rules this out; hanging the caller for ever would be worse.
            _log.error("stream %d: the backend did not end it within %.0f s", self._stream, self._limits.close_s)

    def __aiter__(self) -> AsyncIterator[SpeechChunk]:
        return self

    async def __anext__(self) -> SpeechChunk:
        while not self._is_cancelled:
            if self._buffer:
                chunk, samples = self._buffer.popleft()
                self._active_at = self._loop.time()
                self._buffered_samples -= samples
                self._backend.consumed(self._stream, samples)
                self._counts.audio(chunk.pcm.size / chunk.sample_rate)
                return chunk
            if self._error is not None:
                raise self._error
            if self._idle.is_set():
                break
            self._changed.clear()
            await self._changed.wait()
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def _is_over(self) -> bool:
        return self._is_cancelled or self._error is not None or self._idle.is_set()

    def _accept(self, item: str | _Mark) -> None:
        if self._release is not None:
            self._release.cancel()
            self._release = None
        self._active_at = self._loop.time()
        self._inbox.append(item)
        if self._turn is None:
            self._work()

    def _work(self) -> None:
        """Segment some of what waits; the rest in the next turn of the loop."""
        self._turn = None
        budget = _CHARS_PER_TURN
        try:
            while self._inbox and budget > 0:
                item = self._inbox.popleft()
                if isinstance(item, str):
                    if len(item) > budget:
                        self._inbox.appendleft(item[budget:])
                    self._say(self._segmenter.push(item[:budget]))
                    budget -= len(item)
                elif item is _Mark.FLUSH:
                    self._say(self._segmenter.flush())
                else:
                    self._say(self._segmenter.end())
                    self._backend.end(self._stream)
        except XttsRtcError as error:
            self._fail(error)
        except Exception as error:
            _log.exception("stream %d: the text could not be segmented", self._stream)
            self._fail(GenerationFailed(f"the text could not be segmented ({type(error).__name__})"))
        if self._inbox:
            self._turn = self._loop.call_soon(self._work)
        elif self._limits.release_s is not None and not self._is_over and self._has_tail():
            self._release = self._loop.call_later(self._limits.release_s, self.flush)

    def _has_tail(self) -> bool:
        return not self._is_ended and self._num_chars - self._segmented_chars >= _RELEASE_CHARS

    def _say(self, segments: list[Segment]) -> None:
        for segment in segments:
            self._shaper.announce(segment)
            self._segmented_chars += len(segment.text)
            if segment.spoken:
                self._asked_at = self._asked_at or self._loop.time()
                self._num_unspoken += 1
                self._backend.say(self._stream, segment)

    def _cross(self, event: Event) -> None:
        """The one bridge: the backend's thread to the event loop."""
        try:
            self._loop.call_soon_threadsafe(self._take, event)
        except RuntimeError:  # the loop was closed under the stream: nobody listens any more
            if isinstance(event, AudioEvent):
                self._backend.cancel(self._stream)

    def _watch(self) -> None:
        """End a stream that its writer or its reader has left, and look again when that may be so."""
        if self._limits.idle_s is None or self._is_over:
            return
        if not self._waits_for():
            self._active_at = self._loop.time()  # the backend is at work: nobody is late but itself
        left_s = self._active_at + self._limits.idle_s - self._loop.time()
        if left_s <= 0:
            self._fail(InputTimeout(f"{self._waits_for()} for {self._limits.idle_s:g} s; open another speech"))
        else:
            self._idle_timer = self._loop.call_later(left_s, self._watch)

    def _waits_for(self) -> str:
        """What its caller owes; empty while it is the backend's turn."""
        if self._buffer:
            return "nobody took the audio"
        if not self._is_ended and not self._inbox and not self._num_unspoken:
            return "no text came and the input was not ended"
        return ""

    def _take(self, event: Event) -> None:
        try:
            if isinstance(event, AudioEvent) and event.is_segment_end:
                self._num_unspoken -= 1
            if isinstance(event, AudioEvent) and not self._is_over:
                self._active_at = self._loop.time()
                self._keep(self._shaper.audio(event), event.pcm.size)
            elif isinstance(event, EndEvent) and not self._is_over and not event.is_cancelled:
                self._keep(self._shaper.finish(), 0)
        except Exception as error:
            _log.exception("stream %d: its audio could not be shaped", self._stream)
            self._fail(GenerationFailed(f"the audio could not be shaped ({type(error).__name__})"))
        if isinstance(event, EndEvent):
            self._metrics = event.metrics
        elif isinstance(event, ErrorEvent):
            self._error = self._error or event.error
        if not isinstance(event, AudioEvent):
            self._counts.ended(self._metrics, self._error, is_cancelled=self._is_cancelled)
            self._drop_text()
            self._idle.set()
        self._changed.set()

    def _keep(self, chunks: list[SpeechChunk], samples: int) -> None:
        """Into the buffer; `samples` (at OUTPUT_HZ) are acknowledged when the first chunk is read."""
        if not chunks:
            # Held by trim or resampler, so no reader can ever acknowledge them.
            self._backend.consumed(self._stream, samples)
            return
        if self._asked_at is not None and not self._has_audio and any(chunk.pcm.size for chunk in chunks):
            self._has_audio = True
            self._counts.first_audio(self._loop.time() - self._asked_at, is_realtime=self._is_realtime)
        self._buffered_samples += samples
        for chunk in chunks:
            self._buffer.append((chunk, samples))
            samples = 0
        if self._buffered_samples > self._limits.max_buffer_s * OUTPUT_HZ:
            limit = self._limits.max_buffer_s
            self._fail(GenerationFailed(f"over {limit:g} s of audio were waiting for the reader; read faster"))

    def _fail(self, error: XttsRtcError) -> None:
        self._error = self._error or error
        self._stop()

    def _stop(self) -> None:
        self._drop_text()
        self._buffer.clear()
        self._buffered_samples = 0
        self._backend.cancel(self._stream)
        self._changed.set()

    def _drop_text(self) -> None:
        self._inbox.clear()
        for handle in (self._turn, self._release, self._idle_timer):
            if handle is not None:
                handle.cancel()
        self._turn = self._release = self._idle_timer = None


__all__ = ["LocalSpeech", "SpeechLimits"]
