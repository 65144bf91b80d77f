"""Audio to and from an aiortc connection: a track that is paced by a clock, and a microphone without gaps.

Out: a `Playout`'s frames as 20 ms of Opus. In: what the other side sends, as int16 at 48 kHz, gaps filled.
It knows neither signalling nor who is spoken to.
"""

from __future__ import annotations

import asyncio
import fractions
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av import AudioCodecContext, AudioFrame, AudioStream, CodecContext, Packet

from xtts_rtc.audio.frames import Int16
from xtts_rtc.audio.playout import Playout

HZ = 48_000
FRAME_S = 0.02
FRAME_SAMPLES = 960
MAX_CATCH_UP_S = 0.1
"""Frames that are late by less are sent at once, one behind the other; after a longer standstill the clock
starts anew: receivers throw such a burst away."""
MAX_FILL_S = 1.0
_PATIENCE_S = 0.1
_TIME_BASE = fractions.Fraction(1, HZ)
_BITS_PER_SECOND = 48_000
"""Mono speech at 48 kHz; transparent. aiortc's own encoder sends stereo at 96,000."""


class PacedTrack(MediaStreamTrack):
    """A track of `playout`'s frames: frame n is given out n * 20 ms after the first one, on `clock`.

    Deadlines are absolute, so there is no drift. It encodes here, on the event loop (0.3 ms a frame): aiortc
    would do it in the loop's thread pool, where a frame waits behind whatever else blocks there.
    """

    kind = "audio"

    def __init__(
        self,
        playout: Playout,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__()
        self.num_sent = 0
        self.num_standstills = 0
        self._playout = playout
        self._clock = clock
        self._sleep = sleep
        self._due: float | None = None
        self._codec = _encoder()

    async def recv(self) -> Packet[AudioStream]:
        """The next 20 ms as one Opus packet, when it is due. Raises MediaStreamError after `stop`."""
        await self._until_due()
        if self.readyState != "live":
            raise MediaStreamError
        frame = AudioFrame.from_ndarray(self._playout.frame()[np.newaxis], format="s16", layout="mono")
        frame.sample_rate = HZ
        frame.pts = self.num_sent * FRAME_SAMPLES
        frame.time_base = _TIME_BASE
        (packet,) = self._codec.encode(frame)
        packet.pts = self.num_sent * FRAME_SAMPLES
        packet.time_base = _TIME_BASE
        self.num_sent += 1
        return packet

    async def _until_due(self) -> None:
        now = self._clock()
        if self._due is None:
            self._due = now
        late = now - self._due
        if late > MAX_CATCH_UP_S:
            self.num_standstills += 1
            self._due = now
        elif late < 0:
            await self._sleep(-late)
        self._due += FRAME_S


def _encoder() -> AudioCodecContext:
    codec = CodecContext.create("libopus", "w")
    assert isinstance(codec, AudioCodecContext)
    codec.bit_rate = _BITS_PER_SECOND
    codec.format = "s16"
    codec.layout = "mono"
    codec.sample_rate = HZ
    codec.time_base = _TIME_BASE
    codec.options = {"application": "voip", "frame_duration": "20", "compression_level": "5"}
    return codec


async def microphone(track: MediaStreamTrack) -> AsyncIterator[Int16]:
    """What the other side sends, int16 [S] mono at `HZ`, until its track ends.

    A lost packet becomes as much silence, so that times stay right. When nothing comes for 100 ms, silence
    comes instead, at the speed of time: who waits for the end of an utterance must not wait for the network.
    """
    expected: int | None = None
    while True:
        try:
            async with asyncio.timeout(FRAME_S if expected is None else _PATIENCE_S):
                frame = cast(AudioFrame, await track.recv())
        except TimeoutError:
            yield np.zeros(round(HZ * (FRAME_S if expected is None else _PATIENCE_S)), np.int16)
            expected = None
            continue
        except MediaStreamError:
            return
        pcm = _mono(frame)
        at = frame.pts or 0
        if expected is not None and 0 < at - expected <= HZ * MAX_FILL_S:
            yield np.zeros(at - expected, np.int16)
        expected = at + len(pcm)
        yield pcm


def _mono(frame: AudioFrame) -> Int16:
    """s16 frames as aiortc's decoder gives them: packed, so one row for all channels."""
    channels = frame.to_ndarray().reshape(-1, frame.layout.nb_channels)
    return np.asarray(channels.mean(axis=1), np.int16)


__all__ = ["FRAME_S", "FRAME_SAMPLES", "HZ", "MAX_CATCH_UP_S", "MAX_FILL_S", "PacedTrack", "microphone"]
