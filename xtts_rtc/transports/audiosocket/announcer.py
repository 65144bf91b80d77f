"""The call handler that needs no agent: says a text, and others at the press of a key.

In: texts and what the caller does. Out: speech. It is written against `Call` alone, as an agent is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from xtts_rtc.transports.audiosocket.call import Call, Digit
from xtts_rtc.types import SamplingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcer:
    """Says the greeting; a key that has a phrase says that phrase, in mid-sentence too.

    is_interruptible: the caller's voice stops what is being said. listen_s: how long it waits for a key,
    or for a caller who interrupted, since something last happened; then, if hangs_up, the call is over.
    Without phrases, and when nobody interrupted, it is over as soon as the greeting is.
    """

    greeting: str
    phrases: Mapping[str, str] = field(default_factory=dict)
    voice: str = "default"
    language: str = "en"
    sampling: SamplingParams = field(default_factory=SamplingParams)
    is_interruptible: bool = True
    hangs_up: bool = True
    listen_s: float = 5.0

    async def __call__(self, call: Call) -> None:
        """One call, from the greeting to its end."""
        text: str | None = self.greeting
        while text is not None:
            playback = await call.say(
                text,
                voice=self.voice,
                language=self.language,
                sampling=self.sampling,
                is_interruptible=self.is_interruptible,
            )
            if self.hangs_up and not self.phrases and not playback.is_interrupted:
                return
            text = await self._chosen(call)

    async def _chosen(self, call: Call) -> str | None:
        """The phrase of the next key that has one; None when the caller has been idle for too long."""
        while True:
            try:
                async with asyncio.timeout(self.listen_s if self.hangs_up and not call.is_caller_speaking else None):
                    event = await call.next_event()
            except TimeoutError:
                return None
            if isinstance(event, Digit) and event.digit in self.phrases:
                return self.phrases[event.digit]


__all__ = ["Announcer"]
