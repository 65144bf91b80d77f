"""Clips to what the model knows of a voice, without torch: numpy front ends and two graphs.

As `Xtts.get_conditioning_latents` of coqui-tts 0.28.0 with max_ref_length 30, gpt_cond_len 30 and
gpt_cond_chunk_len 4. Engine thread only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from xtts_rtc.errors import BadClip
from xtts_rtc.model.onnx.bundle import Tables
from xtts_rtc.model.onnx.mel import SPEAKER_HZ, conditioning_mel, resample, speaker_mel
from xtts_rtc.model.onnx.sessions import open_session
from xtts_rtc.types import MODEL_HZ, Float32

MAX_CLIP_S = 30
CHUNK_S = 4
MIN_CHUNK_S = 0.33
"""coqui-tts leaves out a chunk that is shorter."""


class Conditioner:
    """The graphs are loaded at the first use: a start with kept voices does not need them.

    They run on the caller's thread alone, whose priority says how much those who speak notice of it; a second one
    would save a third of the time.
    """

    def __init__(self, folder: Path, tables: Tables) -> None:
        self._folder, self._tables = folder, tables
        self._sessions: dict[str, ort.InferenceSession] = {}

    def __call__(self, clips: list[Float32]) -> tuple[Float32, Float32]:
        """Clips [S] at `MODEL_HZ` to gpt_latents [32, D] and speaker_embedding [512]. Raises BadClip."""
        cut = [np.asarray(clip[: MAX_CLIP_S * MODEL_HZ], np.float32) for clip in clips]
        for index, clip in enumerate(cut):
            _check(index, clip)
        embeddings = [self._speaker_embedding(clip) for clip in cut]
        joined = np.concatenate(cut)[: MAX_CLIP_S * MODEL_HZ]
        chunks = [joined[start : start + CHUNK_S * MODEL_HZ] for start in range(0, joined.size, CHUNK_S * MODEL_HZ)]
        latents = [self._gpt_latents(chunk) for chunk in chunks if chunk.size >= MIN_CHUNK_S * MODEL_HZ]
        return np.mean(latents, axis=0), np.mean(embeddings, axis=0)

    def _gpt_latents(self, chunk: Float32) -> Float32:
        mel = conditioning_mel(chunk, self._tables.mel_stats)
        return self._run("conditioning", mel)

    def _speaker_embedding(self, clip: Float32) -> Float32:
        slow = resample(clip, MODEL_HZ, SPEAKER_HZ)
        tables = self._tables
        mel = speaker_mel(slow, tables.speaker_emphasis, tables.speaker_window, tables.speaker_filters)
        return self._run("speaker", mel)

    def _run(self, name: str, mel: Float32) -> Float32:
        if name not in self._sessions:
            self._sessions[name] = open_session(self._folder / f"{name}.onnx", num_threads=1)
        return np.asarray(self._sessions[name].run(None, {"mel": mel[None]})[0][0], np.float32)


def _check(index: int, clip: Float32) -> None:
    if clip.ndim != 1:
        raise BadClip(f"clip {index} has shape {clip.shape}; it must be mono, one axis")
    if clip.size < MIN_CHUNK_S * MODEL_HZ:
        raise BadClip(
            f"clip {index} is {clip.size / MODEL_HZ:.2f} s long; at least {MIN_CHUNK_S} s are needed (6 are good)"
        )
    if not np.isfinite(clip).all():
        raise BadClip(f"clip {index} holds NaN or infinity; record or export it again")


__all__ = ["CHUNK_S", "MAX_CLIP_S", "MIN_CHUNK_S", "Conditioner"]
