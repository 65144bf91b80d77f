"""The engine as the routes see it: perhaps not loaded yet, perhaps about to go, and with room for every key.

In: `Engine.open` by any transport. Out: a `Speech` of the engine behind, or the error that says when to come
again. It counts utterances by the name of the key they came with, so that nobody can take all slots.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from xtts_rtc.api import Engine
from xtts_rtc.errors import EngineFull, EngineUnavailable, XttsRtcError
from xtts_rtc.guard.context import CALLER
from xtts_rtc.types import OUTPUT_HZ, EngineStatus, SamplingParams, Speech, SpeechChunk, StreamMetrics

if TYPE_CHECKING:
    from xtts_rtc.voices.check import ClipReport

LOADING = "the engine is still loading; try again in a moment"
CLOSING = "the server is shutting down; connect to another or try again after its restart"


class GatedEngine(Engine):
    """An engine behind a gate that is closed until `let_in` and after `close_gate`.

    max_streams_per_key: utterances at once for one key; None is as many as the engine takes. Requests without
    a key are not told apart. Closing it closes the engine.
    """

    def __init__(self, engine: Engine | None = None, *, max_streams_per_key: int | None = None) -> None:
        self._engine = engine
        self._max_streams_per_key = max_streams_per_key
        self._speeches: set[GatedSpeech] = set()
        self._closed_for = "" if engine else LOADING
        if engine is not None:
            self.metrics = engine.metrics

    @property
    def num_unheard(self) -> int:
        """Utterances whose reader has not come to the end."""
        return len(self._speeches)

    def let_in(self, engine: Engine) -> None:
        """The engine is loaded, and counts in our `metrics`: open the gate, unless it was closed meanwhile."""
        self._engine = engine
        if self._closed_for == LOADING:
            self._closed_for = ""

    def close_gate(self) -> None:
        """From here on every new utterance is refused; those that speak go on."""
        self._closed_for = CLOSING

    def open(
        self,
        *,
        voice: str = "default",
        language: str = "en",
        sampling: SamplingParams | None = None,
        sample_rate: int = OUTPUT_HZ,
        realtime: bool = True,
    ) -> Speech:
        caller = CALLER.get()
        try:
            engine = self._admit(caller)
        except XttsRtcError as error:
            self.metrics.refused(error)
            raise
        speech = engine.open(
            voice=voice, language=language, sampling=sampling, sample_rate=sample_rate, realtime=realtime
        )
        gated = GatedSpeech(speech, caller, self._speeches)
        self._speeches.add(gated)
        return gated

    def languages(self) -> list[str]:
        return self._behind().languages()

    async def voices(self) -> list[str]:
        return await self._behind().voices()

    async def voice_problems(self) -> dict[str, str]:
        return await self._behind().voice_problems()

    async def add_voice(self, voice_id: str, clip: bytes, *, is_replacing: bool = False) -> ClipReport:
        return await self._behind().add_voice(voice_id, clip, is_replacing=is_replacing)

    async def remove_voice(self, voice_id: str) -> None:
        await self._behind().remove_voice(voice_id)

    async def status(self) -> EngineStatus:
        if self._closed_for or self._engine is None:
            return EngineStatus(is_ready=False, reason=self._closed_for)
        return await self._engine.status()

    async def wait_until_quiet(self) -> None:
        """Return when every utterance was heard to its end or given up."""
        while self._speeches:
            await asyncio.sleep(0.05)

    async def aclose(self) -> None:
        self.close_gate()
        if self._engine is not None:
            await self._engine.aclose()

    def close(self) -> None:
        self.close_gate()
        if self._engine is not None:
            self._engine.close()

    def _behind(self) -> Engine:
        if self._closed_for or self._engine is None:
            raise EngineUnavailable(self._closed_for)
        return self._engine

    def _admit(self, caller: str) -> Engine:
        engine, most = self._behind(), self._max_streams_per_key
        if caller and most is not None and self._num_running(caller) >= most:
            raise EngineFull(f"the key '{caller}' speaks {most} times at once, which is its limit; try again later")
        return engine

    def _num_running(self, caller: str) -> int:
        return sum(speech.caller == caller and not speech.is_idle for speech in self._speeches)


class GatedSpeech:
    """A `Speech` that tells its gate when nobody will read it any more."""

    def __init__(self, speech: Speech, caller: str, unheard: set[GatedSpeech]) -> None:
        self._speech = speech
        self._unheard = unheard
        self.caller = caller

    @property
    def metrics(self) -> StreamMetrics | None:
        return self._speech.metrics

    @property
    def is_idle(self) -> bool:
        return self._speech.is_idle

    def push_text(self, text: str) -> None:
        self._speech.push_text(text)

    def flush(self) -> None:
        self._speech.flush()

    def end_input(self) -> None:
        self._speech.end_input()

    def cancel(self) -> None:
        self._speech.cancel()

    async def aclose(self) -> None:
        try:
            await self._speech.aclose()
        finally:
            self._unheard.discard(self)

    def __aiter__(self) -> AsyncIterator[SpeechChunk]:
        return self

    async def __anext__(self) -> SpeechChunk:
        try:
            return await anext(aiter(self._speech))
        except Exception:  # its end too
            self._unheard.discard(self)
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


__all__ = ["CLOSING", "LOADING", "GatedEngine", "GatedSpeech"]
