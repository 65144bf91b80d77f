"""A call in a LiveKit room: the same session as for a browser, with LiveKit's own ears and mouth."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping

from livekit.agents.voice import io
from livekit.agents.voice.room_io import AudioOutputOptions, RoomOptions

from livekit import rtc
from xtts_rtc.demo.livekit_server import RoomServer
from xtts_rtc.demo.reporter import Reporter
from xtts_rtc.demo.room_line import EVENTS, join
from xtts_rtc.demo.session import ROOM_LEAD_S, Conversation, Kit, build_session

TRACK_HZ = 48_000


class Gaps:
    """Counts the times that an output ran dry in the middle of a segment."""

    def __init__(self, output: io.AudioOutput) -> None:
        self.num_underruns = 0
        self._end: float | None = None
        output.on("playback_progressed", self._progressed)
        output.on("playback_finished", self._finished)

    def _progressed(self, event: io.PlaybackProgressedEvent) -> None:
        """Two stretches of one segment, one behind the other: nothing was left out, but it was not there in time."""
        self.num_underruns += self._end is not None and abs(event.offset - self._end) < 1e-3
        self._end = event.offset + event.duration

    def _finished(self, event: io.PlaybackFinishedEvent) -> None:
        self._end = None


@contextlib.asynccontextmanager
async def answering_in(kit: Kit, server: RoomServer, name: str) -> AsyncIterator[Gaps]:
    """The agent is in the room, and talks with the caller there, for the length of the block. Raises SetupError."""
    room = rtc.Room()
    await join(room, server, "agent", name)
    outbox: asyncio.Queue[Mapping[str, object]] = asyncio.Queue()
    reporter = Reporter(outbox.put_nowait)
    session = build_session(kit)
    agent = Conversation(
        kit.voices.language, instructions=kit.agent.instructions, lead_s=ROOM_LEAD_S, on_written=reporter.written
    )
    publish = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False)
    options = RoomOptions(audio_output=AudioOutputOptions(sample_rate=TRACK_HZ, track_publish_options=publish))
    post = asyncio.create_task(_post(room, outbox), name="events")
    try:
        await session.start(agent, room=room, room_options=options)
        mouth = _innermost(session.output.audio)
        reporter.follow(session, agent, mouth)
        reporter.tell("ready", voice=kit.voices.voice, model=kit.brain.name)
        if kit.agent.greeting:
            session.say(kit.agent.greeting)
        yield Gaps(mouth)
    finally:
        await session.aclose()
        post.cancel()
        await asyncio.gather(post, return_exceptions=True)
        await room.disconnect()


async def _post(room: rtc.Room, outbox: asyncio.Queue[Mapping[str, object]]) -> None:
    """To whom comes, from his coming on: a packet to an empty room is lost."""
    while not room.remote_participants:
        await asyncio.sleep(0.01)
    while True:
        event = await outbox.get()
        await room.local_participant.publish_data(json.dumps(event, ensure_ascii=False), topic=EVENTS)


def _innermost(output: io.AudioOutput | None) -> io.AudioOutput:
    """What really plays, behind what keeps the transcript in step."""
    assert output is not None
    while output.next_in_chain is not None:
        output = output.next_in_chain
    return output


__all__ = ["TRACK_HZ", "Gaps", "answering_in"]
