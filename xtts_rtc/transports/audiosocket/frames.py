"""The AudioSocket protocol without a socket: bytes to messages and back.

A frame is its kind (one byte), the length of its payload (two bytes, big endian) and the payload. The
kinds are those of Asterisk's res_audiosocket (22.x and 23.x); audio is 16-bit little-endian mono whatever
the kind, and the kind tells the rate. It knows no clock and no call.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from xtts_rtc.audio.frames import Int16
from xtts_rtc.errors import ProtocolError

HANGUP = 0x00
IDENTITY = 0x01
SILENCE = 0x02
"""In the Go library and in nothing that Asterisk sends; it says that nothing is said."""
DIGIT = 0x03
ERROR = 0xFF

AUDIO_HZ: Mapping[int, int] = {
    0x10: 8_000,
    0x11: 12_000,
    0x12: 16_000,
    0x13: 24_000,
    0x14: 32_000,
    0x15: 44_100,
    0x16: 48_000,
}
"""Kinds of audio and their rates. Asterisk has 0x17 and 0x18 too, 96 and 192 kHz: no voice needs them."""
AUDIO_KIND: Mapping[int, int] = {hz: kind for kind, hz in AUDIO_HZ.items()}

_HEADER = struct.Struct(">BH")
_LENGTHS = {IDENTITY: 16, DIGIT: 1}


@dataclass(frozen=True, slots=True)
class Hangup:
    """The peer ends the call; error_code when it says that something went wrong on its side."""

    error_code: int | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Which call this is: the first message of every connection."""

    id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Key:
    """One DTMF digit, as Asterisk names it: 0-9, A-D, *, # (and letters for tones of machines)."""

    digit: str


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """pcm [S] int16 at hz."""

    pcm: Int16
    hz: int


Message = Hangup | Identity | Key | Audio


class FrameParser:
    """Bytes, split anywhere, to messages. After a ProtocolError the stream cannot be read any further."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def push(self, data: bytes) -> Iterator[Message]:
        """The messages that are complete now. Raises ProtocolError, after those before the bad frame.

        A frame is refused by its header, before its payload is waited for.
        """
        self._bytes += data
        while len(self._bytes) >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._bytes)
            _check(kind, length)
            end = _HEADER.size + length
            if len(self._bytes) < end:
                return
            payload = bytes(self._bytes[_HEADER.size : end])
            del self._bytes[:end]
            if (message := _message(kind, payload)) is not None:
                yield message


def frame(kind: int, payload: bytes = b"") -> bytes:
    """One frame, to be written in one piece: Asterisk's reader takes a header that comes in two for garbage."""
    return _HEADER.pack(kind, len(payload)) + payload


def audio_frame(pcm: Int16, hz: int) -> bytes:
    """pcm [S] int16 at one of the rates of `AUDIO_HZ`; S at least 1, for Asterisk ends the call otherwise."""
    assert len(pcm), "an empty frame of audio is an error to Asterisk"
    return frame(AUDIO_KIND[hz], pcm.astype("<i2").tobytes())


def _check(kind: int, length: int) -> None:
    if kind in AUDIO_HZ:
        if length % 2:
            raise ProtocolError(f"an audio frame of {length} bytes does not hold whole 16-bit samples")
    elif kind in (0x17, 0x18):
        raise ProtocolError(f"audio of kind 0x{kind:02x} is over 48 kHz; let Asterisk dial with slin48 or less")
    elif kind not in (HANGUP, IDENTITY, SILENCE, DIGIT, ERROR):
        raise ProtocolError(f"kind 0x{kind:02x} is not one of AudioSocket's; is the peer an Asterisk?")
    elif (wanted := _LENGTHS.get(kind)) is not None and length != wanted:
        raise ProtocolError(f"a frame of kind 0x{kind:02x} holds {length} bytes; it must hold {wanted}")


def _message(kind: int, payload: bytes) -> Message | None:
    if kind in AUDIO_HZ:
        return Audio(np.frombuffer(payload, "<i2").astype(np.int16), AUDIO_HZ[kind])
    if kind == IDENTITY:
        return Identity(uuid.UUID(bytes=payload))
    if kind == DIGIT:
        return Key(payload.decode("ascii", errors="replace").upper())
    if kind == ERROR:
        return Hangup(payload[0] if payload else 0)
    return Hangup() if kind == HANGUP else None


__all__ = [
    "AUDIO_HZ",
    "AUDIO_KIND",
    "DIGIT",
    "ERROR",
    "HANGUP",
    "IDENTITY",
    "SILENCE",
    "Audio",
    "FrameParser",
    "Hangup",
    "Identity",
    "Key",
    "Message",
    "audio_frame",
    "frame",
]
