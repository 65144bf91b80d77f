"""A call from a browser: an agent's session over a WebRTC peer, and what the page is told meanwhile."""

from __future__ import annotations

import asyncio
import contextlib

from livekit.agents.voice.transcription import TranscriptSynchronizer

from xtts_rtc.demo.peer_audio import PeerAudioInput, PeerAudioOutput, PeerTranscript
from xtts_rtc.demo.reporter import Reporter
from xtts_rtc.demo.session import Conversation, Kit, build_session
from xtts_rtc.transports.webrtc import Peer

_LAST_EVENT_S = 0.2
"""For the reason to arrive before the connection is gone."""


async def converse(kit: Kit, peer: Peer, *, idle_s: float | None = None) -> None:
    """One call, until the peer goes, or nobody has spoken for `idle_s` seconds: greet, listen, answer.

    What the caller asked for is in `peer.options`.
    """
    language = peer.options.get("language") or kit.voices.language
    session = build_session(kit, voice=peer.options.get("voice"), language=language, idle_s=idle_s)
    ears, mouth = PeerAudioInput(peer), PeerAudioOutput(peer)
    reporter = Reporter(peer.send_event, lambda: mouth.silent_at)
    agent = Conversation(language, instructions=kit.agent.instructions, on_written=reporter.written)
    words = PeerTranscript(reporter.spoken)
    in_step = TranscriptSynchronizer(next_in_chain_audio=mouth, next_in_chain_text=words)
    session.input.audio = ears
    session.output.audio = in_step.audio_output
    session.output.transcription = in_step.text_output
    reporter.follow(session, agent, mouth)
    pump = asyncio.create_task(ears.pump(), name=f"microphone {peer.id}")
    try:
        await session.start(agent)
        reporter.tell("ready", voice=peer.options.get("voice") or kit.voices.voice, model=kit.brain.name)
        if kit.agent.greeting:
            session.say(kit.agent.greeting)
        await _until_over(peer, reporter)
    finally:
        peer.playout.close()  # nobody hears it any more: an output that is still playing would hold up the end
        pump.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await pump
        await session.aclose()
        await in_step.aclose()


async def _until_over(peer: Peer, reporter: Reporter) -> None:
    """Until the peer has gone, or nobody has spoken for too long."""
    ends = [asyncio.create_task(each.wait()) for each in (peer.closed, reporter.is_idle)]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if not peer.closed.is_set():
            reporter.tell("ended", reason="idle")
            await asyncio.sleep(_LAST_EVENT_S)
    finally:
        for end in ends:
            end.cancel()


__all__ = ["converse"]
