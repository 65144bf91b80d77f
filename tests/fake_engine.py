"""An engine without a model: a quarter of a second of a ramp per word, or the error it was given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

import numpy as np

from xtts_rtc.api import Engine, EngineStatus
from xtts_rtc.errors import XttsRtcError
from xtts_rtc.types import OUTPUT_HZ, SamplingParams, Speech, SpeechChunk, StreamMetrics


class FakeSpeech:
    def __init__(self, sample_rate: int, error: XttsRtcError | None) -> None:
        self.text = ""
        self.is_closed = False
        self._sample_rate = sample_rate
        self._error = error

    @property
    def metrics(self) -> StreamMetrics | None:
        return None

    @property
    def is_idle(self) -> bool:
        return self.is_closed

    def push_text(self, text: str) -> None:
        self.text += text

    def flush(self) -> None: ...

    def end_input(self) -> None: ...

    def cancel(self) -> None: ...

    async def aclose(self) -> None:
        self.is_closed = True

    async def __aiter__(self) -> AsyncIterator[SpeechChunk]:
        pcm = np.linspace(-0.5, 0.5, self._sample_rate // 4, dtype=np.float32)
        words = self.text.split()
        for index, word in enumerate(words):
            yield SpeechChunk(pcm, self._sample_rate, index, word, index == len(words) - 1)
            if self._error is not None:
                raise self._error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class FakeEngine(Engine):
    """Keeps the `opened` arguments and `speeches`; `error` is raised by each after its first chunk."""

    def __init__(self, error: XttsRtcError | None = None) -> None:
        self.opened: list[tuple[str, str, SamplingParams | None, int]] = []
        self.speeches: list[FakeSpeech] = []
        self.is_closed = False
        self._error = error

    def open(
        self,
        *,
        voice: str = "default",
        language: str = "en",
        sampling: SamplingParams | None = None,
        sample_rate: int = OUTPUT_HZ,
        realtime: bool = True,
    ) -> Speech:
        self.opened.append((voice, language, sampling, sample_rate))
        self.speeches.append(FakeSpeech(sample_rate, self._error))
        return self.speeches[-1]

    async def voices(self) -> list[str]:
        return ["default", "zoe"]

    async def status(self) -> EngineStatus:
        return EngineStatus(is_ready=True)

    async def aclose(self) -> None:
        self.is_closed = True

    def close(self) -> None:
        self.is_closed = True
