"""A caller in a LiveKit room: publishes what he says, hears the agent's track, and keeps what its side tells.

The same `Line` as a phone's, so that one script and one report are for both.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np

from livekit import rtc
from xtts_rtc.demo.caller import reception
from xtts_rtc.demo.ears import HZ, Heard
from xtts_rtc.demo.line import FRAME_SAMPLES, Line
from xtts_rtc.demo.livekit_server import RoomServer
from xtts_rtc.errors import SetupError

EVENTS = "xtts.events"
"""The topic of what the agent's side tells."""
_QUEUE_MS = 100


@dataclass(slots=True)
class RoomLine(Line):
    """One call in a room."""

    room: rtc.Room = field(default_factory=rtc.Room)
    track: rtc.RemoteAudioTrack | None = None

    async def concealed_samples(self) -> int:
        """WebRTC's own count of samples that it had to invent."""
        assert self.track is not None
        return (await reception(self.track))[0]

    def take_packet(self, packet: rtc.DataPacket) -> None:
        if packet.topic == EVENTS:
            self.take_event(packet.data)


@contextlib.asynccontextmanager
async def calling_in(server: RoomServer, name: str, *, limit_s: float = 20.0) -> AsyncIterator[RoomLine]:
    """In the room, speaking and listening, once the agent's track is there.

    Raises SetupError when the server lets nobody in, TimeoutError when no agent has come after `limit_s`.
    """
    line, tracks = RoomLine(), asyncio.Queue[rtc.RemoteAudioTrack]()
    line.room.on("data_received", line.take_packet)
    line.room.on("track_subscribed", lambda track, *of: tracks.put_nowait(track))
    source = rtc.AudioSource(HZ, 1, queue_size_ms=_QUEUE_MS)
    await join(line.room, server, "caller", name)
    beside: list[asyncio.Task[None]] = []
    try:
        mine = rtc.LocalAudioTrack.create_audio_track("caller", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False)
        await line.room.local_participant.publish_track(mine, options)
        beside.append(asyncio.create_task(_speak(line, source), name="caller's mouth"))
        line.track = await asyncio.wait_for(tracks.get(), limit_s)
        beside.append(asyncio.create_task(_listen(line, line.track), name="caller's ear"))
        yield line
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await line.room.disconnect()
        await source.aclose()


async def join(room: rtc.Room, server: RoomServer, identity: str, name: str) -> None:
    """Connect. Raises SetupError."""
    try:
        await room.connect(server.url, server.token(identity, name))
    except rtc.ConnectError as error:
        raise SetupError(f"the LiveKit server at {server.url} cannot be used: {error.message}") from None


async def _speak(line: RoomLine, source: rtc.AudioSource) -> None:
    while True:
        _, pcm = await line.mouth.next_frame()
        await source.capture_frame(rtc.AudioFrame(pcm.tobytes(), HZ, 1, len(pcm)))


async def _listen(line: RoomLine, track: rtc.RemoteAudioTrack) -> None:
    stream = rtc.AudioStream(track, sample_rate=HZ, num_channels=1, frame_size_ms=1000 * FRAME_SAMPLES // HZ)
    try:
        async for event in stream:
            line.frames.append(Heard(time.time(), np.frombuffer(event.frame.data, np.int16).copy()))
    finally:
        await stream.aclose()


__all__ = ["EVENTS", "RoomLine", "calling_in", "join"]
