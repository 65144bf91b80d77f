"""One utterance to a file or to standard output.

In: an `Engine` and a text. Out: encoded bytes, in order, and the figures of the run. It knows no option
names and no model; a real-time listener is not assumed, so the engine works as fast as it can.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

from xtts_rtc.api import Engine
from xtts_rtc.audio.encode import ENCODINGS, Encoder, Encoding, find_encoding, length_patch
from xtts_rtc.audio.frames import to_int16
from xtts_rtc.errors import InvalidParameter
from xtts_rtc.types import SamplingParams, Speech

STDOUT = Path("-")
_BAR_WIDTH = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What was written. Times in seconds from the moment the text was given; first_audio_s None for no audio."""

    audio_s: float
    total_s: float
    first_audio_s: float | None

    def __str__(self) -> str:
        if self.first_audio_s is None:
            return "nothing to say: 0.00 s of audio"
        factor = self.total_s / self.audio_s
        return (
            f"{self.audio_s:.2f} s of audio in {self.total_s:.2f} s "
            f"(real-time factor {factor:.2f}), first audio after {self.first_audio_s:.2f} s"
        )


def choose_encoding(name: str | None, out: Path) -> Encoding:
    """The named one, or what the file's suffix says; bare samples for standard output.

    Raises InvalidParameter when neither names one.
    """
    if name is not None:
        return find_encoding(name)
    if out == STDOUT:
        return find_encoding("pcm")
    suffix = out.suffix.lower().removeprefix(".")
    if suffix not in ENCODINGS:
        raise InvalidParameter(f"{out.name} does not say its format; add --encoding ({', '.join(ENCODINGS)})")
    return find_encoding(suffix)


async def say(
    engine: Engine,
    text: str,
    *,
    out: Path,
    encoding: Encoding,
    voice: str = "default",
    language: str = "en",
    sampling: SamplingParams | None = None,
    sample_rate: int | None = None,
    on_progress: Callable[[float, float], None] = lambda share, audio_s: None,
) -> Spoken:
    """Speak `text` into `out` (`STDOUT` for standard output); a file appears only when it is whole.

    sample_rate in Hz, the encoding's own when None. on_progress gets the share of the text begun (0..1)
    and the seconds of audio so far. Raises what the speech raises, and OSError from writing.
    """
    hz = sample_rate or encoding.default_hz
    speech = engine.open(voice=voice, language=language, sampling=sampling, sample_rate=hz, realtime=False)
    if out == STDOUT:
        return await _write(speech, text, sys.stdout.buffer, encoding.make(hz), hz, on_progress)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            spoken = await _write(speech, text, file, encoding.make(hz), hz, on_progress)
            if patch := length_patch(encoding.name, hz, round(spoken.audio_s * hz)):  # it is known only now
                file.seek(patch[0])
                file.write(patch[1])
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)
    return spoken


async def _write(
    speech: Speech, text: str, file: BinaryIO, encoder: Encoder, hz: int, on_progress: Callable[[float, float], None]
) -> Spoken:
    started, first_audio_s = time.monotonic(), None
    num_samples = num_chars = 0
    async with speech:
        speech.push_text(text)
        speech.end_input()
        async for chunk in speech:
            if first_audio_s is None and chunk.pcm.size:
                first_audio_s = time.monotonic() - started
            file.write(encoder.push(to_int16(chunk.pcm)))
            num_samples += chunk.pcm.size
            num_chars += len(chunk.text)
            on_progress(min(1.0, num_chars / max(1, len(text))), num_samples / hz)
    file.write(encoder.finish())
    file.flush()
    return Spoken(audio_s=num_samples / hz, total_s=time.monotonic() - started, first_audio_s=first_audio_s)


class ProgressBar:
    """A bar on a terminal; nothing at all on anything else."""

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal if terminal.isatty() else None

    def show(self, share: float, audio_s: float) -> None:
        """share 0..1 of the text, and the seconds of audio so far."""
        if self._terminal is not None:
            done = round(share * _BAR_WIDTH)
            self._terminal.write(f"\r[{'#' * done}{'.' * (_BAR_WIDTH - done)}] {audio_s:6.1f} s")
            self._terminal.flush()

    def clear(self) -> None:
        """Leave the line empty for what comes next."""
        if self._terminal is not None:
            self._terminal.write("\r" + " " * (_BAR_WIDTH + 12) + "\r")
            self._terminal.flush()


__all__ = ["STDOUT", "ProgressBar", "Spoken", "choose_encoding", "say"]
