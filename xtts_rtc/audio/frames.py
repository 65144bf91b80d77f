"""Float samples to int16 frames of one length, and bytes to whole samples.

What a track or a phone line sends is frames of 10 to 50 ms; what the vocoder makes is chunks of any
length. Nothing here knows a clock: pacing belongs to the transport.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xtts_rtc.errors import GenerationFailed, InvalidParameter, ProtocolError
from xtts_rtc.types import Float32

Int16 = NDArray[np.int16]

MIN_FRAME_MS = 10
MAX_FRAME_MS = 50
FULL_SCALE = 32_768
"""float 1.0 in int16 steps, as in FFmpeg and libsndfile: int16 -> float -> int16 gives the same samples."""


def to_int16(pcm: Float32) -> Int16:
    """pcm [S] float32, full scale -1..1, rounded; louder is clipped, it never wraps around.

    Raises GenerationFailed for NaN and infinity: they would become a full-scale bang.
    """
    if not np.isfinite(pcm).all():
        raise GenerationFailed("the audio holds samples that are not numbers; the stream was stopped, try it again")
    scaled = np.rint(pcm * np.float32(FULL_SCALE))
    clipped: Int16 = np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    return clipped


def to_float32(pcm: Int16) -> Float32:
    """pcm [S] int16 to float32 in -1..1; exact, and undone exactly by `to_int16`."""
    return pcm.astype(np.float32) / np.float32(FULL_SCALE)


class Framer:
    """Re-chunks float32 of any length to int16 frames of exactly `frame_samples`.

    `frame_ms` is a whole number from 10 to 50 that gives whole samples (22,050 Hz needs 20 or 40). With
    `pads_last` the last frame is filled up with silence, without it is as short as the audio is.
    Raises InvalidParameter otherwise.
    """

    def __init__(self, hz: int, frame_ms: int, *, pads_last: bool = True) -> None:
        if not MIN_FRAME_MS <= frame_ms <= MAX_FRAME_MS:
            raise InvalidParameter(f"frame_ms is {frame_ms!r}; it must be from {MIN_FRAME_MS} to {MAX_FRAME_MS}")
        if hz * frame_ms % 1000:
            raise InvalidParameter(f"{frame_ms} ms at {hz} Hz is not a whole number of samples; use 20 ms")
        self.frame_samples = hz * frame_ms // 1000
        self._pads_last = pads_last
        self._rest = np.zeros(0, np.int16)

    @property
    def pending_samples(self) -> int:
        """Samples that wait for their frame to fill, always under `frame_samples`."""
        return len(self._rest)

    def push(self, pcm: Float32) -> list[Int16]:
        """pcm [S] float32 to the frames that are full now, each [frame_samples]."""
        joined = np.concatenate([self._rest, to_int16(pcm)])
        whole = len(joined) - len(joined) % self.frame_samples
        self._rest = joined[whole:]
        return list(joined[:whole].reshape(-1, self.frame_samples))

    def finish(self) -> list[Int16]:
        """The last, unfinished frame, if there is one; afterwards the framer is as new."""
        rest, self._rest = self._rest, np.zeros(0, np.int16)
        if not len(rest):
            return []
        if self._pads_last:
            rest = np.pad(rest, (0, self.frame_samples - len(rest)))
        return [rest]


class ByteFramer:
    """Bytes of 16-bit samples, split anywhere, to whole samples.

    A byte that was cut off from its sample waits for the other: dropping it would shift every later
    sample by half, which sounds like loud noise.
    """

    def __init__(self, byteorder: Literal["little", "big"] = "little") -> None:
        self._dtype = np.dtype("<i2" if byteorder == "little" else ">i2")
        self._odd = b""

    @property
    def pending_bytes(self) -> int:
        """0, or 1 when half a sample waits."""
        return len(self._odd)

    def push(self, data: bytes) -> Int16:
        """Any number of bytes to the samples [S] that are complete now."""
        data = self._odd + data
        whole = len(data) - len(data) % 2
        self._odd = data[whole:]
        return np.frombuffer(data[:whole], self._dtype).astype(np.int16)

    def finish(self) -> None:
        """The stream is over. Raises ProtocolError when it ended in the middle of a sample."""
        odd, self._odd = self._odd, b""
        if odd:
            raise ProtocolError("the audio ended in the middle of a 16-bit sample; its last byte was lost on the way")


__all__ = ["ByteFramer", "Framer", "Int16", "to_float32", "to_int16"]
