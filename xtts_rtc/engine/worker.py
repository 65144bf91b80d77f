"""The XTTS `Backend`: one thread that owns the model and everything in it.

Others put messages into its inbox or set a stream's cancel mark, which it reads before every prefill, decode
step and vocoder window. What goes wrong inside a stream ends that stream; what goes wrong outside ends the
engine and all its streams at once, with an error and never with silence.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from xtts_rtc.engine.batch import Batch
from xtts_rtc.engine.ramp import Costs, first_chunk_tokens
from xtts_rtc.engine.request import Need, Stream
from xtts_rtc.engine.scheduler import Scheduler, Work
from xtts_rtc.engine.voice_loader import VoiceLoader
from xtts_rtc.errors import EngineFull, EngineUnavailable, GenerationFailed, XttsRtcError
from xtts_rtc.metrics import Metrics
from xtts_rtc.model.interface import Runtime
from xtts_rtc.text.tokenizer import TextFrontend
from xtts_rtc.types import AudioEvent, Conditioning, EndEvent, ErrorEvent, Event, Float32, Segment, StreamRequest
from xtts_rtc.voices.library import VoiceLibrary

logger = logging.getLogger(__name__)

_CLOSE_S = 10.0


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What the engine did and holds at this moment."""

    num_slots: int
    num_active: int
    num_waiting: int
    num_steps: int
    num_step_rows: int
    num_prefills: int
    num_vocoder_frames: int


class XttsBackend:
    """`Backend` over one loaded model.

    max_queue_s: how long a stream may wait for a slot; max_waiting: how many may; max_ahead_s: seconds of
    audio a stream may be ahead of its listener before it rests.
    """

    def __init__(
        self,
        runtime: Runtime,
        frontend: TextFrontend,
        voices: VoiceLibrary,
        *,
        max_queue_s: float = 2.0,
        max_ahead_s: float = 3.0,
        max_waiting: int = 64,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._frontend = frontend
        self.voices = VoiceLoader(voices)
        self._clock = clock
        self._max_waiting = max_waiting
        self._costs = Costs(runtime.info.tokens_per_second)
        self.metrics = metrics or Metrics()
        self._batch = Batch(runtime, frontend, self._costs, clock, self.metrics)
        self._runtime = runtime
        self._num_slots = runtime.num_slots
        self._is_warm = threading.Event()
        self._scheduler = Scheduler(
            num_slots=runtime.num_slots, costs=self._costs, max_ahead_s=max_ahead_s, max_queue_s=max_queue_s
        )
        self._ids = itertools.count(1)
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._streams: dict[int, Stream] = {}
        self._lock = threading.Lock()  # for _streams and _ending: no stream may slip in while the engine ends
        self._ending: str | None = None
        self._thread = threading.Thread(target=self._run, name="xtts-engine", daemon=True)
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        """False once the engine is closing or dead."""
        return self._ending is None

    @property
    def costs(self) -> Costs:
        """Measured times; read only."""
        return self._costs

    def stats(self) -> EngineStats:
        """Counters; a snapshot that other threads may take at any time."""
        batch, scheduler = self._batch, self._scheduler
        return EngineStats(
            num_slots=self._num_slots,
            num_active=len(scheduler.active),
            num_waiting=len(scheduler.waiting),
            num_steps=batch.num_steps,
            num_step_rows=batch.num_step_rows,
            num_prefills=batch.num_prefills,
            num_vocoder_frames=batch.num_frames,
        )

    def open(self, request: StreamRequest, on_event: Callable[[Event], None]) -> int:
        voice = self.voices.known(request.voice)
        self._frontend.resolve(request.language)
        rng = np.random.default_rng(request.sampling.seed)
        stream = Stream(next(self._ids), request, on_event, opened_at=self._clock(), rng=rng, voice=voice)
        with self._lock:
            if self._ending is not None:
                raise EngineUnavailable(self._ending)
            if len(self._streams) >= self._num_slots + self._max_waiting:
                raise EngineFull(f"all {self._num_slots} streams speak and {self._max_waiting} wait; try again later")
            self._streams[stream.id] = stream
        if voice is not None:
            self._take_voice(stream, voice)
        else:
            self.voices.load(request.voice, partial(self._take_voice, stream))
        return stream.id

    def say(self, stream: int, segment: Segment) -> None:
        self._inbox.put(partial(self._take_segment, stream, segment))

    def end(self, stream: int) -> None:
        self._inbox.put(partial(self._take_end, stream))

    def consumed(self, stream: int, samples: int) -> None:
        self._inbox.put(partial(self._take_consumed, stream, samples))

    def cancel(self, stream: int) -> None:
        known = self._streams.get(stream)
        if known is not None and known.cancelled_at is None:
            known.cancelled_at = self._clock()
            if (decode := known.decode) is not None:
                decode.interrupt()
            self._inbox.put(lambda: None)  # wake up, the mark says the rest

    def close(self) -> None:
        self._end("the engine is shutting down; connect to another or try again after its restart")
        self._inbox.put(lambda: None)
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_S)
        self.voices.close()

    def wait_until_warm(self) -> None:
        """Block until every call is as fast as it gets, or the engine ended; it speaks before that too."""
        while self.is_ready and not self._is_warm.wait(0.1):
            pass

    def run_on_engine(self, work: Callable[[], None]) -> None:
        """Queue `work` for the engine thread, between two pieces of its own work."""
        self._inbox.put(work)

    def _take_voice(self, stream: Stream, outcome: Conditioning | Exception) -> None:
        """A stream waits for a slot once its voice is there; meanwhile it holds none. Any thread."""
        self._inbox.put(partial(self._line_up, stream, outcome))

    # Below: engine thread only.

    def _run(self) -> None:
        try:
            self._batch.warm_up()
            while self._ending is None:
                self._turn()
        except Exception as error:
            logger.exception("the engine thread died")
            self._end(f"the engine died ({type(error).__name__}); restart it, its log has the trace")
        reason = self._ending or "the engine ended"
        for stream in list(self._streams.values()):
            self._fail(stream, EngineUnavailable(reason))

    def _turn(self) -> None:
        self._drain()
        now = self._clock()
        self._reap_cancelled()
        self._scheduler.admit(now)
        self._reap_expired(now)  # after admission: who waited while the engine was starting is not late
        work = self._scheduler.next_work(now)
        if work is not None:
            self._do(work)
        elif self._streams or not self._warm():
            self._wait(self._scheduler.wake_in_s(now))

    def _warm(self) -> bool:
        """With nobody there, prepare some more; False when there is nothing left to prepare."""
        if not self._is_warm.is_set() and not self._runtime.warm():
            self._is_warm.set()
        return not self._is_warm.is_set()

    def _drain(self) -> None:
        while True:
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                return
            message()

    def _wait(self, seconds: float | None) -> None:
        try:
            message = self._inbox.get(timeout=seconds)
        except queue.Empty:
            return
        message()

    def _reap_cancelled(self) -> None:
        for stream in [s for s in list(self._streams.values()) if s.cancelled_at is not None]:
            self._finish(stream, is_cancelled=True)

    def _reap_expired(self, now: float) -> None:
        for stream in self._scheduler.expired(now):
            self._fail(stream, EngineFull(self._scheduler.why_full()))

    def _line_up(self, stream: Stream, outcome: Conditioning | Exception) -> None:
        if stream.id not in self._streams:  # cancelled while its voice was loaded
            return
        if isinstance(outcome, Exception):
            self._fail(stream, outcome)
            return
        stream.voice = outcome
        self._scheduler.waiting.append(stream)

    def _do(self, work: Work) -> None:
        if work.need is Need.STEP:
            for stream, error in self._batch.step(work.streams):
                self._fail(stream, error)
            return
        (stream,) = work.streams
        try:
            if work.need is Need.PREFILL:
                self._prefill(stream)
            elif work.need is Need.VOCODE:
                self._vocode(stream)
            else:
                self._finish(stream, is_cancelled=False)
        except Exception as error:
            self._fail(stream, error)

    def _prefill(self, stream: Stream) -> None:
        if stream.decode is not None:
            self._batch.extend(stream, self._scheduler.prefill_positions(self._clock()))
            return
        segment = stream.segments.popleft()
        if not segment.spoken:
            stream.num_segments += 1
            self._emit(stream, AudioEvent(np.zeros(0, np.float32), segment.index, is_segment_end=True))
            return
        self._batch.begin(stream, segment, len(self._scheduler.active), self._clock())

    def _vocode(self, stream: Stream) -> None:
        decode = stream.decode
        assert decode is not None
        pcm = self._batch.vocode(stream, self._scheduler.window_tokens)
        decode.is_stopped = decode.is_stopped or decode.guard.hear(pcm)
        is_end = decode.is_stopped and decode.window.num_ready_samples(is_end=True) == 0
        if pcm.size or is_end:
            self._hand_out(stream, pcm, decode.segment.index, is_end)
        if is_end:
            stream.decode = None
            stream.num_segments += 1
        else:
            self._batch.plan_chunk(stream, len(self._scheduler.active), self._clock())

    def _hand_out(self, stream: Stream, pcm: Float32, segment: int, is_end: bool) -> None:
        if stream.cancelled_at is not None:
            return
        stream.emitted(pcm.size, self._clock())
        self._emit(stream, AudioEvent(pcm, segment, is_segment_end=is_end))

    def _take_segment(self, stream_id: int, segment: Segment) -> None:
        stream = self._streams.get(stream_id)
        if stream is None or stream.is_ended:
            return
        if stream.need is Need.TEXT:
            now = self._clock()
            stream.text_at = now
            soon = self._costs.piece(32) + self._costs.chunk(first_chunk_tokens(self._costs, 1), 1)
            stream.is_starved = stream.plays_until - now < soon
        stream.segments.append(segment)

    def _take_end(self, stream_id: int) -> None:
        if stream := self._streams.get(stream_id):
            stream.is_ended = True

    def _take_consumed(self, stream_id: int, samples: int) -> None:
        if stream := self._streams.get(stream_id):
            stream.consumed_samples += samples

    def _finish(self, stream: Stream, *, is_cancelled: bool) -> None:
        self._forget(stream)
        self._emit(stream, EndEvent(stream.metrics(self._clock()), is_cancelled))

    def _fail(self, stream: Stream, error: Exception) -> None:
        self._forget(stream)
        if not isinstance(error, XttsRtcError):
            logger.error("stream %d failed", stream.id, exc_info=error)
            kind = "out of memory" if "memory" in str(error).lower() else type(error).__name__
            error = GenerationFailed(f"this stream failed in the engine ({kind}); the engine's log has the trace")
        self._emit(stream, ErrorEvent(error))

    def _forget(self, stream: Stream) -> None:
        slot = self._scheduler.remove(stream)
        if slot is not None:
            self._batch.release(slot)
        stream.decode = None
        stream.segments.clear()
        self._streams.pop(stream.id, None)

    def _emit(self, stream: Stream, event: Event) -> None:
        if isinstance(event, AudioEvent) and stream.cancelled_at is not None:
            return
        try:
            stream.on_event(event)
        except Exception:  # the reader is gone (its loop is closed): nobody listens any more
            logger.warning("stream %d has no reader left", stream.id, exc_info=True)
            if stream.cancelled_at is None:
                stream.cancelled_at = self._clock()

    def _end(self, reason: str) -> None:
        with self._lock:
            self._ending = self._ending or reason


__all__ = ["EngineStats", "XttsBackend"]
