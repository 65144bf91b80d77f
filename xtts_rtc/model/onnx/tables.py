"""What of a checkpoint is looked up instead of computed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from xtts_rtc.model.onnx.bundle import Tables
from xtts_rtc.model.onnx.mel import speaker_filters, speaker_window
from xtts_rtc.types import Float32

_SPEC = "hifigan_decoder.speaker_encoder.torch_spec.1."
_CONDITIONING = ("gpt.conditioning_", "hifigan_decoder.speaker_encoder.", "mel_stats")


def build_tables(weights: Mapping[str, Float32]) -> Tables:
    """The tables of a checkpoint, by coqui-tts' names. The front end's constants are made where it has none."""
    window, filters = f"{_SPEC}spectrogram.window", f"{_SPEC}mel_scale.fb"
    return Tables(
        text_embedding=weights["gpt.text_embedding.weight"],
        text_positions=weights["gpt.text_pos_embedding.emb.weight"],
        mel_embedding=weights["gpt.mel_embedding.weight"],
        mel_positions=weights["gpt.mel_pos_embedding.emb.weight"],
        mel_stats=weights["mel_stats"] if "mel_stats" in weights else np.ones(80, np.float32),
        speaker_window=weights[window] if window in weights else speaker_window(),
        speaker_filters=weights[filters] if filters in weights else speaker_filters(),
        latent_gain=weights["gpt.final_norm.weight"],
        latent_bias=weights["gpt.final_norm.bias"],
    )


def conditioning_key(weights: Mapping[str, Float32]) -> str:
    """sha256 over the weights that a voice's conditioning depends on, in hex."""
    digest = hashlib.sha256()
    for name in sorted(name for name in weights if name.startswith(_CONDITIONING)):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weights[name]).tobytes())
    return digest.hexdigest()


__all__ = ["build_tables", "conditioning_key"]
