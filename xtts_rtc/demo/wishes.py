"""Which voice and language a caller wants: beside the offer, or at any time in the call.

In: mappings with `voice` and `language`, as the page sends them; anything may be in them. Out: what of it can be
had. The caller is told of the rest, and goes on with what there was.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from livekit.agents import AgentSession
from livekit.agents.types import NOT_GIVEN

from livekit.plugins import xtts
from xtts_rtc.api import Engine
from xtts_rtc.demo.session import Conversation
from xtts_rtc.errors import XttsRtcError

Tell = Callable[..., None]
"""`Reporter.tell`."""
_MAX_WAITING = 8


class Wishes:
    """`take` what a caller sends; `fulfil` runs beside the session."""

    def __init__(self, engine: Engine, tell: Tell) -> None:
        self._engine = engine
        self._tell = tell
        self._waiting: asyncio.Queue[Mapping[str, object]] = asyncio.Queue(_MAX_WAITING)

    def take(self, event: Mapping[str, object]) -> None:
        """An event of the page; one of the type `choose` is a wish."""
        if event.get("type") == "choose":
            with contextlib.suppress(asyncio.QueueFull):
                self._waiting.put_nowait(event)

    async def fulfil(self, session: AgentSession[None], agent: Conversation) -> None:
        """From the next sentence on; the caller is told `chosen` with what is new."""
        while True:
            found = await self.possible(await self._waiting.get())
            if found and isinstance(session.tts, xtts.TTS):
                session.tts.update_options(
                    voice=found.get("voice", NOT_GIVEN), language=found.get("language", NOT_GIVEN)
                )
                agent.language = found.get("language", agent.language)
                self._tell("chosen", **found)

    async def possible(self, wish: Mapping[str, object]) -> dict[str, str]:
        """`voice` and `language`, as far as they were wished for and are there."""
        found = {}
        voice, language = wish.get("voice"), wish.get("language")
        if isinstance(voice, str) and await self._has(voice):
            found["voice"] = voice
        if isinstance(language, str):
            if language in self._engine.languages():
                found["language"] = language
            else:
                self._tell("error", code="unknown_language", message="the language stays as it was: choose another")
        return found

    async def _has(self, voice: str) -> bool:
        try:
            is_there = voice in await self._engine.voices()
        except XttsRtcError as error:
            self._tell("error", code=error.code, message=error.message)
            return False
        if not is_there:
            self._tell("error", code="voice_not_found", message="it was deleted: choose another voice")
        return is_there


__all__ = ["Tell", "Wishes"]
