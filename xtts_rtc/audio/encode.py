"""int16 samples to the bytes of a named format, as a stream.

One encoder serves one utterance. It takes samples that are already at its rate; resampling and framing
were done before. Names, defaults and content types are those of the HTTP interface.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from xtts_rtc.audio.frames import Int16
from xtts_rtc.audio.g711 import UInt8, alaw_encode, mulaw_encode
from xtts_rtc.errors import InvalidParameter, MissingExtra
from xtts_rtc.types import OUTPUT_HZ

if TYPE_CHECKING:
    from xtts_rtc.audio.compress import Compression

TELEPHONE_HZ = 8_000

_UNKNOWN_SIZE = 0xFFFF_FFFF  # what FFmpeg writes to a pipe; readers take it as "until the end"
_WAV_HEADER_BYTES = 44
_FLAC_LENGTH_AT = 22  # RFC 9639, 8.2: the low 32 bits of the 36 that count samples


class Encoder(Protocol):
    """Makes one utterance's bytes. `finish` comes last, exactly once, also when nothing was pushed."""

    @property
    def content_type(self) -> str:
        """The MIME type, with rate and byte order where the type needs them."""
        ...

    def push(self, pcm: Int16) -> bytes:
        """pcm [S] int16 mono to the bytes that are ready now."""
        ...

    def finish(self) -> bytes:
        """What is left to send, often nothing."""
        ...


class PcmEncoder:
    """Bare 16-bit samples. Big endian is network order, the audio/L16 of RFC 2586."""

    def __init__(self, hz: int, byteorder: Literal["little", "big"] = "little") -> None:
        self._dtype = "<i2" if byteorder == "little" else ">i2"
        # RFC 2586 knows network order only, so the other one has to be named.
        suffix = "; endianness=little-endian" if byteorder == "little" else ""
        self.content_type = f"audio/L16; rate={hz}; channels=1{suffix}"

    def push(self, pcm: Int16) -> bytes:
        return pcm.astype(self._dtype).tobytes()

    def finish(self) -> bytes:
        return b""


class WavEncoder:
    """RIFF WAVE, 16 bit mono; the header goes out with the first bytes.

    Give `num_samples` when the length is known beforehand. Without it the sizes say "unknown"
    (0xFFFFFFFF) and readers go on to the end of the stream.
    """

    content_type = "audio/wav"

    def __init__(self, hz: int, num_samples: int | None = None) -> None:
        self._header = wav_header(hz, num_samples)

    def push(self, pcm: Int16) -> bytes:
        return self.finish() + pcm.astype("<i2").tobytes()

    def finish(self) -> bytes:
        header, self._header = self._header, b""
        return header


class G711Encoder:
    """mu-law or A-law, one byte a sample (RFC 3551 names them PCMU and PCMA)."""

    def __init__(self, hz: int, law: Literal["mulaw", "alaw"]) -> None:
        self._encode: Callable[[Int16], UInt8] = mulaw_encode if law == "mulaw" else alaw_encode
        self.content_type = f"audio/{'PCMU' if law == 'mulaw' else 'PCMA'}; rate={hz}; channels=1"

    def push(self, pcm: Int16) -> bytes:
        return self._encode(pcm).tobytes()

    def finish(self) -> bytes:
        return b""


def wav_header(hz: int, num_samples: int | None = None) -> bytes:
    """The 44 bytes before 16-bit mono samples; None for a length that is not known yet.

    Raises InvalidParameter when the samples do not fit the format's 4 GiB.
    """
    data_bytes = riff_bytes = _UNKNOWN_SIZE
    if num_samples is not None:
        data_bytes = num_samples * 2
        riff_bytes = data_bytes + _WAV_HEADER_BYTES - 8
        if not 0 <= riff_bytes < _UNKNOWN_SIZE:
            raise InvalidParameter(f"{num_samples} samples do not fit a WAV file; leave the length out or split it")
    form = struct.pack("<IHHIIHH", 16, 1, 1, hz, hz * 2, 2, 16)
    return b"RIFF" + struct.pack("<I", riff_bytes) + b"WAVEfmt " + form + b"data" + struct.pack("<I", data_bytes)


def _compressed(hz: int, compression: Compression) -> Encoder:
    try:
        from xtts_rtc.audio.compress import CompressedEncoder
    except ImportError:
        raise MissingExtra(
            f"{compression} needs PyAV, which is not installed: pip install 'xtts-rtc[server]'"
        ) from None
    return CompressedEncoder(hz, compression)


@dataclass(frozen=True, slots=True)
class Encoding:
    """A format by name: the rate it has unless told, and the maker of its encoder at a rate in Hz.

    `make` raises InvalidParameter for a rate the format has not, MissingExtra when PyAV is not installed.
    """

    name: str
    default_hz: int
    make: Callable[[int], Encoder]


ENCODINGS: dict[str, Encoding] = {
    encoding.name: encoding
    for encoding in (
        Encoding("pcm", OUTPUT_HZ, PcmEncoder),
        Encoding("s16le", OUTPUT_HZ, PcmEncoder),
        Encoding("l16be", OUTPUT_HZ, lambda hz: PcmEncoder(hz, "big")),
        Encoding("wav", OUTPUT_HZ, WavEncoder),
        Encoding("mulaw", TELEPHONE_HZ, lambda hz: G711Encoder(hz, "mulaw")),
        Encoding("alaw", TELEPHONE_HZ, lambda hz: G711Encoder(hz, "alaw")),
        Encoding("opus", OUTPUT_HZ, lambda hz: _compressed(hz, "opus")),
        Encoding("mp3", OUTPUT_HZ, lambda hz: _compressed(hz, "mp3")),
        Encoding("flac", OUTPUT_HZ, lambda hz: _compressed(hz, "flac")),
        Encoding("aac", OUTPUT_HZ, lambda hz: _compressed(hz, "aac")),
    )
}


def find_encoding(name: str) -> Encoding:
    """The format of that name. Raises InvalidParameter, with the names there are."""
    if name not in ENCODINGS:
        raise InvalidParameter(f"format {name[:40]!r} is not known; use one of {', '.join(ENCODINGS)}")
    return ENCODINGS[name]


def length_patch(name: str, hz: int, num_samples: int) -> tuple[int, bytes] | None:
    """Where a file of that format wants its length once that is known, and the bytes to put there."""
    if name == "wav":
        return 0, wav_header(hz, num_samples)
    if name == "flac":
        return _FLAC_LENGTH_AT, min(num_samples, 0xFFFF_FFFF).to_bytes(4, "big")
    return None


__all__ = [
    "ENCODINGS",
    "Encoder",
    "Encoding",
    "G711Encoder",
    "PcmEncoder",
    "WavEncoder",
    "find_encoding",
    "length_patch",
    "wav_header",
]
