"""One session builder for everything that talks: a LiveKit room, a WebRTC call, a terminal.

In: an engine and what the models are. Out: an `AgentSession` and the `Agent` in it. It knows no transport.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from livekit.agents import Agent, AgentSession, ModelSettings, inference, llm

from livekit import rtc
from livekit.plugins import xtts
from xtts_rtc.api import Engine
from xtts_rtc.demo.llm import LanguageModel, load_llm
from xtts_rtc.demo.stt import MoonshineSTT
from xtts_rtc.demo.turns import Marks, TurnClock
from xtts_rtc.settings import AgentSettings, SamplingSettings, Settings, VoiceSettings
from xtts_rtc.text.segmenter import Segmenter

ROOM_LEAD_S = 0.1
"""An engine's first chunk is 50 ms and its second comes 100 to 200 ms later on two cores. A browser's line waits for
this by itself; a LiveKit room plays what it gets, and every answer began with a stutter."""


@dataclass(slots=True)
class Kit:
    """The models, loaded once and shared by all sessions of a process. The engine stays the caller's."""

    engine: Engine
    ears: MoonshineSTT
    brain: LanguageModel
    activity: inference.VAD
    voices: VoiceSettings
    sampling: SamplingSettings
    agent: AgentSettings = AgentSettings()

    async def aclose(self) -> None:
        await self.ears.aclose()
        await self.brain.aclose()


def load_kit(settings: Settings, engine: Engine, *, num_calls: int = 4) -> Kit:
    """Blocks for about a second. Raises MissingExtra for a model that is not installed."""
    return Kit(
        engine,
        MoonshineSTT(),
        load_llm(settings.agent, num_calls),
        inference.VAD(min_silence_duration=settings.agent.pause_s),
        settings.voices,
        settings.sampling,
        settings.agent,
    )


def build_session(
    kit: Kit, *, voice: str | None = None, language: str | None = None, idle_s: float | None = None
) -> AgentSession[None]:
    """A session that listens, thinks and speaks; give it inputs and outputs, or a room, and start it.

    It pauses when somebody speaks up, and goes on if that was nothing. After `idle_s` seconds in which neither
    side has spoken it says that its user is "away". Its TTS has no engine of its own: closing the session closes
    no model.
    """
    agent = kit.agent
    tts = xtts.TTS(
        voice=voice or kit.voices.voice,
        language=language or kit.voices.language,
        engine=kit.engine,
        **kit.sampling.model_dump(),
    )
    return AgentSession(
        vad=kit.activity,
        stt=kit.ears,
        llm=kit.brain.llm,
        tts=tts,
        turn_handling={
            "turn_detection": "vad",
            "endpointing": {"min_delay": agent.answer_after_s, "max_delay": agent.answer_latest_s},
            "interruption": {
                "enabled": agent.is_interruptible,
                "mode": "vad",  # the other one asks a cloud service
                "min_duration": agent.interrupt_after_s,
                "false_interruption_timeout": agent.resume_after_s,
            },
        },
        aec_warmup_duration=None,  # the first sentence may be interrupted too
        user_away_timeout=idle_s,
        session_close_transcript_timeout=0.0,
    )


class Conversation(Agent):
    """An agent that notes when each part of an answer was there, and what was written, in `turns` and `on_written`.

    `language` is what its next answer is cut into clauses as. lead_s: seconds of an answer's audio that are kept back
    until they are whole, for an output that plays whatever it gets at once.
    """

    def __init__(
        self,
        language: str,
        *,
        instructions: str,
        lead_s: float = 0.0,
        on_written: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__(instructions=instructions)
        self.turns = TurnClock()
        self.language = language
        self._on_written = on_written
        self._lead_s = lead_s

    async def on_user_turn_completed(self, turn_ctx: llm.ChatContext, new_message: llm.ChatMessage) -> None:
        self.turns.turn_ended(new_message.metrics.get("stopped_speaking_at"))

    async def llm_node(
        self, chat_ctx: llm.ChatContext, tools: list[llm.Tool], model_settings: ModelSettings
    ) -> AsyncIterator[Any]:
        marks = self.turns.answer_begins()
        async for chunk in Agent.default.llm_node(self, chat_ctx, tools, model_settings):
            text = chunk if isinstance(chunk, str) else _content(chunk)
            if text and marks.llm_first_token is None:
                marks.llm_first_token = time.time()
            yield chunk

    async def tts_node(self, text: AsyncIterable[str], model_settings: ModelSettings) -> AsyncIterator[rtc.AudioFrame]:
        marks = self.turns.marks
        written = self._noting(text, marks)
        async for frame in _led(Agent.default.tts_node(self, written, model_settings), self._lead_s):
            if marks.first_audio is None:
                marks.first_audio = time.time()
            yield frame

    async def _noting(self, text: AsyncIterable[str], marks: Marks) -> AsyncIterator[str]:
        """The same text; the clause is found as the engine's own segmenter will find it."""
        segmenter = Segmenter(self.language)
        async for delta in text:
            if marks.first_clause is None and segmenter.push(delta):
                marks.first_clause = time.time()
            self._on_written(delta)
            yield delta
        if marks.first_clause is None:
            marks.first_clause = time.time()


async def _led(frames: AsyncIterable[rtc.AudioFrame], lead_s: float) -> AsyncIterator[rtc.AudioFrame]:
    """The same frames; the first ones together, once they last so long or are all."""
    waiting: list[rtc.AudioFrame] = []
    is_held = lead_s > 0
    async for frame in frames:
        waiting.append(frame)
        is_held = is_held and sum(each.duration for each in waiting) < lead_s
        while waiting and not is_held:
            yield waiting.pop(0)
    for frame in waiting:
        yield frame


def _content(chunk: Any) -> str | None:
    delta = getattr(chunk, "delta", None)
    return delta.content if delta else None


__all__ = ["ROOM_LEAD_S", "Conversation", "Kit", "build_session", "load_kit"]
