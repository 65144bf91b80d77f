"""LiveKit Agents' TTS interface over `Speech`.

In: the text that an agent's LLM writes. Out: int16 audio in LiveKit's emitter. An interruption closes the
stream, which cancels its `Speech`, which stops the engine. With a server's address this loads no torch;
without one the engine is loaded into this process, off the event loop, when it is first needed.
Written for livekit-agents 1.8.9: its emitter, its retries and its metrics.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace
from pathlib import Path

from livekit.agents import APIConnectionError, APIConnectOptions, APIError, APIStatusError, APITimeoutError, tts, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, NotGivenOr
from livekit.agents.utils import is_given

from xtts_rtc.api import Engine
from xtts_rtc.audio.frames import to_int16
from xtts_rtc.errors import EngineUnavailable, XttsRtcError
from xtts_rtc.types import LANGUAGES, SamplingParams, Speech

SAMPLE_RATE_HZ = 48_000
"""What a WebRTC track carries. A room's output must be set to it too, or LiveKit resamples once more."""


@dataclass(frozen=True, slots=True)
class _Options:
    voice: str
    language: str
    sampling: SamplingParams
    sample_rate: int

    def open(self, engine: Engine, *, realtime: bool) -> Speech:
        return engine.open(
            voice=self.voice,
            language=self.language,
            sampling=self.sampling,
            sample_rate=self.sample_rate,
            realtime=realtime,
        )


class TTS(tts.TTS[str]):
    """XTTS speech for an AgentSession.

    base_url is an `xtts-rtc serve` (default: environment variable XTTS_URL) and api_key its key
    (XTTS_API_KEY); without an address, `engine` is used, or one is loaded into this process from model,
    device and speakers_dir. An engine that is passed in stays the caller's to close.

    voice is an id from the speakers folder, language one of `LANGUAGES` (a region, as in ``en-US``, is
    dropped). Raises InvalidParameter for a sampling value out of range, ConfigError for a wrong address.
    """

    def __init__(
        self,
        *,
        voice: str = "default",
        language: str = "en",
        base_url: str | None = None,
        api_key: str | None = None,
        engine: Engine | None = None,
        sample_rate: int = SAMPLE_RATE_HZ,
        temperature: float = 0.75,
        repetition_penalty: float = 5.0,
        top_k: int = 50,
        top_p: float = 0.85,
        speed: float = 1.0,
        seed: int | None = None,
        model: str = "embedded",
        device: str = "auto",
        speakers_dir: str | Path | None = None,
    ) -> None:
        capabilities = tts.TTSCapabilities(streaming=True, aligned_transcript=False)
        super().__init__(capabilities=capabilities, sample_rate=sample_rate, num_channels=1)
        sampling = SamplingParams(
            temperature=temperature,
            repetition_penalty=repetition_penalty,
            top_k=top_k,
            top_p=top_p,
            speed=speed,
            seed=seed,
        )
        self._opts = _Options(voice, _language(language), sampling, sample_rate)
        self._model = model
        self._device = device
        self._speakers_dir = speakers_dir
        self._owns_engine = engine is None
        self._engine = engine
        self._loading: asyncio.Task[None] | None = None
        self._is_closed = False
        url = base_url or os.environ.get("XTTS_URL")
        if engine is None and url:
            self._engine = Engine.connect(url, api_key=api_key or os.environ.get("XTTS_API_KEY"))

    @property
    def model(self) -> str:
        return "xtts-v2"

    @property
    def provider(self) -> str:
        return "xtts-rtc"

    def update_options(
        self,
        *,
        voice: NotGivenOr[str] = NOT_GIVEN,
        language: NotGivenOr[str] = NOT_GIVEN,
        temperature: NotGivenOr[float] = NOT_GIVEN,
        repetition_penalty: NotGivenOr[float] = NOT_GIVEN,
        top_k: NotGivenOr[int] = NOT_GIVEN,
        top_p: NotGivenOr[float] = NOT_GIVEN,
        speed: NotGivenOr[float] = NOT_GIVEN,
        seed: NotGivenOr[int | None] = NOT_GIVEN,
    ) -> None:
        """Change what streams opened from now on use; running ones keep what they began with.

        Raises InvalidParameter for a value out of range; then nothing is changed.
        """
        sampling = self._opts.sampling
        sampling = replace(
            sampling,
            temperature=temperature if is_given(temperature) else sampling.temperature,
            repetition_penalty=repetition_penalty if is_given(repetition_penalty) else sampling.repetition_penalty,
            top_k=top_k if is_given(top_k) else sampling.top_k,
            top_p=top_p if is_given(top_p) else sampling.top_p,
            speed=speed if is_given(speed) else sampling.speed,
            seed=seed if is_given(seed) else sampling.seed,
        )
        self._opts = replace(
            self._opts,
            voice=voice if is_given(voice) else self._opts.voice,
            language=_language(language) if is_given(language) else self._opts.language,
            sampling=sampling,
        )

    def synthesize(self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS) -> ChunkedStream:
        return ChunkedStream(tts=self, input_text=text, conn_options=conn_options)

    def stream(self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS) -> SynthesizeStream:
        return SynthesizeStream(tts=self, conn_options=conn_options)

    def prewarm(self) -> None:
        """Begin to load the engine, without waiting on an event loop; in a job's set-up, without one, load it."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            self._engine = self._engine or self._load_now()
        else:
            if self._engine is None:
                self._begin_loading()

    async def aclose(self) -> None:
        """Close the engine if it was made here. Idempotent."""
        self._is_closed = True
        if self._loading is not None:
            await asyncio.wait([self._loading])
        if self._owns_engine and self._engine is not None:
            await self._engine.aclose()

    async def _ready_engine(self) -> Engine:
        if self._is_closed:
            raise EngineUnavailable("the TTS was closed; make another one")
        if self._engine is None:
            await asyncio.shield(self._begin_loading())
        assert self._engine is not None
        return self._engine

    def _begin_loading(self) -> asyncio.Task[None]:
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._load(), name="xtts-rtc load")
            # A failed prewarm is told by the first stream, which tries again.
            self._loading.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._loading

    async def _load(self) -> None:
        try:
            self._engine = await asyncio.to_thread(self._load_now)
        finally:
            self._loading = None

    def _load_now(self) -> Engine:
        return Engine.load(model=self._model, device=self._device, speakers_dir=self._speakers_dir)


class ChunkedStream(tts.ChunkedStream):
    """One finished text, made as fast as the engine can."""

    _tts: TTS

    def __init__(self, *, tts: TTS, input_text: str, conn_options: APIConnectOptions) -> None:
        super().__init__(tts=tts, input_text=input_text, conn_options=conn_options)
        self._opts = tts._opts

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        _initialize(output_emitter, self._opts, is_stream=False)
        if not self._input_text.strip():
            return
        try:
            engine = await self._tts._ready_engine()
            async with self._opts.open(engine, realtime=False) as speech:
                speech.push_text(self._input_text)
                speech.end_input()
                async with asyncio.timeout(self._conn_options.timeout) as patience:
                    await _play(speech, output_emitter, patience, self._conn_options.timeout)
                self._set_token_usage(output_tokens=_num_tokens(speech))
        except (XttsRtcError, TimeoutError) as error:
            raise api_error(error) from None


class SynthesizeStream(tts.SynthesizeStream):
    """Text as it is written, audio while it is written, one LiveKit segment per stream."""

    _tts: TTS

    def __init__(self, *, tts: TTS, conn_options: APIConnectOptions) -> None:
        super().__init__(tts=tts, conn_options=conn_options)
        self._opts = tts._opts

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        _initialize(output_emitter, self._opts, is_stream=True)
        beginning = await self._first_text()
        if not beginning:
            return
        output_emitter.start_segment(segment_id=utils.shortuuid("segment_"))
        try:
            engine = await self._tts._ready_engine()
            async with self._opts.open(engine, realtime=True) as speech:
                speech.push_text(beginning)
                self._mark_started()
                await self._converse(speech, output_emitter)
                self._set_token_usage(output_tokens=_num_tokens(speech))
        except ExceptionGroup as failures:
            raise api_error(failures.exceptions[0]) from None
        except (XttsRtcError, TimeoutError) as error:
            raise api_error(error) from None

    async def _first_text(self) -> str:
        """Up to the first text that is not blank; empty when the input ends before."""
        text = ""
        while not text.strip():
            try:
                item = await self._input_ch.recv()
            except utils.aio.ChanClosed:
                return ""
            text += item if isinstance(item, str) else ""
        return text

    async def _converse(self, speech: Speech, output_emitter: tts.AudioEmitter) -> None:
        async with asyncio.timeout(None) as patience, asyncio.TaskGroup() as group:
            feeder = group.create_task(self._feed(speech, patience))
            await _play(speech, output_emitter, patience, self._conn_options.timeout)
            feeder.cancel()

    async def _feed(self, speech: Speech, patience: asyncio.Timeout) -> None:
        async for item in self._input_ch:
            if isinstance(item, str):
                speech.push_text(item)
            else:
                speech.flush()
        speech.end_input()
        # Only from here on is audio owed: before, the engine may be waiting for the rest of a sentence.
        patience.reschedule(asyncio.get_running_loop().time() + self._conn_options.timeout)


async def _play(speech: Speech, output_emitter: tts.AudioEmitter, patience: asyncio.Timeout, timeout_s: float) -> None:
    async for chunk in speech:
        output_emitter.push(to_int16(chunk.pcm).tobytes())
        if patience.when() is not None:
            patience.reschedule(asyncio.get_running_loop().time() + timeout_s)


def _num_tokens(speech: Speech) -> int:
    return 0 if speech.metrics is None else speech.metrics.num_tokens


def _initialize(output_emitter: tts.AudioEmitter, opts: _Options, *, is_stream: bool) -> None:
    output_emitter.initialize(
        request_id=utils.shortuuid("xtts_"),
        sample_rate=opts.sample_rate,
        num_channels=1,
        mime_type="audio/pcm",
        stream=is_stream,
    )


def api_error(error: Exception) -> Exception:
    """Ours to LiveKit's `APIError` tree, which decides about retries; anything else stays what it is.

    EngineUnavailable: APIConnectionError, retried. TimeoutError: APITimeoutError, retried. The rest:
    APIStatusError with the error's status; of these only EngineFull (429) is retried.
    """
    if isinstance(error, APIError):
        return error
    if isinstance(error, TimeoutError):
        return APITimeoutError("the engine gave no audio in time")
    if isinstance(error, EngineUnavailable):
        return APIConnectionError(error.message, retryable=error.retryable)
    if isinstance(error, XttsRtcError):
        return APIStatusError(error.message, status_code=error.status, retryable=error.retryable)
    return error


def _language(code: str) -> str:
    lowered = str(code).lower()
    primary = lowered.partition("-")[0]
    if lowered not in LANGUAGES and primary == "zh":
        return "zh-cn"
    return primary if lowered not in LANGUAGES and primary in LANGUAGES else lowered


__all__ = ["SAMPLE_RATE_HZ", "TTS", "ChunkedStream", "SynthesizeStream", "api_error"]
