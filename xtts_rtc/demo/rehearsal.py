"""A sentence to nobody, before the first caller: what is imported, compiled or read at its first use is, by then.

Without it the first call's event loop stood still for 40 to 100 ms at a time while the agent greeted, which the
caller heard.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from livekit.agents.voice import io
from livekit.agents.voice.transcription import TranscriptSynchronizer

from livekit import rtc
from xtts_rtc.demo.peer_audio import in_step
from xtts_rtc.demo.session import Conversation, Kit, build_session

_TEXT = "Hello."
_HZ = 16_000
_LIMIT_S = 20.0


async def rehearse(kit: Kit) -> None:
    """One session without a caller, about a second. What fails here would fail in a call, and is raised there."""
    session = build_session(kit)
    void = _Void()
    together: TranscriptSynchronizer = in_step(void, None)
    session.input.audio = _Silence()
    session.output.audio = together.audio_output
    try:
        async with asyncio.timeout(_LIMIT_S):
            await session.start(Conversation(kit.voices.language, instructions=kit.agent.instructions))
            await session.say(_TEXT)
    except TimeoutError:
        pass
    finally:
        await session.aclose()
        await together.aclose()


class _Silence(io.AudioInput):
    """A quiet half second, and then nothing."""

    def __init__(self) -> None:
        super().__init__(label="rehearsal")
        self._frames = self._speak()

    async def _speak(self) -> AsyncIterator[rtc.AudioFrame]:
        for _ in range(25):
            yield rtc.AudioFrame(bytes(2 * _HZ // 50), _HZ, 1, _HZ // 50)
        await asyncio.Event().wait()

    async def __anext__(self) -> rtc.AudioFrame:
        return await anext(self._frames)


class _Void(io.AudioOutput):
    """Plays at once, to nobody."""

    def __init__(self) -> None:
        super().__init__(label="rehearsal", capabilities=io.AudioOutputCapabilities(pause=True), sample_rate=48_000)
        self._seconds = 0.0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._seconds:
            self.on_playback_started(created_at=time.time())
        self._seconds += frame.duration

    def flush(self) -> None:
        super().flush()
        asyncio.get_running_loop().call_soon(self._end, False)  # once those in front of it are flushed as well

    def clear_buffer(self) -> None:
        self._end(True)

    def _end(self, is_cut: bool) -> None:
        if self._seconds:
            seconds, self._seconds = self._seconds, 0.0
            self.on_playback_finished(playback_position=seconds, interrupted=is_cut)


__all__ = ["rehearse"]
