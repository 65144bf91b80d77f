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
from xtts_rtc.settings import SamplingSettings, Settings, VoiceSettings
from xtts_rtc.text.segmenter import Segmenter

INSTRUCTIONS = (
    "You are a friendly voice assistant on the phone. Answer in one or two short, plain sentences. "
    "No lists, no emoji, no markup."
)
GREETING = "Hello! Ask me anything, and stop me whenever you like."
_PAUSE_S = 0.12
"""The caller's voice must last so long before the agent holds its tongue; it goes on if nothing was said."""
_RESUME_S = 1.0


@dataclass(slots=True)
class Kit:
    """The models, loaded once and shared by all sessions of a process. The engine stays the caller's."""

    engine: Engine
    ears: MoonshineSTT
    brain: LanguageModel
    activity: inference.VAD
    voices: VoiceSettings
    sampling: SamplingSettings

    async def aclose(self) -> None:
        await self.ears.aclose()
        await self.brain.aclose()


def load_kit(settings: Settings, engine: Engine, *, num_calls: int = 4) -> Kit:
    """Blocks for about a second. Raises MissingExtra for a model that is not installed."""
    return Kit(
        engine,
        MoonshineSTT(),
        load_llm(num_calls, instructions=INSTRUCTIONS),
        inference.VAD(min_silence_duration=0.3),
        settings.voices,
        settings.sampling,
    )


def build_session(kit: Kit, *, voice: str | None = None, language: str | None = None) -> AgentSession[None]:
    """A session that listens, thinks and speaks; give it inputs and outputs, or a room, and start it.

    It pauses when somebody has spoken for an eighth of a second, and goes on if that was nothing. Its TTS
    has no engine of its own: closing the session closes no model.
    """
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
            "endpointing": {"min_delay": 0.4, "max_delay": 2.0},
            "interruption": {
                "mode": "vad",  # the other one asks a cloud service
                "min_duration": _PAUSE_S,
                "false_interruption_timeout": _RESUME_S,
            },
        },
        aec_warmup_duration=None,  # the first sentence may be interrupted too
        user_away_timeout=None,
        session_close_transcript_timeout=0.0,
    )


class Conversation(Agent):
    """An agent that notes when each part of an answer was there, and what was written, in `turns` and `on_written`."""

    def __init__(
        self,
        language: str,
        *,
        instructions: str = INSTRUCTIONS,
        on_written: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__(instructions=instructions)
        self.turns = TurnClock()
        self._language = language
        self._on_written = on_written

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
        async for frame in Agent.default.tts_node(self, written, model_settings):
            if marks.first_audio is None:
                marks.first_audio = time.time()
            yield frame

    async def _noting(self, text: AsyncIterable[str], marks: Marks) -> AsyncIterator[str]:
        """The same text; the clause is found as the engine's own segmenter will find it."""
        segmenter = Segmenter(self._language)
        async for delta in text:
            if marks.first_clause is None and segmenter.push(delta):
                marks.first_clause = time.time()
            self._on_written(delta)
            yield delta
        if marks.first_clause is None:
            marks.first_clause = time.time()


def _content(chunk: Any) -> str | None:
    delta = getattr(chunk, "delta", None)
    return delta.content if delta else None


__all__ = ["GREETING", "INSTRUCTIONS", "Conversation", "Kit", "build_session", "load_kit"]
