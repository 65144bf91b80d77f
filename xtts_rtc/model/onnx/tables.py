"""What of a checkpoint is looked up instead of computed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from xtts_rtc.model.onnx.bundle import Tables
from xtts_rtc.model.onnx.mel import speaker_emphasis, speaker_filters, speaker_window
from xtts_rtc.types import Float32

_SPEC = "hifigan_decoder.speaker_encoder.torch_spec."
_CONDITIONING = ("gpt.conditioning_", "hifigan_decoder.speaker_encoder.", "mel_stats")


def build_tables(weights: Mapping[str, Float32]) -> Tables:
    """The tables of a checkpoint, by coqui-tts' names. The front end's constants are made where it has none."""
    emphasis, window, filters = (f"{_SPEC}{part}" for part in ("0.filter", "1.spectrogram.window", "1.mel_scale.fb"))
    return Tables(
        text_embedding=weights["gpt.text_embedding.weight"],
        text_positions=weights["gpt.text_pos_embedding.emb.weight"],
        mel_embedding=weights["gpt.mel_embedding.weight"],
        mel_positions=weights["gpt.mel_pos_embedding.emb.weight"],
        mel_stats=weights["mel_stats"] if "mel_stats" in weights else np.ones(80, np.float32),
        speaker_emphasis=weights[emphasis].reshape(2) if emphasis in weights else speaker_emphasis(),
        speaker_window=weights[window] if window in weights else speaker_window(),
        speaker_filters=weights[filters] if filters in weights else speaker_filters(),
    )


def conditioning_key(weights: Mapping[str, Float32]) -> str:
    """sha256 over the weights that a voice's conditioning depends on, in hex; the torch loader's is the same."""
    digest = hashlib.sha256()
    for name in sorted(name for name in weights if name.startswith(_CONDITIONING)):
        digest.update(name.encode())
        # The counters of the batch norms are int64 in a state dict, and hashed as such by the torch loader.
        kind = np.int64 if name.endswith("num_batches_tracked") else np.float32
        digest.update(np.ascontiguousarray(weights[name], kind).tobytes())
    return digest.hexdigest()


__all__ = ["build_tables", "conditioning_key"]
