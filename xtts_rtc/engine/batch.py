"""Streams to rows and back: prefill, one step for many, vocoder windows. Engine thread only."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from xtts_rtc.engine.ramp import (
    LADDER,
    Costs,
    RunOnGuard,
    first_chunk_tokens,
    length_cap_tokens,
    next_chunk_tokens,
)
from xtts_rtc.engine.request import Decode, Stream
from xtts_rtc.errors import GenerationFailed, InvalidText
from xtts_rtc.metrics import Metrics
from xtts_rtc.model.interface import Runtime
from xtts_rtc.model.sampling import choose_token, new_history
from xtts_rtc.model.window import LatentWindow, Window
from xtts_rtc.text.tokenizer import TextFrontend
from xtts_rtc.types import Conditioning, Float32, Segment


class Batch:
    """Runs a runtime for streams and measures what it costs.

    num_steps and num_step_rows count decode steps and the rows in them, num_frames vocoder frames.
    """

    def __init__(
        self, runtime: Runtime, frontend: TextFrontend, costs: Costs, clock: Callable[[], float], metrics: Metrics
    ) -> None:
        self._runtime = runtime
        self._frontend = frontend
        self._costs = costs
        self._clock = clock
        self._metrics = metrics
        self.num_steps = 0
        self.num_step_rows = 0
        self.num_prefills = 0
        self.num_frames = 0

    def begin(self, stream: Stream, segment: Segment, num_streams: int, now: float) -> None:
        """Start a segment in the stream's slot; raises what ends this stream alone."""
        assert stream.slot is not None and stream.voice is not None
        info, request = self._runtime.info, stream.request
        ids = np.asarray(self._frontend.encode(segment.spoken, request.language), np.int64)
        if ids.size > info.max_text_tokens:
            raise InvalidText(f"a segment has {ids.size} text tokens; the model takes {info.max_text_tokens}")
        if self._frontend.is_unreadable(ids.tolist()):
            raise InvalidText(
                f"a segment is in a script that this model cannot read in {request.language!r}; choose the text's"
                " language, or a model that has it"
            )
        num_unfilled = self._runtime.begin(stream.slot, stream.voice, ids)
        self.num_prefills += 1
        stream.decode = Decode(
            segment=segment,
            seen=new_history(info.num_audio_tokens, info.start_audio_token),
            window=LatentWindow(speed=request.sampling.speed, token_hz=info.token_hz),
            guard=RunOnGuard(segment.spoken),
            cap_tokens=length_cap_tokens(
                segment.spoken,
                request.language,
                speed=request.sampling.speed,
                limit=info.max_audio_tokens,
                tokens_per_second=info.tokens_per_second,
            ),
            chunk_tokens=self._chunk_tokens(stream, num_streams, now),
            num_unfilled=num_unfilled,
            interrupt=self._runtime.interrupter(stream.slot),
        )

    def extend(self, stream: Stream, max_positions: int) -> None:
        """Prefill some more of the segment that was begun; with the last position comes its first token."""
        decode = stream.decode
        assert decode is not None and stream.slot is not None
        positions = min(max_positions, decode.num_unfilled)
        start = self._clock()
        done = self._runtime.extend(stream.slot, positions)
        if stream.cancelled_at is not None:
            return  # perhaps stopped half-way, and not a measurement either
        self._costs.saw_positions(positions, self._clock() - start)
        decode.num_unfilled -= positions
        if done is not None:
            _need_finite(*done)
            self._choose(stream, decode, *done)

    def step(self, streams: list[Stream]) -> list[tuple[Stream, Exception]]:
        """One decode step for all of `streams`; returns those that failed, each with its reason."""
        start = self._clock()
        try:
            latents, logits = self._step_rows(streams)
        except Exception as error:
            if len(streams) == 1:
                return [(streams[0], error)]
            # One row may be to blame; a row's memory is only extended when a step succeeds, so step each alone.
            return [failure for stream in streams for failure in self.step([stream])]
        seconds = self._clock() - start
        self._costs.saw_step(len(streams), seconds)
        self._metrics.step(len(streams), seconds)
        self.num_steps += 1
        self.num_step_rows += len(streams)
        failures: list[tuple[Stream, Exception]] = []
        for row, stream in enumerate(streams):
            decode = stream.decode
            assert decode is not None
            try:
                _need_finite(latents[row], logits[row])
            except GenerationFailed as error:
                failures.append((stream, error))
                continue
            self._choose(stream, decode, latents[row], logits[row])
        return failures

    def vocode(self, stream: Stream, max_tokens: int) -> Float32:
        """Samples of the stream that became final, [S] at 24 kHz; none before the receptive field is full."""
        decode = stream.decode
        assert decode is not None and stream.voice is not None
        max_frames = math.ceil(max_tokens * self._costs.frames_per_token)
        window = decode.window.take(is_end=decode.is_stopped, max_frames=max_frames)
        decode.num_vocoded += min(decode.num_waiting, max_tokens)
        if window is None:
            return np.zeros(0, np.float32)
        start = self._clock()
        pcm = self._runtime.decode(window, stream.voice, lambda: stream.cancelled_at is not None)
        if stream.cancelled_at is not None:
            return np.zeros(0, np.float32)  # perhaps stopped half-way: not a measurement either
        if not np.isfinite(pcm).all():
            raise GenerationFailed("the vocoder gave NaN or infinity for this stream; check the weights")
        self._costs.saw_window(window.num_new, self._clock() - start)
        self.num_frames += window.frames.shape[1]
        return pcm

    def plan_chunk(self, stream: Stream, num_streams: int, now: float) -> None:
        """Decide how much the next vocoder call waits for."""
        if stream.decode is not None:
            stream.decode.chunk_tokens = self._chunk_tokens(stream, num_streams, now)

    def warm_up(self) -> None:
        """Measure every cost once on an empty engine, so that the first listener's chunks are well planned."""
        info = self._runtime.info
        voice = Conditioning("warm-up", np.zeros((info.num_prefix, info.dim), np.float32), np.zeros(512, np.float32))
        rows = np.arange(self._runtime.num_slots)
        ids, spent = np.full(16, 2, np.int64), 0.0
        for slot in [0, *rows]:  # slot 0 twice: the first call of anything pays for allocation
            positions = self._runtime.begin(int(slot), voice, ids)
            start = self._clock()
            self._runtime.extend(int(slot), positions)
            spent = self._clock() - start
        for batch in sorted({1, 2, 4, rows.size} & set(range(1, rows.size + 1))):
            for _ in range(4):
                start = self._clock()
                self._runtime.step(rows[:batch], np.zeros(batch, np.int64))
                self._costs.step_s[batch] = self._clock() - start
        self._costs.saw_positions(positions, spent)
        for slot in rows:
            self._runtime.release(int(slot))
        window = Window(np.zeros((info.dim, 61), np.float32), 13, 48)  # 8 tokens and their context
        for _ in range(2):
            start = self._clock()
            self._runtime.decode(window, voice)
            self._costs.frame_s = 0.0
            self._costs.saw_window(window.num_new, self._clock() - start)

    def release(self, slot: int) -> None:
        self._runtime.release(slot)

    def _step_rows(self, streams: list[Stream]) -> tuple[Float32, Float32]:
        slots = np.asarray([stream.slot for stream in streams], np.int64)
        tokens = np.asarray([stream.decode.last_token for stream in streams if stream.decode], np.int64)
        return self._runtime.step(slots, tokens)

    def _choose(self, stream: Stream, decode: Decode, latent: Float32, logits: Float32) -> None:
        info = self._runtime.info
        noise = stream.rng.standard_exponential(info.num_audio_tokens, np.float32)
        token = choose_token(logits, decode.seen, stream.request.sampling, noise)
        decode.window.append(latent)  # the latent of the stop step is spoken too, as in the reference
        decode.seen[token] = True
        decode.last_token = token
        decode.num_tokens += 1
        stream.num_tokens += 1
        decode.is_stopped = token == info.stop_audio_token or decode.num_tokens >= decode.cap_tokens

    def _chunk_tokens(self, stream: Stream, num_streams: int, now: float) -> int:
        if not stream.request.is_realtime:
            return LADDER[-1]
        if stream.is_starved:
            return first_chunk_tokens(self._costs, num_streams)
        return next_chunk_tokens(self._costs, num_streams, stream.ahead_s(now))


def _need_finite(latent: Float32, logits: Float32) -> None:
    if not math.isfinite(latent.sum() + logits.sum()):  # NaN and infinity survive a sum
        raise GenerationFailed("the model gave NaN or infinity for this stream; check the weights and the precision")


__all__ = ["Batch"]
