"""G.711: 16-bit samples to the 8-bit mu-law and A-law of telephony, and back.

From the decision and reconstruction values of ITU-T G.711 (11/88), tables 1 (A-law) and 2 (mu-law),
scaled to 16 bits: each law has a sign, 8 segments of doubling step and 16 steps in a segment. What the
tables leave open is settled so:

- mu-law: a sample on a decision value goes to the louder step, alike for both signs (the magnitude is
  compared, as spandsp does). CPython's `audioop` floors negative samples to 14 bits first, so 381 of the
  65,536 inputs, all negative and within 3 of a decision value, get the neighbouring step there.
- A-law: negative samples are taken by one's complement (-1 is the mirror of 0), as in ITU-T G.191 and
  `audioop`: equal to it on all 65,536 inputs.
- FFmpeg picks the nearest reconstruction value instead, which differs by one step just above a segment's
  edge. Decoding is the same everywhere.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from xtts_rtc.audio.frames import Int16

UInt8 = NDArray[np.uint8]

_MU_BIAS = 132  # 33 of the table's 14-bit scale: makes every segment start at a power of two
_MU_CLIP = 32_635  # 8,159 (the table's virtual decision value) * 4, less one
_A_INVERT = 0x55  # G.711: even bits are inverted on the line


def _segment(magnitude: NDArray[np.int32]) -> NDArray[np.int32]:
    """Which power of two holds each magnitude: 0 for those under 256, 1 under 512, and so on."""
    # frexp is exact where log2 is rounded: 2**15 - 1 must not land in the next segment.
    exponent = np.frexp(magnitude.astype(np.float64))[1] - 1
    segment: NDArray[np.int32] = np.maximum(exponent - 7, 0).astype(np.int32)
    return segment


@cache  # 64 KiB, built in about 5 ms at first use: afterwards encoding is one lookup per sample
def _mulaw_table() -> UInt8:
    pcm = np.arange(-32_768, 32_768, dtype=np.int32)
    magnitude = np.minimum(np.abs(pcm), _MU_CLIP) + _MU_BIAS
    segment = _segment(magnitude)
    step = (magnitude >> (segment + 3)) & 15
    codes: UInt8 = (~(np.where(pcm < 0, 0x80, 0) | segment << 4 | step) & 0xFF).astype(np.uint8)
    return codes


@cache
def _alaw_table() -> UInt8:
    pcm = np.arange(-32_768, 32_768, dtype=np.int32)
    magnitude = np.where(pcm < 0, ~pcm, pcm)
    segment = _segment(magnitude)
    step = (magnitude >> np.maximum(segment + 3, 4)) & 15
    codes: UInt8 = ((np.where(pcm < 0, 0, 0x80) | segment << 4 | step) ^ _A_INVERT).astype(np.uint8)
    return codes


@cache
def _mulaw_values() -> Int16:
    code = ~np.arange(256) & 0xFF
    magnitude = (((code & 15) << 3) + _MU_BIAS << (code >> 4 & 7)) - _MU_BIAS
    pcm: Int16 = np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)
    return pcm


@cache
def _alaw_values() -> Int16:
    code = np.arange(256) ^ _A_INVERT
    segment = code >> 4 & 7
    magnitude = (((code & 15) << 4) + 8 + np.where(segment > 0, 256, 0)) << np.maximum(segment - 1, 0)
    pcm: Int16 = np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)
    return pcm


def mulaw_encode(pcm: Int16) -> UInt8:
    """pcm [S] int16 to mu-law codes [S]; 0 becomes 0xFF."""
    return _mulaw_table()[pcm.astype(np.int32) + 32_768]


def mulaw_decode(codes: UInt8) -> Int16:
    """mu-law codes [S] to int16 [S], at most 32,124 loud."""
    return _mulaw_values()[codes]


def alaw_encode(pcm: Int16) -> UInt8:
    """pcm [S] int16 to A-law codes [S]; 0 becomes 0xD5."""
    return _alaw_table()[pcm.astype(np.int32) + 32_768]


def alaw_decode(codes: UInt8) -> Int16:
    """A-law codes [S] to int16 [S], at most 32,256 loud."""
    return _alaw_values()[codes]


__all__ = ["UInt8", "alaw_decode", "alaw_encode", "mulaw_decode", "mulaw_encode"]
