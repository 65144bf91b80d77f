"""A caller without a browser: a stock aiortc connection that speaks what it is given and keeps what it hears.

It shares nothing with our side of the call but the wire (and the choice of 127.0.0.1): aiortc's own encoder, jitter
buffer and data channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import fractions
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame

from xtts_rtc.audio.frames import Int16
from xtts_rtc.demo.ears import HZ, Ears, Heard
from xtts_rtc.transports.webrtc.peer import LOOPBACK, gather_on

_FRAME_SAMPLES = 960

Exchange = Callable[[str], Awaitable[str]]
"""Gives an offer to the other side and returns its answer: an HTTP request, or a call in a test."""


class Mouth(MediaStreamTrack):
    """Speaks what is queued in 20 ms frames, silence else. `spoken` keeps when which frame went out."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self.spoken: list[Heard] = []
        self._queue: deque[Int16] = deque()
        self._began: float | None = None
        self._count = 0
        self._is_choked = False

    @property
    def is_busy(self) -> bool:
        return bool(self._queue)

    def say(self, pcm: Int16) -> None:
        """pcm [S] int16 mono at 48 kHz, behind what is queued."""
        padded = np.pad(pcm, (0, -len(pcm) % _FRAME_SAMPLES))
        self._queue.extend(padded.reshape(-1, _FRAME_SAMPLES))

    def hush(self) -> None:
        self._queue.clear()

    def choke(self) -> None:
        """Send nothing any more, as when the network goes."""
        self._is_choked = True

    async def recv(self) -> AudioFrame:
        self._began = time.monotonic() if self._began is None else self._began
        await asyncio.sleep(max(0.0, self._began + 0.02 * self._count - time.monotonic()))
        while self._is_choked and self.readyState == "live":
            await asyncio.sleep(0.05)
        if self.readyState != "live":
            raise MediaStreamError
        pcm = self._queue.popleft() if self._queue else np.zeros(_FRAME_SAMPLES, np.int16)
        self.spoken.append(Heard(time.time(), pcm))
        frame = AudioFrame.from_ndarray(pcm[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = HZ
        frame.pts = self._count * _FRAME_SAMPLES
        frame.time_base = fractions.Fraction(1, HZ)
        self._count += 1
        return frame


@dataclass(slots=True)
class Phone(Ears):
    """One call. `events` holds what came over the data channel, each with its time `at`."""

    mouth: Mouth = field(default_factory=Mouth)
    events: list[dict[str, Any]] = field(default_factory=list)
    pc: RTCPeerConnection = field(default_factory=lambda: RTCPeerConnection(RTCConfiguration(iceServers=[])))
    channel: RTCDataChannel | None = None
    timestamps: list[int] = field(default_factory=list)
    """Of each frame heard: its place on the sender's clock, in samples."""

    def send(self, text: str) -> None:
        assert self.channel is not None
        self.channel.send(text)

    async def until_event(self, kind: str, *, since: float = 0.0, limit_s: float = 20.0) -> dict[str, Any]:
        """The first event of a type after `since`."""
        async with asyncio.timeout(limit_s):
            while True:
                for event in self.events:
                    if event["type"] == kind and event["at"] > since:
                        return event
                await asyncio.sleep(0.01)

    def take_event(self, message: str | bytes) -> None:
        self.events.append({**json.loads(message), "at": time.time()})


@contextlib.asynccontextmanager
async def phoning(exchange: Exchange, *, limit_s: float = 10.0) -> AsyncIterator[Phone]:
    """Connected and listening, on 127.0.0.1. Raises TimeoutError when no sound has come after `limit_s`."""
    phone = Phone()
    phone.pc.addTrack(phone.mouth)
    phone.channel = channel = phone.pc.createDataChannel("events")
    channel.on("message", phone.take_event)
    assert phone.pc.sctp is not None
    for transport in (phone.pc.getSenders()[0].transport, phone.pc.sctp.transport):
        gather_on(transport.transport, (LOOPBACK,))
    tracks: asyncio.Queue[MediaStreamTrack] = asyncio.Queue()
    phone.pc.on("track", tracks.put_nowait)
    listener: asyncio.Task[None] | None = None
    try:
        await phone.pc.setLocalDescription(await phone.pc.createOffer())
        answer = await exchange(phone.pc.localDescription.sdp)
        await phone.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        listener = asyncio.create_task(_listen(await tracks.get(), phone))
        async with asyncio.timeout(limit_s):
            while not phone.frames or channel.readyState != "open":
                await asyncio.sleep(0.01)
        yield phone
    finally:
        if listener is not None:
            listener.cancel()
            await asyncio.gather(listener, return_exceptions=True)
        await phone.pc.close()


async def _listen(track: MediaStreamTrack, phone: Phone) -> None:
    with contextlib.suppress(MediaStreamError):
        while True:
            frame = cast(AudioFrame, await track.recv())
            stereo = frame.to_ndarray().reshape(-1, 2)  # aiortc decodes Opus to two packed channels
            phone.frames.append(Heard(time.time(), stereo.mean(axis=1).astype(np.int16)))
            phone.timestamps.append(frame.pts or 0)


__all__ = ["Exchange", "Mouth", "Phone", "phoning"]
