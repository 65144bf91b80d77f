"""Random weights of the XTTS architecture, built in code: for parity, load and speed, not for ears."""

from __future__ import annotations

import json
import string
from typing import Any

import torch

LANGUAGES = ("en", "es", "fr", "de", "it", "pt", "pl", "tr", "ru", "nl", "cs", "ar", "zh", "hu", "ko", "ja", "hi")


def vocabulary() -> str:
    """A small vocabulary in the published layout: special ids, language tags, letters. JSON text."""
    special = ["[STOP]", "[UNK]", "[SPACE]", *(f"[{language}]" for language in (*LANGUAGES, "zh-cn"))]
    tokens = [*special, *string.ascii_lowercase, *"0123456789.,!?;:'-()"]
    ids = {token: index for index, token in enumerate(tokens)}
    ids["[START]"] = 261  # the published start id; the ids between are never produced
    added = [
        {"id": ids[t], "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for t in (*special, "[START]")
    ]  # fmt: skip
    model: dict[str, Any] = {"type": "BPE", "dropout": None, "unk_token": "[UNK]", "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "vocab": ids, "merges": []}  # fmt: skip
    return json.dumps(
        {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
         "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None, "model": model}
    )  # fmt: skip


def sizes(name: str) -> dict[str, Any]:
    """Model arguments of `random-tiny` or `random-full` (the published sizes)."""
    published = {
        "gpt_layers": 30, "gpt_n_model_channels": 1024, "gpt_n_heads": 16, "decoder_input_dim": 1024,
        "gpt_max_audio_tokens": 605, "gpt_max_text_tokens": 402, "gpt_max_prompt_tokens": 70,
        "gpt_num_audio_tokens": 1026, "gpt_start_audio_token": 1024, "gpt_stop_audio_token": 1025,
        "gpt_use_perceiver_resampler": True, "gpt_use_masking_gt_prompt_approach": True,
        "gpt_number_text_tokens": 0,
    }  # fmt: skip
    if name == "random-full":
        return published
    return {**published, "gpt_layers": 2, "gpt_n_model_channels": 64, "gpt_n_heads": 4, "decoder_input_dim": 64}


VOCODER_WIDTH = {"random-tiny": 32, "random-full": 512}


LOUDNESS = 12.0
"""What the vocoder's last weights are multiplied by: as initialised, its noise peaks at 1 % of full scale."""


@torch.no_grad()
def make_it_speak(xtts: Any, name: str) -> None:
    """Make the noise loud enough to be heard; sharpen the tiny model's head and favour its stop token.

    So utterances of the tiny model differ and end; the full-size one speaks up to the length cap.
    """
    xtts.hifigan_decoder.waveform_decoder.conv_post.weight.mul_(LOUDNESS)
    if name == "random-tiny":
        xtts.gpt.mel_head.weight.mul_(6.0)
        xtts.gpt.mel_head.bias[xtts.gpt.stop_audio_token] += 4.0


__all__ = ["LOUDNESS", "VOCODER_WIDTH", "make_it_speak", "sizes", "vocabulary"]
