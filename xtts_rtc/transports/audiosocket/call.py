"""One phone call, as the code that answers it sees it.

In: what the caller says and presses. Out: what is said to the caller, a frame each 20 ms, silence
included. An interruption is decided here and at once: the frame that is due next is the last one with
sound, and the engine is told in the same turn of the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from dataclasses import dataclass, replace
from uuid import UUID

from xtts_rtc.api import Engine
from xtts_rtc.audio.frames import to_float32
from xtts_rtc.audio.resample import Resampler
from xtts_rtc.audio.voice_activity import Change, VoiceActivity
from xtts_rtc.errors import InvalidRequest
from xtts_rtc.transports.audiosocket.frames import Audio, Key, audio_frame
from xtts_rtc.transports.audiosocket.mouth import Mouth, Pacer, Playback
from xtts_rtc.types import Float32, SamplingParams, Speech

_MAX_EVENTS = 256
_MAX_UNHEARD = 50
"""Pieces of the caller's audio that wait for a handler, a second of them: older ones are of no use to it."""


@dataclass(frozen=True, slots=True)
class CallerSpoke:
    """The caller began to speak; found 60 to 200 ms after the first sound."""


@dataclass(frozen=True, slots=True)
class CallerQuiet:
    """The caller has said nothing for 400 ms."""


@dataclass(frozen=True, slots=True)
class Digit:
    """The caller pressed a key: 0-9, A-D, * or #."""

    digit: str


CallEvent = CallerSpoke | CallerQuiet | Digit


class Call:
    """Talk to the caller. Made by the server for a handler; when the handler returns, the call is hung up.

    id is what the dialplan gave as UUID. hz is the rate of the line, that of the caller's first audio:
    all audio below is float32 mono at it. When the caller hangs up, the handler is cancelled.
    """

    def __init__(self, engine: Engine, id: UUID, hz: int) -> None:
        self.id = id
        self.hz = hz
        self.num_interruptions = 0
        self.num_frames_sent = 0
        self._engine = engine
        self._mouth = Mouth(hz)
        self._pacer: Pacer | None = None
        self._voice = VoiceActivity(hz)
        self._inward = Resampler(hz, hz)
        self._events: asyncio.Queue[CallEvent] = asyncio.Queue(_MAX_EVENTS)
        self._unheard: asyncio.Queue[Float32] = asyncio.Queue(_MAX_UNHEARD)
        self._speech: Speech | None = None
        self._is_saying = False
        self._is_playing = False
        self._is_interruptible = False
        self._hung_up = asyncio.Event()

    @property
    def is_caller_speaking(self) -> bool:
        """By the energy on the line; see `VoiceActivity` for what that can know."""
        return self._voice.is_speaking

    @property
    def num_underruns(self) -> int:
        """How often the audio of an utterance was not there in time."""
        return self._mouth.num_underruns

    @property
    def num_skips(self) -> int:
        """How often this process was so late that the schedule of frames started anew."""
        return self._pacer.num_skips if self._pacer else 0

    async def say(
        self,
        text: str | AsyncIterable[str],
        *,
        voice: str = "default",
        language: str = "en",
        sampling: SamplingParams | None = None,
        is_interruptible: bool = True,
    ) -> Playback:
        """Speak a text, or what a language model writes as it writes it; returns when it was sent or cut.

        is_interruptible: the caller's voice, or a key, cuts it. Raises InvalidRequest while the call
        already speaks, what `Engine.open` and `Speech` raise, and what the iteration of `text` raises.
        """
        self._begin()
        self._is_saying, self._is_interruptible = True, is_interruptible
        try:
            self._speech = self._engine.open(voice=voice, language=language, sampling=sampling, sample_rate=self.hz)
            async with self._speech as speech:
                await self._speak(speech, text)
            return replace(await self._mouth.finish(), metrics=speech.metrics)
        finally:
            self._mouth.cut()  # nothing is left to cut unless something was raised
            self._speech, self._is_saying, self._is_interruptible = None, False, False

    async def play(self, pcm: Float32) -> bool:
        """Audio that was made elsewhere: pcm [S]; waits for room. The first begins an utterance, `finish` ends it.

        False when `stop` has cut the utterance: the caller's voice does not cut it by itself.
        Raises InvalidRequest while `say` runs.
        """
        if not self._is_playing:
            self._begin()
            self._is_playing = True
        return await self._mouth.push(pcm)

    async def finish(self) -> Playback:
        """Nothing follows in the utterance of `play`; returns when it was sent or cut."""
        try:
            return await self._mouth.finish()
        finally:
            self._is_playing = False

    def stop(self) -> None:
        """Cut what is being said: one more frame, which falls silent, and the engine stops. Idempotent."""
        if self._speech is not None:
            self._speech.cancel()
        self._mouth.cut()

    def hang_up(self) -> None:
        """End the call; the handler is cancelled. Idempotent."""
        self._hung_up.set()

    async def next_event(self) -> CallEvent:
        """What the caller did next."""
        return await self._events.get()

    async def hear(self) -> Float32:
        """The caller's next audio: pcm [S], mostly 20 ms; who reads too slowly misses the oldest."""
        return await self._unheard.get()

    async def until_hung_up(self) -> None:
        """Until `hang_up`. For the server."""
        await self._hung_up.wait()

    def take(self, message: Audio | Key) -> None:
        """What came from the caller. For the server."""
        if isinstance(message, Key):
            self._tell(Digit(message.digit))
            self._interrupt()
            return
        if message.hz != self._inward.in_hz:
            self._inward = Resampler(message.hz, self.hz)
        pcm = self._inward.push(to_float32(message.pcm))
        for change in self._voice.push(pcm):
            if change is Change.STARTED:
                self._interrupt()
            self._tell(CallerSpoke() if change is Change.STARTED else CallerQuiet())
        if self._unheard.full():
            self._unheard.get_nowait()
        self._unheard.put_nowait(pcm)

    def next_frame(self) -> bytes:
        """What is due now. For the server."""
        pcm = self._mouth.frame()
        self._voice.said(to_float32(pcm))
        self.num_frames_sent += 1
        return audio_frame(pcm, self.hz)

    async def until_due(self) -> None:
        """Until the next frame is due; the first is due when this is called first. For the server."""
        if self._pacer is None:
            self._pacer = Pacer()
            return
        await asyncio.sleep(self._pacer.delay_s())

    def _begin(self) -> None:
        if self._is_saying or self._is_playing:
            raise InvalidRequest("the call already speaks; wait for say() or finish(), after stop() it is at once")
        self._mouth.begin()

    async def _speak(self, speech: Speech, text: str | AsyncIterable[str]) -> None:
        writer = asyncio.create_task(_write(speech, text))  # in no group: that would wrap the speech's errors
        try:
            async for chunk in speech:
                await self._mouth.push(chunk.pcm)
        finally:
            writer.cancel()
            await asyncio.wait([writer])
        if not writer.cancelled() and (failure := writer.result()) is not None:
            raise failure

    def _interrupt(self) -> None:
        if self._is_interruptible:
            self._is_interruptible = False
            self.num_interruptions += 1
            self.stop()

    def _tell(self, event: CallEvent) -> None:
        if not self._events.full():  # nobody has read for a long time; the handler does not care
            self._events.put_nowait(event)


async def _write(speech: Speech, text: str | AsyncIterable[str]) -> Exception | None:
    """Text into the speech as it comes; what the writer raised ends the speech and is returned."""
    try:
        if isinstance(text, str):
            speech.push_text(text)
        else:
            async for delta in text:
                speech.push_text(delta)
        speech.end_input()
    except Exception as error:
        speech.cancel()
        return error
    return None


__all__ = ["Call", "CallEvent", "CallerQuiet", "CallerSpoke", "Digit"]
