"""One WebRTC connection on aiortc: an offer is answered, sound goes both ways, events over a data channel.

In: an SDP offer; then frames to play, and events. Out: the answer; then the microphone, and the other
side's events. It does not know what is said, nor who else is connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aioice.ice import get_host_addresses
from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCIceTransport,
    RTCPeerConnection,
    RTCRtpSender,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.jitterbuffer import JitterBuffer
from aiortc.mediastreams import MediaStreamTrack

from xtts_rtc.audio.frames import Int16
from xtts_rtc.audio.playout import Playout
from xtts_rtc.errors import InvalidRequest
from xtts_rtc.transports.webrtc.track import FRAME_SAMPLES, HZ, PacedTrack, microphone

LOOPBACK = "127.0.0.1"
LEAD_SAMPLES = HZ // 10
MAX_WAIT_FRAMES = 10
"""An engine's first chunk is 50 ms, its second comes 100 to 200 ms later on two cores: sent at once, every
sentence would begin with a stutter."""
_JITTER_PACKETS = 4
_CLOSE_S = 5.0
_MAX_WAITING_EVENTS = 256
_MAX_EVENT_BYTES = 4_096
_MAX_REFUSED_CHANNELS = 8

_log = logging.getLogger(__name__)


class BadOffer(InvalidRequest):
    """The SDP is not an offer that a voice can answer."""

    code = "bad_offer"


@dataclass(frozen=True, slots=True)
class IceServer:
    """url as in ``stun:host:port`` or ``turn:host:port?transport=udp``; the latter wants name and secret."""

    url: str
    username: str | None = None
    credential: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class IceOptions:
    """Where a connection may be reached.

    addresses: local ones to listen on; None is every address of this machine, and 127.0.0.1 for a caller
    who is on it. servers: none by default, then no packet goes anywhere but to the caller.
    """

    addresses: tuple[str, ...] | None = None
    servers: tuple[IceServer, ...] = ()

    def listen_on(self, *, is_local: bool) -> list[str]:
        if self.addresses is not None:
            return list(self.addresses)
        found = get_host_addresses(use_ipv4=True, use_ipv6=True)
        return [*found, LOOPBACK] if is_local else found


class Peer:
    """One caller. Used on one event loop; `aclose` is idempotent and frees sockets, tasks and the decoder's thread.

    `playout` is what the caller hears. `options` are what the caller asked for beside the offer.
    """

    def __init__(self, options: Mapping[str, str] | None = None) -> None:
        self.id = secrets.token_hex(16)
        self.options = dict(options or {})
        self.playout = Playout(HZ, FRAME_SAMPLES, lead_samples=LEAD_SAMPLES, max_wait_frames=MAX_WAIT_FRAMES)
        self.connected = asyncio.Event()
        self.closed = asyncio.Event()
        self.on_event: Callable[[dict[str, Any]], None] = lambda event: None
        self._track = PacedTrack(self.playout)
        self._pc: RTCPeerConnection | None = None
        self._incoming: MediaStreamTrack | None = None
        self._channel: RTCDataChannel | None = None
        self._num_refused = 0
        self._waiting: deque[str] = deque(maxlen=_MAX_WAITING_EVENTS)
        self._newest: datetime | None = None

    @property
    def num_sent(self) -> int:
        """Frames of 20 ms that went out."""
        return self._track.num_sent

    async def answer(self, offer: str, ice: IceOptions, *, is_local: bool) -> str:
        """The SDP of the answer, with all candidates in it. Raises BadOffer."""
        _require_audio(offer)
        # Without a list aiortc asks a STUN server on the internet.
        servers = [RTCIceServer(each.url, each.username, each.credential) for each in ice.servers]
        self._pc = pc = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        pc.on("connectionstatechange", self._take_state)
        pc.on("datachannel", self._take_channel)
        transceiver = pc.addTransceiver(self._track, direction="sendrecv")
        codecs = RTCRtpSender.getCapabilities("audio").codecs
        transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType == "audio/opus"])
        try:
            await pc.setRemoteDescription(RTCSessionDescription(_without_mdns(offer), "offer"))
            self._prepare(transceiver, ice.listen_on(is_local=is_local))
            await pc.setLocalDescription(await pc.createAnswer())
        except Exception as error:  # aiortc's parser answers bad text with whatever went wrong in it
            raise BadOffer(f"the offer cannot be answered ({type(error).__name__}); send one with Opus audio") from None
        return str(pc.localDescription.sdp)

    def _prepare(self, transceiver: RTCRtpTransceiver, addresses: list[str]) -> None:
        """What aiortc 1.16 has no option for."""
        receiver = transceiver.receiver
        self._incoming = receiver.track
        # Its own buffer holds every packet back by 80 ms, and after a loss by 320 ms for good. What is
        # played through a machine's ear needs order only: 20 ms, and 80 ms after a loss.
        receiver._RTCRtpReceiver__jitter_buffer = JitterBuffer(_JITTER_PACKETS)  # type: ignore[attr-defined]
        gather_on(receiver.transport.transport, addresses)

    async def microphone(self) -> AsyncIterator[Int16]:
        """What the caller says: int16 [S] mono at 48 kHz, without gaps, until the connection ends."""
        assert self._incoming is not None, "answer an offer first"
        async for pcm in microphone(self._incoming):
            yield pcm

    def send_event(self, event: Mapping[str, object]) -> None:
        """One JSON object, in order. Until the channel is open the last 256 wait."""
        text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        if self._channel is not None and self._channel.readyState == "open":
            self._channel.send(text)
        else:
            self._waiting.append(text)

    def touch(self) -> bool:
        """Whether a packet of the caller's sound has come since the last call."""
        assert self._pc is not None
        sources = [
            source.timestamp
            for transceiver in self._pc.getTransceivers()
            for source in transceiver.receiver.getSynchronizationSources()
        ]
        before, self._newest = self._newest, max(sources, default=None)
        return self._newest is not None and self._newest != before

    async def aclose(self) -> None:
        """Hang up. What was playing is reported as cut."""
        self.closed.set()
        self.playout.close()
        self._track.stop()
        if self._pc is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._pc.close()

    def _take_state(self) -> None:
        assert self._pc is not None
        if self._pc.connectionState == "connected":
            self.connected.set()
        elif self._pc.connectionState in ("failed", "closed"):
            self.closed.set()

    def _take_channel(self, channel: RTCDataChannel) -> None:
        """The first one is for events. Others are closed; who goes on opening them is hung up on.

        aiortc keeps a channel until the other side agrees to its end, and takes 65,535 of them.
        """
        if self._channel is not None:
            self._num_refused += 1
            channel.close()
            if self._num_refused > _MAX_REFUSED_CHANNELS:
                self.closed.set()
            return
        self._channel = channel
        channel.on("message", self._take_message)
        while self._waiting:
            channel.send(self._waiting.popleft())

    def _take_message(self, message: str | bytes) -> None:
        """A JSON object of at most 4 KiB; anything else is ignored."""
        if len(message) > _MAX_EVENT_BYTES:
            return
        with contextlib.suppress(ValueError, RecursionError):
            event = json.loads(message)
            if isinstance(event, dict):
                self.on_event(event)


def gather_on(transport: RTCIceTransport, addresses: Sequence[str]) -> None:
    """Listen on these local addresses only; to be called before the local description is set.

    aiortc takes every address of the machine, but never 127.0.0.1.
    """
    connection = transport.iceGatherer._connection
    gather = connection.get_component_candidates
    connection.get_component_candidates = lambda component, **found: gather(  # type: ignore[method-assign]
        component=component, addresses=list(addresses)
    )


def _require_audio(offer: str) -> None:
    lines = offer.splitlines()
    kinds = [line[2:].split(" ")[0] for line in lines if line.startswith("m=")]
    if kinds.count("audio") != 1 or not set(kinds) <= {"audio", "application"}:
        raise BadOffer("the offer must have exactly one audio section and nothing else but a data channel")
    if any(line.strip() in ("a=sendonly", "a=recvonly", "a=inactive") for line in lines):
        raise BadOffer("the offer's audio must be sendrecv: a voice listens and speaks")


def _without_mdns(offer: str) -> str:
    """Without the candidates ``*.local``, if there are others: looking them up is a multicast on the network."""
    lines = offer.splitlines(keepends=True)
    plain = [line for line in lines if not (line.startswith("a=candidate:") and ".local " in line)]
    return "".join(plain if any(line.startswith("a=candidate:") for line in plain) else lines)


__all__ = ["LOOPBACK", "BadOffer", "IceOptions", "IceServer", "Peer", "gather_on"]
