"""A call from a browser: an agent's session over a WebRTC peer, and what the page is told meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from xtts_rtc.demo.peer_audio import PeerAudioInput, PeerAudioOutput, PeerTranscript, in_step
from xtts_rtc.demo.reporter import Reporter
from xtts_rtc.demo.session import Conversation, Kit, build_session
from xtts_rtc.demo.wishes import Wishes
from xtts_rtc.transports.webrtc import Peer

_LAST_EVENT_S = 0.2
"""For the reason to arrive before the connection is gone."""


async def converse(kit: Kit, peer: Peer, *, idle_s: float | None = None) -> None:
    """One call, until the peer goes, or nobody has spoken for `idle_s` seconds: greet, listen, answer.

    What the caller asked for is in `peer.options`, and may change by an event. An agent that cannot hear or go on
    hangs up; what failed beside the session is raised.
    """
    ears, mouth = PeerAudioInput(peer), PeerAudioOutput(peer)
    reporter = Reporter(peer.send_event)
    wishes = Wishes(kit.engine, reporter.tell)
    chosen = {"voice": kit.voices.voice, "language": kit.voices.language, **await wishes.possible(peer.options)}
    session = build_session(kit, **chosen, idle_s=idle_s)
    agent = Conversation(chosen["language"], instructions=kit.agent.instructions, on_written=reporter.written)
    together = in_step(mouth, PeerTranscript(reporter.spoken))
    session.input.audio = ears
    session.output.audio = together.audio_output
    session.output.transcription = together.text_output
    reporter.follow(session, agent, mouth)
    peer.on_event = wishes.take
    async with contextlib.AsyncExitStack() as ending:  # from the last to the first, whatever fails in between
        ending.push_async_callback(together.aclose)
        ending.push_async_callback(session.aclose)
        hearing = asyncio.create_task(ears.pump(), name=f"microphone {peer.id}")
        ending.push_async_callback(_stop, hearing)
        fulfilling = asyncio.create_task(wishes.fulfil(session, agent), name=f"wishes {peer.id}")
        ending.push_async_callback(_stop, fulfilling)
        # Nobody hears it any more: an output that is still playing would hold up the end.
        ending.callback(peer.playout.close)
        await session.start(agent)
        reporter.tell("ready", voice=chosen["voice"], model=kit.brain.name)
        if kit.agent.greeting:
            session.say(kit.agent.greeting)
        await _until_over(peer, reporter, (hearing, fulfilling))


async def _stop(task: asyncio.Task[None]) -> None:
    """Raises what it failed with, if it did."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _until_over(peer: Peer, reporter: Reporter, beside: Sequence[asyncio.Task[None]]) -> None:
    """Until the peer has gone, nobody has spoken for too long, the session has given up, or a task beside it ends."""
    ends = [asyncio.create_task(each.wait()) for each in (peer.closed, reporter.is_idle, reporter.is_closed)]
    try:
        await asyncio.wait((*ends, *beside), return_when=asyncio.FIRST_COMPLETED)
        if not peer.closed.is_set():
            reporter.tell("ended", reason="idle" if reporter.is_idle.is_set() else "failed")
            await asyncio.sleep(_LAST_EVENT_S)
    finally:
        for end in ends:
            end.cancel()


__all__ = ["converse"]
