"""What the other end of a call is told while an agent's session runs: its page, or who measures it.

Events are JSON objects with `type` and `t_ms` (since the call was connected):

    ready                         the agent listens
    state    who, state           agent or caller: listening, thinking, speaking, away
    caller   text, is_final       what was understood of the caller
    written  delta                what the language model wrote
    spoken   delta                the words of it that are being heard
    said     text, is_cut         the agent's sentence is over: what was heard of it
    turn     ..._ms               where the time between the caller's last and the agent's first sound went
    cut      position_ms, after_ms  the agent was cut there, so long after the caller's voice was noticed
    chosen   voice, language      what the caller has changed, from the next sentence on
    error    message, code
    ended    reason               the agent hangs up; idle: nobody has spoken for too long; failed: it cannot go on
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial

from livekit.agents import (
    AgentSession,
    AgentStateChangedEvent,
    CloseEvent,
    ConversationItemAddedEvent,
    ErrorEvent,
    UserInputTranscribedEvent,
    UserStateChangedEvent,
)
from livekit.agents.voice import io

from xtts_rtc.demo.session import Conversation


class Reporter:
    """Tells with `send` what happens in a session.

    `is_idle` is set when neither side has spoken for too long, `is_closed` when the session is over, which it is
    also after a few failures of a model.
    """

    def __init__(self, send: Callable[[Mapping[str, object]], None]) -> None:
        self.is_idle = asyncio.Event()
        self.is_closed = asyncio.Event()
        self._send = send
        self._silent_at: float | None = None
        self._began = time.time()
        self._noticed: float | None = None

    def written(self, text: str) -> None:
        """The language model wrote this."""
        self.tell("written", delta=text)

    def spoken(self, text: str) -> None:
        """These words are being heard."""
        self.tell("spoken", delta=text)

    def tell(self, kind: str, **values: object) -> None:
        self._send({"type": kind, "t_ms": round(1e3 * (time.time() - self._began)), **values})

    def follow(self, session: AgentSession[None], agent: Conversation, output: io.AudioOutput) -> None:
        """Subscribe to everything that is told; `output` is what plays the agent's voice."""
        session.on("agent_state_changed", self._agent_state)
        session.on("user_state_changed", self._caller_state)
        session.on("user_input_transcribed", self._transcribed)
        session.on("conversation_item_added", self._item)
        session.on("error", self._error)
        session.on("close", self._close)
        output.on("playback_started", partial(self._started, agent))
        output.on("playback_progressed", self._progressed)
        output.on("playback_finished", self._finished)

    def _agent_state(self, event: AgentStateChangedEvent) -> None:
        self.tell("state", who="agent", state=event.new_state)

    def _caller_state(self, event: UserStateChangedEvent) -> None:
        if event.new_state == "speaking" and self._noticed is None:
            self._noticed = event.created_at
        if event.new_state == "away":
            self.is_idle.set()
        self.tell("state", who="caller", state=event.new_state)

    def _transcribed(self, event: UserInputTranscribedEvent) -> None:
        self.tell("caller", text=event.transcript, is_final=event.is_final)

    def _item(self, event: ConversationItemAddedEvent) -> None:
        if event.item.type == "message" and event.item.role == "assistant":
            self.tell("said", text=event.item.text_content or "", is_cut=event.item.interrupted)

    def _error(self, event: ErrorEvent) -> None:
        cause = getattr(event.error, "error", event.error)
        if not getattr(event.error, "recoverable", False):
            self.tell("error", code=type(cause).__name__, message=f"{type(event.source).__name__} failed")

    def _close(self, event: CloseEvent) -> None:
        self.is_closed.set()

    def _started(self, agent: Conversation, event: io.PlaybackStartedEvent) -> None:
        self._noticed = None
        report = agent.turns.heard(event.created_at)
        if report is not None:
            self.tell("turn", **asdict(report))

    def _progressed(self, event: io.PlaybackProgressedEvent) -> None:
        """A stretch of the agent's sound is over: all was said, a pause, a cut."""
        self._silent_at = event.started_at + event.duration

    def _finished(self, event: io.PlaybackFinishedEvent) -> None:
        noticed, silent = self._noticed, self._silent_at
        if event.interrupted and event.playback_position:  # else it had not begun
            after = round(1e3 * (silent - noticed), 1) if noticed and silent and silent >= noticed else None
            self.tell("cut", position_ms=round(1e3 * event.playback_position), after_ms=after)


__all__ = ["Reporter"]
