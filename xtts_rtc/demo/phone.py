"""A caller without a browser: a stock aiortc connection that speaks what it is given and keeps what it hears.

It shares nothing with our side of the call but the wire (and the choice of 127.0.0.1): aiortc's own encoder, jitter
buffer and data channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import fractions
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from aiortc import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioFrame

from xtts_rtc.demo.ears import HZ, Heard
from xtts_rtc.demo.line import FRAME_SAMPLES, Line, Mouth
from xtts_rtc.transports.webrtc.peer import LOOPBACK, gather_on

JITTER_BUFFER_S = 0.06
"""What a listener's device holds back; a frame that is later than this behind the fastest one is a gap."""
FOLLOW_FRAMES = 50

Exchange = Callable[[str], Awaitable[str]]
"""Gives an offer to the other side and returns its answer: an HTTP request, or a call in a test."""


class MouthTrack(MediaStreamTrack):
    """What a mouth says, as aiortc wants it."""

    kind = "audio"

    def __init__(self, mouth: Mouth) -> None:
        super().__init__()
        self._mouth = mouth

    def stop(self) -> None:
        super().stop()
        self._mouth.is_choked = False

    async def recv(self) -> AudioFrame:
        at, pcm = await self._mouth.next_frame()
        if self.readyState != "live":
            raise MediaStreamError
        frame = AudioFrame.from_ndarray(pcm[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = HZ
        frame.pts = at
        frame.time_base = fractions.Fraction(1, HZ)
        return frame


@dataclass(slots=True)
class Phone(Line):
    """One call over a connection of its own."""

    pc: RTCPeerConnection = field(default_factory=lambda: RTCPeerConnection(RTCConfiguration(iceServers=[])))
    channel: RTCDataChannel | None = None
    timestamps: list[int] = field(default_factory=list)
    """Of each frame heard: its place on the sender's clock, in samples."""

    def send(self, text: str) -> None:
        assert self.channel is not None
        self.channel.send(text)

    def concealed_samples(self) -> int:
        """Those that a listener's device would have had to invent: lost packets, and those behind its jitter buffer.

        The buffer follows the sender's clock, which starts anew after a standstill: that is one gap, not a late rest.
        """
        stamps = np.array(self.timestamps, np.int64)
        lost = int(np.maximum(np.diff(stamps) - FRAME_SAMPLES, 0).sum())
        delay = np.array([frame.at for frame in self.frames]) - stamps / HZ
        padded = np.pad(delay, (0, FOLLOW_FRAMES - 1), mode="edge")
        base = np.lib.stride_tricks.sliding_window_view(padded, FOLLOW_FRAMES).min(axis=1)
        late = int((delay - base > JITTER_BUFFER_S).sum()) * FRAME_SAMPLES
        return lost + late + round(HZ * float(np.maximum(np.diff(base) - JITTER_BUFFER_S, 0).sum()))


@contextlib.asynccontextmanager
async def phoning(exchange: Exchange, *, limit_s: float = 10.0) -> AsyncIterator[Phone]:
    """Connected and listening, on 127.0.0.1. Raises TimeoutError when no sound has come after `limit_s`."""
    phone = Phone()
    phone.pc.addTrack(MouthTrack(phone.mouth))
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


__all__ = ["JITTER_BUFFER_S", "Exchange", "MouthTrack", "Phone", "phoning"]
