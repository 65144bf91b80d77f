"""int16 samples to Ogg Opus, MP3, FLAC or AAC, as a stream.

What comes out can be played while it is made: no size, length or index is written that only the end would
know, and packets leave as soon as they are full (20 ms of Opus, 60 ms of FLAC). The encoders are FFmpeg's,
through PyAV; nothing else in this package knows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import av
from av.audio.stream import AudioStream

from xtts_rtc.audio.frames import Int16
from xtts_rtc.errors import InvalidParameter

Compression = Literal["opus", "mp3", "flac", "aac"]

_LAME_DELAY_SAMPLES = 576
"""What libmp3lame puts in front (ENCDELAY of LAME 3.100); a decoder adds 529 of its own and takes both away."""


@dataclass(frozen=True, slots=True)
class _Format:
    """FFmpeg's names for one format. bit_rate is that up to 24 kHz, half as much more above; 0: lossless."""

    content_type: str
    muxer: str
    codec: str
    bit_rate: int = 0
    options: dict[str, str] = field(default_factory=dict)
    muxer_options: dict[str, str] = field(default_factory=dict)


_FORMATS: dict[Compression, _Format] = {
    "opus": _Format(
        "audio/ogg; codecs=opus", "ogg", "libopus", 32_000, {"frame_duration": "20"}, {"page_duration": "20000"}
    ),
    "mp3": _Format("audio/mpeg", "mp3", "libmp3lame", 64_000, {}, {"write_xing": "0", "id3v2_version": "0"}),
    "flac": _Format("audio/flac", "flac", "flac", 0, {}, {"metadata_header_padding": "0"}),
    "aac": _Format("audio/aac", "adts", "aac", 64_000),
}


class _Sink:
    """A file that is only written to, for FFmpeg; without seek it does not try to patch a header at the end."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        """What was written since the last call."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data


class CompressedEncoder:
    """One of the four formats at a rate in Hz, mono; an `Encoder`.

    Opus, MP3 and FLAC give back as many samples as went in, MP3 up to one frame (24 ms) more of silence. AAC
    in ADTS has no place to say that its first 1,024 samples are none of the audio, so they are heard as silence.
    Equal samples give equal bytes, however they were cut. Raises InvalidParameter for a rate the format has not.
    """

    def __init__(self, hz: int, compression: Compression) -> None:
        wanted = _FORMATS[compression]
        rates = av.Codec(wanted.codec, "w").audio_rates
        if rates and hz not in rates:
            known = ", ".join(map(str, sorted(rates)))
            raise InvalidParameter(f"sample rate is {hz}; {compression} has one of {known} Hz")
        self.content_type = wanted.content_type
        self._hz = hz
        self._sink = _Sink()
        # bitexact: no random serial number and no version, so that equal audio is equal bytes.
        options = {"flush_packets": "1", "fflags": "+bitexact", **wanted.muxer_options}
        self._container = av.open(self._sink, "w", format=wanted.muxer, options=options)
        self._stream = self._add_stream(wanted)
        self._container.start_encoding()
        self._num_samples = 0
        self._is_mp3_begin = compression == "mp3"

    def push(self, pcm: Int16) -> bytes:
        if not len(pcm):
            return b""
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = self._hz
        frame.pts = self._num_samples
        self._num_samples += len(pcm)
        self._container.mux(self._stream.encode(frame))
        return self._take()

    def finish(self) -> bytes:
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._take()

    def _add_stream(self, wanted: _Format) -> AudioStream:
        options = dict(wanted.options)
        if wanted.codec == "flac":  # its own choice is 105 ms
            options["frame_size"] = str(self._hz * 60 // 1000)
        stream = self._container.add_stream(wanted.codec, rate=self._hz, options=options, layout="mono")
        assert isinstance(stream, AudioStream)
        if wanted.bit_rate:
            stream.bit_rate = wanted.bit_rate if self._hz <= 24_000 else wanted.bit_rate * 3 // 2
        if wanted.codec == "aac":  # its frame of 1,024 samples holds at most 6,144 bits
            stream.bit_rate = min(stream.bit_rate or 0, 4 * self._hz)
        return stream

    def _take(self) -> bytes:
        data = self._sink.take()
        if self._is_mp3_begin and data:
            self._is_mp3_begin = False
            return _mp3_info_frame(data) + data
        return data


def _mp3_info_frame(mp3: bytes) -> bytes:
    """A silent frame like the first of `mp3` that tells a decoder how many samples to drop at the beginning.

    The "Info" tag of Xing and LAME (gabriel.mp3-tech.org/mp3infotag.html), without the fields that only the
    end knows. FFmpeg would write it to a file only.
    """
    is_mpeg1 = mp3[1] & 0x08 != 0
    header = mp3[:2] + bytes([mp3[2] & 0xFD]) + mp3[3:4]  # no padding byte
    # Flag 2 is a size, here unknown as in a streamed WAV: without any field FFmpeg plays this frame as audio.
    tag = bytes(17 if is_mpeg1 else 9) + b"Info" + b"\0\0\0\2\xff\xff\xff\xff" + b"LAME3.100" + bytes(12)
    tag += (_LAME_DELAY_SAMPLES << 12).to_bytes(3, "big")
    size = _mp3_frame_bytes(header)
    return (header + tag).ljust(size, b"\0")


def _mp3_frame_bytes(header: bytes) -> int:
    """Length of the layer III frame with this header (ISO 11172-3, 13818-3; MPEG 2.5 by its makers)."""
    version = header[1] >> 3 & 3  # 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5
    kbps = {3: _MPEG1_KBPS, 2: _MPEG2_KBPS, 0: _MPEG2_KBPS}[version][header[2] >> 4]
    hz = (44_100, 48_000, 32_000)[header[2] >> 2 & 3] >> {3: 0, 2: 1, 0: 2}[version]
    return (144_000 if version == 3 else 72_000) * kbps // hz


_MPEG1_KBPS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG2_KBPS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


__all__ = ["CompressedEncoder", "Compression"]
