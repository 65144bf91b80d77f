"""The front door: an `Engine`, in this process or on a server, that opens utterances.

In: what is wanted (model, device, address; then voice, language, sampling). Out: `Speech`. This file only
chooses and connects; it loads no runtime before `Engine.load` is called, and never does work on text or
samples.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from xtts_rtc.errors import EngineUnavailable, MissingExtra, UnknownLanguage, VoiceError, XttsRtcError
from xtts_rtc.metrics import Metrics
from xtts_rtc.types import LANGUAGES, OUTPUT_HZ, Backend, EngineStatus, SamplingParams, Speech, StreamRequest

if TYPE_CHECKING:
    from xtts_rtc.client import SpeechClient
    from xtts_rtc.engine.voice_loader import VoiceLoader
    from xtts_rtc.pipeline import LocalSpeech
    from xtts_rtc.text.segmenter import Segmenter
    from xtts_rtc.voices.check import ClipReport


def default_cache_dir() -> Path:
    """Where computed voices are kept when nobody says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xtts-rtc"


RELEASE_S = 1.5
"""Real-time speech says what it has when the writer pauses so long in mid-sentence."""

IDLE_S = 60.0
"""A language model that calls a tool may take this long; who takes longer opens the next utterance later."""


class Engine(ABC):
    """Opens utterances, many at once. Made by `load`, `connect` or `over`; close it at the end.

    `open` must be called on a running event loop; everything else may be called from anywhere.
    """

    @classmethod
    def load(
        cls,
        *,
        model: str = "embedded",
        device: str = "auto",
        backend: str = "auto",
        vocoder: str = "auto",
        precision: str = "int8",
        half: bool = False,
        compile: bool = False,
        deepspeed: bool = False,
        speakers_dir: str | Path | None = None,
        cache_dir: str | Path | None = None,
        max_streams: int = 4,
        max_queue_s: float = 2.0,
        max_ahead_s: float = 3.0,
        idle_s: float | None = IDLE_S,
        metrics: Metrics | None = None,
    ) -> Engine:
        """Load a model into this process; blocks for seconds, so never call it on an event loop.

        model: ``embedded``, ``random-tiny``, ``random-full`` or a folder. device: ``auto``, ``cpu``,
        ``cuda`` or ``cuda:N``. backend: ``auto``, ``onnx`` (CPU) or ``torch``. vocoder: ``auto`` or a name of
        the onnx backend's. precision: of a checkpoint that is converted for it. half, compile and deepspeed
        are for CUDA. speakers_dir: a folder of clips, by default ``speakers/``. idle_s: an utterance that gets
        no text, or whose audio nobody takes, ends after so many seconds with InputTimeout (None: never).
        metrics: count there, by default in figures of its own.
        Raises MissingExtra, CheckpointError, ConfigError or BadClip.
        """
        from xtts_rtc.engine.loading import load_engine
        from xtts_rtc.engine.runtimes import ModelChoice

        choice = ModelChoice(
            name=model,
            device=device,
            backend=backend,
            vocoder=vocoder,
            precision=precision,
            half=half,
            compile=compile,
            deepspeed=deepspeed,
        )
        loaded = load_engine(
            choice,
            speakers_dir=Path(speakers_dir or "speakers"),
            cache_dir=Path(cache_dir) if cache_dir else default_cache_dir(),
            max_streams=max_streams,
            max_queue_s=max_queue_s,
            max_ahead_s=max_ahead_s,
            metrics=metrics,
        )
        running = loaded.backend
        engine = _LocalEngine(
            running,
            loaded.model.segmenter,
            loaded.voices.ids,
            max_streams,
            lambda: running.is_ready,
            idle_s=idle_s,
            loader=running.voices,
        )
        engine.metrics = running.metrics
        return engine

    @classmethod
    def connect(cls, url: str, *, api_key: str | None = None, connect_timeout_s: float = 5.0) -> Engine:
        """An engine on a server (``http://host:port`` or ``ws://host:port``). Does not connect yet.

        What is wrong with the server is raised by the first speech: EngineUnavailable, Unauthorized.
        Raises ConfigError for another kind of address.
        """
        from xtts_rtc.client import SpeechClient

        return _RemoteEngine(SpeechClient(url, api_key=api_key, connect_timeout_s=connect_timeout_s))

    @classmethod
    def over(
        cls,
        backend: Backend,
        make_segmenter: Callable[[str], Segmenter],
        *,
        voices: Callable[[], Collection[str]] = lambda: ("default",),
        max_streams: int = 0,
        is_alive: Callable[[], bool] = lambda: True,
        idle_s: float | None = None,
    ) -> Engine:
        """An engine around a backend that exists already; it is closed with the engine.

        make_segmenter gets the language and returns the utterance's own segmenter. max_streams and
        is_alive are for `status` only; idle_s as for `load`.
        """
        return _LocalEngine(backend, make_segmenter, voices, max_streams, is_alive, idle_s=idle_s)

    @abstractmethod
    def open(
        self,
        *,
        voice: str = "default",
        language: str = "en",
        sampling: SamplingParams | None = None,
        sample_rate: int = OUTPUT_HZ,
        realtime: bool = True,
    ) -> Speech:
        """Begin an utterance; sample_rate is that of its chunks, in Hz.

        realtime: somebody listens while it is made, so the engine keeps only a few seconds ahead; False
        for a file. Raises VoiceNotFound, InvalidVoiceId, UnknownLanguage, InvalidParameter or
        EngineUnavailable here or, on a server, from the iteration.
        """

    def languages(self) -> list[str]:
        """Those that `open` takes; of an engine on a server all that there are, until it refuses one."""
        return list(LANGUAGES)

    @abstractmethod
    async def voices(self) -> list[str]:
        """The ids of the voices, sorted."""

    async def voice_problems(self) -> dict[str, str]:
        """Why voices cannot be used, by name, as far as it is known; also why their folder cannot be read."""
        return {}

    async def add_voice(self, voice_id: str, clip: bytes, *, is_replacing: bool = False) -> ClipReport:
        """Keep a clip as a voice that can speak from then on; the bytes of an audio file.

        Raises InvalidVoiceId, BadClip, VoiceTaken, StorageFailed, GenerationFailed or EngineUnavailable, and
        VoiceError where the voices of an engine cannot be changed.
        """
        raise VoiceError("the voices of this engine cannot be changed here; change them where it runs")

    async def remove_voice(self, voice_id: str) -> None:
        """Delete a voice; who speaks with it goes on. Raises VoiceNotFound and what `add_voice` raises."""
        raise VoiceError("the voices of this engine cannot be changed here; change them where it runs")

    @cached_property
    def metrics(self) -> Metrics:
        """What was counted here; the figures of a remote engine are on its server."""
        return Metrics()

    @abstractmethod
    async def status(self) -> EngineStatus:
        """What it can take now; a server that cannot be reached is one that is not ready."""

    @abstractmethod
    async def aclose(self) -> None:
        """Cancel what runs and free everything. Idempotent."""

    @abstractmethod
    def close(self) -> None:
        """As `aclose`, without an event loop; blocks shortly. Idempotent."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class _LocalEngine(Engine):
    def __init__(
        self,
        backend: Backend,
        make_segmenter: Callable[[str], Segmenter],
        voices: Callable[[], Collection[str]],
        max_streams: int,
        is_alive: Callable[[], bool],
        *,
        idle_s: float | None = None,
        loader: VoiceLoader | None = None,
    ) -> None:
        self._backend = backend
        self._idle_s = idle_s
        self._loader = loader
        self._make_segmenter = make_segmenter
        self._voices = voices
        self._max_streams = max_streams
        self._is_alive = is_alive
        self._speeches: set[LocalSpeech] = set()
        self._is_closed = False

    def open(
        self,
        *,
        voice: str = "default",
        language: str = "en",
        sampling: SamplingParams | None = None,
        sample_rate: int = OUTPUT_HZ,
        realtime: bool = True,
    ) -> Speech:
        from xtts_rtc.pipeline import LocalSpeech, SpeechLimits

        if self._is_closed:
            raise EngineUnavailable("the engine was closed; load it again")
        request = StreamRequest(
            voice=voice, language=language, sampling=sampling or SamplingParams(), is_realtime=realtime
        )
        limits = SpeechLimits(release_s=RELEASE_S if realtime else None, idle_s=self._idle_s)
        try:
            speech = LocalSpeech(
                self._backend,
                self._make_segmenter(language),
                request,
                sample_rate=sample_rate,
                limits=limits,
                metrics=self.metrics,
            )
        except XttsRtcError as error:
            self.metrics.refused(error)
            raise
        self._speeches = {other for other in self._speeches if not other.is_idle} | {speech}
        return speech

    def languages(self) -> list[str]:
        return [language for language in LANGUAGES if self._speaks(language)]

    def _speaks(self, language: str) -> bool:
        try:
            self._make_segmenter(language)
        except (UnknownLanguage, MissingExtra):
            return False
        return True

    async def voices(self) -> list[str]:
        return sorted(await asyncio.to_thread(self._voices))  # it looks into a folder, which may be on a network

    async def voice_problems(self) -> dict[str, str]:
        return {} if self._loader is None else await asyncio.to_thread(self._loader.library.problems)

    async def add_voice(self, voice_id: str, clip: bytes, *, is_replacing: bool = False) -> ClipReport:
        if self._loader is None:
            return await super().add_voice(voice_id, clip)
        return await asyncio.to_thread(self._loader.add, voice_id, clip, is_replacing=is_replacing)

    async def remove_voice(self, voice_id: str) -> None:
        if self._loader is None:
            return await super().remove_voice(voice_id)
        await asyncio.to_thread(self._loader.remove, voice_id)

    async def status(self) -> EngineStatus:
        num_streams = sum(not speech.is_idle for speech in self._speeches)
        if self._is_closed or not self._is_alive():
            return EngineStatus(is_ready=False, max_streams=self._max_streams, reason="the engine is not running")
        is_full = 0 < self._max_streams <= num_streams
        return EngineStatus(
            is_ready=not is_full,
            num_streams=num_streams,
            max_streams=self._max_streams,
            reason=f"all {self._max_streams} streams are taken" if is_full else "",
        )

    async def aclose(self) -> None:
        self._is_closed = True
        for speech in list(self._speeches):
            await speech.aclose()
        await asyncio.to_thread(self.close)  # it waits for the engine thread, which may be in the middle of a call

    def close(self) -> None:
        self._is_closed = True
        self._backend.close()


class _RemoteEngine(Engine):
    def __init__(self, client: SpeechClient) -> None:
        self._client = client

    def open(
        self,
        *,
        voice: str = "default",
        language: str = "en",
        sampling: SamplingParams | None = None,
        sample_rate: int = OUTPUT_HZ,
        realtime: bool = True,
    ) -> Speech:
        request = StreamRequest(
            voice=voice, language=language, sampling=sampling or SamplingParams(), is_realtime=realtime
        )
        return self._client.open(request, sample_rate=sample_rate)

    async def voices(self) -> list[str]:
        return await self._client.voices()

    async def status(self) -> EngineStatus:
        return await self._client.status()

    async def aclose(self) -> None:
        await self._client.aclose()

    def close(self) -> None:
        self._client.abort()


__all__ = ["IDLE_S", "RELEASE_S", "Engine", "default_cache_dir"]
