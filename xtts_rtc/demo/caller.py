"""The other side of the room: joins, listens at 48 kHz, and keeps every frame with its time of arrival."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from livekit import rtc
from xtts_rtc.demo.ears import HZ, Ears, Heard
from xtts_rtc.demo.livekit_server import RoomServer


@dataclass(slots=True)
class Caller(Ears):
    room: rtc.Room = field(default_factory=rtc.Room)
    track: rtc.RemoteAudioTrack | None = None
    agent: str = ""

    async def order(self, method: str, **values: object) -> dict[str, Any]:
        answer = await self.room.local_participant.perform_rpc(
            destination_identity=self.agent, method=method, payload=json.dumps(values), response_timeout=10
        )
        return dict(json.loads(answer))

    async def reception(self) -> tuple[int, int]:
        """As the function."""
        assert self.track is not None
        return await reception(self.track)


async def reception(track: rtc.RemoteAudioTrack) -> tuple[int, int]:
    """WebRTC's own count of samples it had to invent, and of all samples; zeros before the first packet."""
    for stat in await track.get_stats():
        if stat.HasField("inbound_rtp"):
            return stat.inbound_rtp.inbound.concealed_samples, stat.inbound_rtp.inbound.total_samples_received
    return 0, 0


@contextlib.asynccontextmanager
async def calling(server: RoomServer, *, limit_s: float = 20.0, num_tries: int = 3) -> AsyncIterator[Caller]:
    """In a new room, once the agent has joined and its track is there.

    A room gets its agent when it is opened or never: one that has none after `limit_s` is left and another
    opened, as a caller would. Raises TimeoutError when none of `num_tries` rooms got one.
    """
    caller = await _joined(server, limit_s, num_tries)
    try:
        assert caller.track is not None
        stream = rtc.AudioStream(caller.track, sample_rate=HZ, num_channels=1)
        listener = asyncio.create_task(_listen(stream, caller))  # in no group: that would wrap the block's errors
        try:
            yield caller
        finally:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)
            await stream.aclose()
    finally:
        await caller.room.disconnect()


async def _joined(server: RoomServer, limit_s: float, num_tries: int) -> Caller:
    for _ in range(num_tries):
        caller, subscribed = Caller(), asyncio.Event()
        caller.room.on("track_subscribed", partial(_take_track, caller, subscribed))
        name = f"room-{uuid.uuid4().hex[:8]}"
        await caller.room.connect(server.url, server.token("caller", name))
        try:
            await asyncio.wait_for(subscribed.wait(), limit_s)
            return caller
        except TimeoutError:
            await caller.room.disconnect()
        except BaseException:
            await caller.room.disconnect()
            raise
    raise TimeoutError(f"no agent joined any of {num_tries} rooms within {limit_s:.0f} s")


def _take_track(
    caller: Caller,
    subscribed: asyncio.Event,
    track: rtc.Track,
    publication: rtc.RemoteTrackPublication,
    who: rtc.RemoteParticipant,
) -> None:
    if isinstance(track, rtc.RemoteAudioTrack):
        caller.track, caller.agent = track, who.identity
        subscribed.set()


async def _listen(stream: rtc.AudioStream, caller: Caller) -> None:
    async for event in stream:
        caller.frames.append(Heard(time.time(), np.frombuffer(event.frame.data, np.int16).copy()))


__all__ = ["Caller", "calling", "reception"]
