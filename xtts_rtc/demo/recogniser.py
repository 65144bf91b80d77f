"""What a recogniser understands of audio: moonshine, which carries its model in its package.

In: float32 audio at any rate. Out: words. English only, like the embedded voice.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from xtts_rtc.errors import MissingExtra
from xtts_rtc.types import Float32

_HZ = 16_000


def words(text: str) -> list[str]:
    """Lower-case words without punctuation."""
    return re.sub(r"[^a-z' ]", " ", text.lower().replace("-", " ")).split()


def share_heard(wanted: list[str], heard: list[str]) -> float:
    """The share (0 to 1) of the wanted words that were heard, in order."""
    blocks = SequenceMatcher(None, wanted, heard, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / max(1, len(wanted))


class Recogniser:
    """Close it when done. Raises MissingExtra when moonshine is not installed."""

    def __init__(self) -> None:
        try:
            import moonshine_voice
        except ModuleNotFoundError:
            raise MissingExtra("moonshine-voice is not installed; pip install 'xtts-rtc[demo]' brings it") from None
        path = Path(moonshine_voice.__file__).parent / "assets" / "tiny-en"
        self._transcriber: Any = moonshine_voice.Transcriber(path, moonshine_voice.ModelArch.TINY)

    def words(self, pcm: Float32, hz: int) -> list[str]:
        """The words in audio [S] at `hz`."""
        speech = soxr.resample(np.pad(pcm, hz // 4), hz, _HZ)
        lines = self._transcriber.transcribe_without_streaming(speech.tolist(), _HZ).lines
        heard = words(" ".join(line.text for line in lines))
        return heard[1:] if heard[:1] == ["you"] else heard  # what it makes of the silence before a sentence

    def close(self) -> None:
        self._transcriber.close()


__all__ = ["Recogniser", "share_heard", "words"]
