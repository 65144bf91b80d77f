"""A recording of a voice, from a file of any sane kind to float32 mono at the model's rate.

What can be wrong is found before anything is decoded, and no more than `USED_S` seconds ever are, so a
hostile or a two-hour file costs milliseconds. It knows nothing of names, folders or what a good clip is.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import soxr

from xtts_rtc.errors import BadClip, MissingExtra
from xtts_rtc.types import MODEL_HZ, Float32

if TYPE_CHECKING:
    from av.container import InputContainer
    from soundfile import SoundFile

MAX_FILE_BYTES = 50_000_000
MAX_FILE_S = 600.0
USED_S = 30.0
"""Seconds of a clip that are used: the published config's gpt_cond_len and max_ref_len."""
MIN_CLIP_S = 1.0
"""The conditioning encoder drops pieces under 0.33 s; less than a second says nothing about a voice."""
MIN_HZ, MAX_HZ = 8_000, 192_000
MAX_CHANNELS = 8
CLIP_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".m4a", ".webm")

_SILENT_PEAK = 0.001  # -60 dBFS
_UNKNOWN_FRAMES = 2**40  # soundfile says 2**63 - 1 of a FLAC that was written to a pipe
_FULL_SCALE = 0.999  # within an int16 clip's last 32 steps


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """pcm [S] float32 mono at `MODEL_HZ`, at most `USED_S` long, and what the file it came from was like.

    `kind` is the container (wav, flac, ogg, mp3, m4a, webm), `duration_s` the whole file's length,
    `clipped_share` how much of it (0..1) stands at full scale, `is_cut` whether a rest was left unread.
    """

    pcm: Float32
    kind: str
    sample_rate: int
    channels: int
    duration_s: float
    clipped_share: float
    is_cut: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """An opened file: what its header says (`duration_s` 0 when it does not), its samples as blocks [S, C] float32."""

    hz: int
    channels: int
    duration_s: float
    blocks: Iterable[Float32]


def read_clip(source: Path | bytes) -> Clip:
    """Read a clip from a path or from a file's bytes.

    WAV, FLAC, OGG (Vorbis, Opus) and MP3 through soundfile; M4A, WebM and what soundfile cannot read
    through PyAV where that is installed. Raises BadClip, which says what is wrong and what to do: no audio
    file, damaged, empty, silent, under 1 s, over 10 minutes, over 50 MB, a rate outside 8 to 192 kHz or
    over 8 channels. Raises MissingExtra when soundfile is not installed.
    """
    data = source if isinstance(source, bytes) else read_file(source)
    _check_size(len(data))
    kind = clip_kind(data)
    opened = _open_sndfile(data, kind) or _open_av(data, kind)
    _check_header(opened)
    return _decode(opened, kind)


def read_file(path: Path) -> bytes:
    """A clip's bytes, not looked at. Raises BadClip for what is no readable file of at most 50 MB."""
    try:
        if not path.is_file():  # a FIFO or a device would block or never end
            raise BadClip(f"{path.name} is not a file that can be read")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadClip(f"{path.name} cannot be read: {error.strerror}; check its permissions") from error
    _check_size(len(data))
    return data


def clip_kind(data: bytes) -> str:
    """The container by its first bytes: a name of `CLIP_SUFFIXES` without the dot. Raises BadClip for others."""
    # Only these containers ever reach a decoder: a playlist or a project file could make FFmpeg open others.
    if not data:
        raise BadClip("the clip is empty (0 bytes); upload or record it again")
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "wav"
    for magic, kind in ((b"fLaC", "flac"), (b"OggS", "ogg"), (b"ID3", "mp3"), (b"\x1a\x45\xdf\xa3", "webm")):
        if data.startswith(magic):
            return kind
    if data[4:8] == b"ftyp":
        return "m4a"
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] & 0x06:
        return "mp3"
    raise BadClip("the clip is not a WAV, FLAC, OGG, MP3, M4A or WebM file; convert it to WAV")


def _check_size(num_bytes: int) -> None:
    if num_bytes > MAX_FILE_BYTES:
        limit = MAX_FILE_BYTES // 1_000_000
        raise BadClip(f"the clip is over {limit} MB; cut out 6 to {USED_S:.0f} s of clear speech")


def _open_sndfile(data: bytes, kind: str) -> _Source | None:
    """None where PyAV has to try."""
    if kind in ("m4a", "webm"):
        return None
    try:
        import soundfile
    except ImportError as error:
        raise MissingExtra("reading a voice clip needs soundfile: pip install 'xtts-rtc[cpu]'") from error
    try:
        file = soundfile.SoundFile(io.BytesIO(data))
    except soundfile.SoundFileError as error:
        if _pyav() is not None:
            return None
        raise BadClip(f"the {kind} clip is damaged or of a kind that cannot be read; convert it to WAV") from error
    if file.frames >= _UNKNOWN_FRAMES:  # soundfile 0.14 fails at the end of such a file
        file.close()
        if _pyav() is not None:
            return None
        raise BadClip(f"the {kind} clip does not say how long it is; convert it to WAV")
    return _Source(file.samplerate, file.channels, file.frames / file.samplerate, _sndfile_blocks(file, kind))


def _sndfile_blocks(file: SoundFile, kind: str) -> Iterator[Float32]:
    left = min(file.frames, round(USED_S * file.samplerate))
    with file:
        while left > 0:
            try:
                block = file.read(min(left, file.samplerate), "float32", always_2d=True)
            except RuntimeError as error:  # the root of soundfile's own
                raise BadClip(f"the {kind} clip is damaged; export or record it again") from error
            left -= len(block)
            if not len(block):
                break
            yield block
    # An MP3's header only estimates; half a second is more than any other codec's padding.
    if kind != "mp3" and left > file.samplerate / 2:
        raise BadClip(f"the {kind} clip is cut off: {left / file.samplerate:.1f} s of it are missing; export it again")


def _pyav() -> ModuleType | None:
    try:
        return importlib.import_module("av")
    except ImportError:
        return None


def _open_av(data: bytes, kind: str) -> _Source:
    av = _pyav()
    if av is None:
        raise BadClip(f"a {kind} clip needs the package av (pip install av); or convert it to WAV")
    # A named demuxer is never probed for, and the mov one opens no other file unless told to.
    demuxer = {"m4a": "mov", "webm": "matroska"}.get(kind, kind)
    try:
        container = av.open(io.BytesIO(data), format=demuxer)
    except (av.FFmpegError, ValueError) as error:
        raise BadClip(f"the {kind} clip is damaged; export or record it again") from error
    codec = container.streams.audio[0].codec_context if container.streams.audio else None
    if codec is None:  # no audio stream, or one of an unknown codec
        container.close()
        raise BadClip(f"the {kind} clip holds no audio that can be read; convert it to WAV")
    # A browser's recording has no length in its header; reading stops at `USED_S` all the same.
    duration_s = (container.duration or 0) / 1e6
    return _Source(codec.sample_rate or 0, codec.layout.nb_channels, duration_s, _av_blocks(av, container, kind))


def _av_blocks(av: ModuleType, container: InputContainer, kind: str) -> Iterator[Float32]:
    with container:
        stream = container.streams.audio[0]
        stream.codec_context.thread_count = 1
        left = round(USED_S * stream.codec_context.sample_rate)
        planar = av.AudioResampler(format="fltp")
        try:
            for frame in container.decode(stream):
                for converted in planar.resample(frame):
                    yield converted.to_ndarray().T[:left]
                    left -= converted.samples
                if left <= 0:
                    return
        except (av.FFmpegError, ValueError) as error:
            raise BadClip(f"the {kind} clip is damaged; export or record it again") from error


def _check_header(source: _Source) -> None:
    if not MIN_HZ <= source.hz <= MAX_HZ:
        raise BadClip(f"the clip's sample rate is {source.hz} Hz; it must be from {MIN_HZ} to {MAX_HZ} Hz")
    if not 1 <= source.channels <= MAX_CHANNELS:
        raise BadClip(f"the clip has {source.channels} channels; it may have {MAX_CHANNELS}, one is best")
    if source.duration_s > MAX_FILE_S:
        raise BadClip(
            f"the clip is {source.duration_s / 60:.0f} minutes long; the limit is {MAX_FILE_S / 60:.0f}: "
            f"cut out 6 to {USED_S:.0f} s of clear speech"
        )


def _decode(source: _Source, kind: str) -> Clip:
    parts: list[Float32] = []
    num_clipped = num_values = 0
    for block in source.blocks:
        if not np.isfinite(block).all():
            raise BadClip("the clip holds samples that are not numbers; export it as 16-bit WAV")
        num_clipped += int(np.count_nonzero(np.abs(block) >= _FULL_SCALE))
        num_values += block.size
        parts.append(block.mean(axis=1, dtype=np.float32))
    mono = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    read_s = len(mono) / source.hz
    if read_s < MIN_CLIP_S:
        raise BadClip(f"the clip is {read_s:.2f} s long; it must be at least {MIN_CLIP_S:.0f} s, best 6 to 30 s")
    if np.abs(mono).max() < _SILENT_PEAK:
        raise BadClip("the clip is silent; check the microphone and record it again")
    pcm = np.asarray(soxr.resample(mono, source.hz, MODEL_HZ, quality="HQ"), np.float32)
    is_full = read_s > USED_S - 0.05  # anything shorter was read to its end
    return Clip(
        pcm=np.clip(pcm, -1, 1),
        kind=kind,
        sample_rate=source.hz,
        channels=source.channels,
        duration_s=max(source.duration_s, read_s) if is_full else read_s,
        clipped_share=num_clipped / num_values,
        is_cut=is_full and (source.duration_s == 0 or source.duration_s > read_s + 0.05),
    )


__all__ = [
    "CLIP_SUFFIXES",
    "MAX_FILE_BYTES",
    "MAX_FILE_S",
    "MIN_CLIP_S",
    "USED_S",
    "Clip",
    "clip_kind",
    "read_clip",
    "read_file",
]
