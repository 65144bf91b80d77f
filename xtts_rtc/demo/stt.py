"""Speech to text for an AgentSession: moonshine, whose model is inside its package. English.

In: the session's microphone. Out: interim transcripts every half second while somebody speaks, a final one
when a line is complete, or at once when the session says that the speaker has stopped.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Never

import numpy as np
from livekit.agents import stt
from livekit.agents.language import LanguageCode
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, APIConnectOptions, NotGivenOr
from livekit.agents.utils import AudioBuffer, shortuuid

from livekit import rtc
from xtts_rtc.errors import MissingExtra

_HZ = 16_000
_PARTIAL_S = 0.5
_LANGUAGE = LanguageCode("en")
_SCALE = 1 / 32_768
_STUTTER = re.compile(r"\b(\w+)(?:\W+\1\b){2,}", re.IGNORECASE)
"""The tiny model sometimes repeats a line's last word for as long as it may: three in a row are one."""


class MoonshineSTT(stt.STT[Never]):
    """One model for any number of calls. `add_audio` blocks up to 250 ms, so all of it runs on one thread of its own.

    Close it with `aclose` when no session uses it any more. Raises MissingExtra without moonshine.
    """

    def __init__(self) -> None:
        try:
            import moonshine_voice
        except ModuleNotFoundError:
            raise MissingExtra("moonshine-voice is not installed; pip install 'xtts-rtc[demo]' brings it") from None
        # manual_flush: the session's own voice activity detector says when an utterance is over.
        capabilities = stt.STTCapabilities(
            streaming=True, interim_results=True, offline_recognize=False, manual_flush=True
        )
        super().__init__(capabilities=capabilities)
        folder = Path(moonshine_voice.__file__).parent / "assets" / "tiny-en"
        self.transcriber: Any = moonshine_voice.Transcriber(folder, moonshine_voice.ModelArch.TINY)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="stt")

    @property
    def model(self) -> str:
        return "moonshine-tiny-en"

    @property
    def provider(self) -> str:
        return "moonshine-voice"

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> MoonshineStream:
        return MoonshineStream(stt=self, conn_options=conn_options)

    async def on_thread(self, work: Callable[..., Any], *args: object) -> Any:
        """The result of `work(*args)`, run on the model's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    async def aclose(self) -> None:
        await asyncio.to_thread(self._thread.shutdown)
        self.transcriber.close()

    async def _recognize_impl(
        self, buffer: AudioBuffer, *, language: NotGivenOr[str] = NOT_GIVEN, conn_options: APIConnectOptions
    ) -> stt.SpeechEvent:
        raise NotImplementedError("this recogniser listens to streams only")


class MoonshineStream(stt.RecognizeStream):
    """One call's ears."""

    _stt: MoonshineSTT

    def __init__(self, *, stt: MoonshineSTT, conn_options: APIConnectOptions) -> None:
        super().__init__(stt=stt, conn_options=conn_options, sample_rate=_HZ)

    async def _run(self) -> None:
        ear = _Ear(self._stt.transcriber)
        try:
            async for item in self._input_ch:
                audio, is_over = self._waiting(item)
                for line in await self._stt.on_thread(ear.hear, audio, is_over):
                    self._tell(line)
        finally:
            await asyncio.shield(self._stt.on_thread(ear.close))

    def _waiting(self, item: rtc.AudioFrame | stt.RecognizeStream._FlushSentinel) -> tuple[list[float], bool]:
        """Everything up to the next flush in one go: while the model worked, more has come."""
        parts = []
        while isinstance(item, rtc.AudioFrame):
            parts.append(np.frombuffer(item.data, np.int16))
            if self._input_ch.empty():
                break
            item = self._input_ch.recv_nowait()
        audio: list[float] = (np.concatenate(parts) * _SCALE).tolist() if parts else []
        return audio, not isinstance(item, rtc.AudioFrame)

    def _tell(self, line: Any) -> None:
        text = _STUTTER.sub(r"\1", line.text.strip())
        if not text:
            return
        kind = stt.SpeechEventType.FINAL_TRANSCRIPT if line.is_complete else stt.SpeechEventType.INTERIM_TRANSCRIPT
        heard = stt.SpeechData(language=_LANGUAGE, text=text, confidence=1.0)
        self._event_ch.send_nowait(stt.SpeechEvent(kind, shortuuid("stt_"), [heard]))


class _Ear:
    """One utterance after another, on the model's thread."""

    def __init__(self, transcriber: Any) -> None:
        self._transcriber = transcriber
        self._stream: Any = None
        self._lines: list[Any] = []

    def hear(self, audio: list[float], is_over: bool) -> list[Any]:
        """Audio at 16 kHz to the lines that have changed; with `is_over` all are complete."""
        if self._stream is None:
            self._stream = self._transcriber.create_stream(update_interval=_PARTIAL_S)
            self._stream.add_listener(self._take)
            self._stream.start()
        if audio:
            self._stream.add_audio(audio, _HZ)
        if is_over:
            # Started again, the same stream would still believe that somebody speaks, and hear "You".
            self._stream.stop()
            self.close()
        lines, self._lines = self._lines, []
        return lines

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _take(self, event: Any) -> None:
        kind = type(event).__name__
        if kind == "LineCompleted" or (kind == "LineTextChanged" and not event.line.is_complete):
            self._lines.append(event.line)


__all__ = ["MoonshineSTT", "MoonshineStream"]
