"""A call from a browser: an agent's session over a WebRTC peer, and what the page is told meanwhile.

Events are JSON objects with `type` and `t_ms` (since the call was connected):

    ready                         the agent listens
    state    who, state           agent or caller: listening, thinking, speaking, away
    caller   text, is_final       what was understood of the caller
    written  delta                what the language model wrote
    spoken   delta                the words of it that are being heard
    said     text, is_cut         the agent's sentence is over: what was heard of it
    turn     ..._ms               where the time between the caller's last and the agent's first sound went
    cut      position_ms, after_ms  the agent was cut there, so long after the caller's voice was noticed
    error    message, code
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import asdict
from functools import partial

from livekit.agents import (
    AgentSession,
    AgentStateChangedEvent,
    ConversationItemAddedEvent,
    ErrorEvent,
    UserInputTranscribedEvent,
    UserStateChangedEvent,
)
from livekit.agents.voice import io
from livekit.agents.voice.transcription import TranscriptSynchronizer

from xtts_rtc.demo.peer_audio import PeerAudioInput, PeerAudioOutput, PeerTranscript
from xtts_rtc.demo.session import GREETING, Conversation, Kit, build_session
from xtts_rtc.transports.webrtc import Peer

_log = logging.getLogger(__name__)


class Reporter:
    """Tells the page what happens in a session."""

    def __init__(self, peer: Peer, output: PeerAudioOutput) -> None:
        self._peer = peer
        self._output = output
        self._began = time.time()
        self._noticed: float | None = None

    def tell(self, kind: str, **values: object) -> None:
        self._peer.send_event({"type": kind, "t_ms": round(1e3 * (time.time() - self._began)), **values})

    def follow(self, session: AgentSession[None], agent: Conversation) -> None:
        """Subscribe to everything that is told."""
        session.on("agent_state_changed", self._agent_state)
        session.on("user_state_changed", self._caller_state)
        session.on("user_input_transcribed", self._transcribed)
        session.on("conversation_item_added", self._item)
        session.on("error", self._error)
        self._output.on("playback_started", partial(self._started, agent))
        self._output.on("playback_finished", self._finished)

    def _agent_state(self, event: AgentStateChangedEvent) -> None:
        self.tell("state", who="agent", state=event.new_state)

    def _caller_state(self, event: UserStateChangedEvent) -> None:
        if event.new_state == "speaking" and self._noticed is None:
            self._noticed = event.created_at
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

    def _started(self, agent: Conversation, event: io.PlaybackStartedEvent) -> None:
        self._noticed = None
        report = agent.turns.heard(event.created_at)
        if report is not None:
            self.tell("turn", **asdict(report))

    def _finished(self, event: io.PlaybackFinishedEvent) -> None:
        noticed, silent = self._noticed, self._output.silent_at
        if event.interrupted and event.playback_position:  # else it had not begun
            after = round(1e3 * (silent - noticed), 1) if noticed and silent and silent >= noticed else None
            self.tell("cut", position_ms=round(1e3 * event.playback_position), after_ms=after)


async def converse(kit: Kit, peer: Peer, *, greeting: str = GREETING) -> None:
    """One call, until the peer goes: greet, listen, answer. What the caller asked for is in `peer.options`."""
    language = peer.options.get("language") or kit.voices.language
    session = build_session(kit, voice=peer.options.get("voice"), language=language)
    ears, mouth = PeerAudioInput(peer), PeerAudioOutput(peer)
    reporter = Reporter(peer, mouth)
    agent = Conversation(language, on_written=lambda text: reporter.tell("written", delta=text))
    words = PeerTranscript(lambda text: reporter.tell("spoken", delta=text))
    in_step = TranscriptSynchronizer(next_in_chain_audio=mouth, next_in_chain_text=words)
    session.input.audio = ears
    session.output.audio = in_step.audio_output
    session.output.transcription = in_step.text_output
    reporter.follow(session, agent)
    pump = asyncio.create_task(ears.pump(), name=f"microphone {peer.id}")
    try:
        await session.start(agent)
        reporter.tell("ready", voice=peer.options.get("voice") or kit.voices.voice, model=kit.brain.name)
        if greeting:
            session.say(greeting)
        await peer.closed.wait()
    finally:
        peer.playout.close()  # nobody hears it any more: an output that is still playing would hold up the end
        pump.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pump
        await session.aclose()
        await in_step.aclose()


__all__ = ["Reporter", "converse"]
