"""The XTTS architecture at the sizes of the configuration, and its GPT as one fast differentiable function."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config import Config, Sizes

NUM_CODES, START, STOP = 1024, 1024, 1025
START_TEXT, STOP_TEXT, NUM_TEXT = 261, 0, 262
STOP_LATER = 2.5
"""Off the stop's logit in what is exported. A stop one token early clips the release of a last plosive, which 1 of 500
everyday utterances had; with this none had, and none ran on."""
NUM_PREFIX = 32
LOG_MEL_SCALE = 8.0  # what the log-mel of a clip, -6 +- 4, is divided by: the perceiver squares what it gets, twice
ALIKE = dict(
    zip(
        "ɹɡʤʧʃðθŋʒjæɛɪəʌɑɔʊɜɐᵊᵻᴀɩᴏᴡᴐɾ",
        "r g j ch sh th th ng s y a e i e u o o u er a e i a i o ow o t".split(),
        strict=True,
    )
)
"""Letters whose embedding is a start for a phoneme, when an earlier model read letters."""
_TEXT_ROWS = ("gpt.text_embedding.weight", "gpt.text_head.weight", "gpt.text_head.bias")


def xtts_config(sizes: Sizes) -> Any:
    """What config.json holds."""
    from TTS.tts.configs.xtts_config import XttsConfig

    config = XttsConfig()
    values = {
        "gpt_layers": sizes.layers, "gpt_n_model_channels": sizes.dim, "gpt_n_heads": sizes.heads,
        "decoder_input_dim": sizes.dim, "gpt_max_audio_tokens": sizes.max_audio_tokens,
        "gpt_max_text_tokens": sizes.max_text_tokens, "gpt_number_text_tokens": NUM_TEXT,
        "gpt_start_text_token": START_TEXT, "gpt_stop_text_token": STOP_TEXT, "gpt_num_audio_tokens": NUM_CODES + 2,
        "gpt_start_audio_token": START, "gpt_stop_audio_token": STOP, "gpt_use_perceiver_resampler": True,
        "gpt_use_masking_gt_prompt_approach": True,
    }  # fmt: skip
    for key, value in values.items():
        setattr(config.model_args, key, value)
    config.languages = ["en"]
    config.temperature, config.repetition_penalty, config.top_k, config.top_p = 0.75, 5.0, 50, 0.85
    config.gpt_cond_len, config.gpt_cond_chunk_len = 30, 4
    return config


def build(config: Config) -> Any:
    """`Xtts` of coqui-tts 0.28.0 with new weights, eval mode (nothing here uses dropout)."""
    from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder
    from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
    from TTS.tts.models.xtts import Xtts

    torch.manual_seed(0)
    xtts = Xtts(xtts_config(config.sizes))
    xtts.tokenizer = VoiceBpeTokenizer(vocab_file=str(config.vocabulary))
    xtts.init_models()
    sizes = config.sizes
    xtts.hifigan_decoder = HifiDecoder(
        decoder_input_dim=sizes.dim, upsample_initial_channel_decoder=sizes.vocoder_width
    )
    _reset(xtts.gpt)
    xtts.mel_stats.fill_(LOG_MEL_SCALE)
    if config.warm_start is not None:
        _warm(xtts, config.warm_start, config.vocabulary)
    torch.nn.Module.eval(xtts)  # Xtts.eval() rebuilds the inference model
    return xtts


@torch.no_grad()
def _reset(gpt: Any) -> None:
    """GPT's own start is N(0, 1) for tokens and 0.02 for positions, from which nothing aligns."""
    gpt.text_embedding.weight.normal_(0, 0.5)
    gpt.mel_embedding.weight.normal_(0, 0.3)
    for positions in (gpt.mel_pos_embedding.emb, gpt.text_pos_embedding.emb):
        positions.weight.copy_(0.5 * _sinusoids(*positions.weight.shape))
    gpt.mel_head.weight.normal_(0, 0.02)
    gpt.mel_head.bias.zero_()
    gpt.mel_head.bias[START] = -8


@torch.no_grad()
def _warm(xtts: Any, folder: Path, vocabulary: Path) -> None:
    """Take over what an earlier checkpoint has; learned positions may have become more."""
    from safetensors.torch import load_file

    earlier, state = load_file(folder / "model.safetensors"), xtts.state_dict()
    own, past = (
        json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"] for path in (vocabulary, folder / "vocab.json")
    )
    earlier["gpt.mel_head.bias"] = earlier["gpt.mel_head.bias"].float()
    earlier["gpt.mel_head.bias"][STOP] += STOP_LATER
    for name in _TEXT_ROWS:
        earlier[name] = rows_of_tokens(earlier.pop(name).float(), past, state[name], own)
    for name, tensor in earlier.items():
        if name not in state:
            continue
        if state[name].shape == tensor.shape:
            state[name] = tensor.float()
        elif name.endswith("pos_embedding.emb.weight"):
            rows = min(len(tensor), len(state[name]))
            state[name] = torch.cat([tensor[:rows].float(), state[name][rows:]])
        else:
            raise ValueError(f"{folder}: {name} is {tuple(tensor.shape)}, not {tuple(state[name].shape)}")
    xtts.load_state_dict(state)


def rows_of_tokens(earlier: Tensor, past: dict[str, int], rows: Tensor, own: dict[str, int]) -> Tensor:
    """`rows` [ids, ...] with those of tokens that the earlier vocabulary had, or letters that sound alike."""
    found = rows.clone()
    for token, index in own.items():
        known = [past[letters] for letters in (token, ALIKE.get(token)) if letters in past]
        if known:
            found[index] = earlier[known[0]]
    return found


def _sinusoids(num: int, dim: int) -> Tensor:
    angles = torch.arange(num).float()[:, None] * torch.exp(-math.log(1e4) * torch.arange(0, dim, 2).float() / dim)
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)


class Trunk:
    """The GPT without the cost of its own code: no dropout, and one prefix for a group of rows."""

    def __init__(self, gpt: Any) -> None:
        self._gpt, self._heads, self._dim = gpt, gpt.heads, gpt.model_dim

    def embed(self, text: Tensor, codes: Tensor) -> Tensor:
        """text [B, T], codes [B, M] -> [B, T + M, D]."""
        gpt = self._gpt
        read = gpt.text_embedding(text) + gpt.text_pos_embedding(text)
        said = gpt.mel_embedding(codes) + gpt.mel_pos_embedding(codes)
        return torch.cat([read, said], dim=1)

    def __call__(
        self, prefix: Tensor, x: Tensor, bias: Tensor, watched: Iterable[int] = ()
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """prefix [G, P, D] for G groups of B / G rows, x [B, S, D], bias [B, 1, S, P + S].

        Returns the latents [B, S, D] and, of each watched layer, the attention scores of its first head.
        """
        scores: dict[int, Tensor] = {}
        repeat, num = x.shape[0] // prefix.shape[0], prefix.shape[1]
        causal = torch.ones(num, num, dtype=torch.bool, device=x.device).tril()
        for index, block in enumerate(self._gpt.gpt.h):
            head_query, head_key, head_value = self._project(block, prefix)
            query, key, value = self._project(block, x)
            score = query @ _joined(head_key, key, repeat).transpose(2, 3) + bias
            if index in watched:
                scores[index] = score[:, 0]
            mixed = score.softmax(-1) @ _joined(head_value, value, repeat)
            prefix_mixed = F.scaled_dot_product_attention(head_query, head_key, head_value, attn_mask=causal, scale=1.0)
            x, prefix = self._finish(block, x, mixed), self._finish(block, prefix, prefix_mixed)
        return self._gpt.final_norm(self._gpt.gpt.ln_f(x)), scores

    def _project(self, block: Any, x: Tensor) -> list[Tensor]:
        """[B, S, D] to query (already scaled), key, value [B, H, S, D / H]."""
        normed = F.layer_norm(x, (self._dim,), block.ln_1.weight, block.ln_1.bias)
        parts = _linear(block.attn.c_attn, normed).split(self._dim, -1)
        size = self._dim // self._heads
        query, key, value = (part.view(*x.shape[:2], self._heads, size).transpose(1, 2) for part in parts)
        return [query * size**-0.5, key, value]

    def _finish(self, block: Any, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + _linear(block.attn.c_proj, mixed.transpose(1, 2).reshape(x.shape))
        normed = F.layer_norm(x, (self._dim,), block.ln_2.weight, block.ln_2.bias)
        return x + _linear(block.mlp.c_proj, F.gelu(_linear(block.mlp.c_fc, normed), approximate="tanh"))


def attention_bias(text_lengths: Tensor, num_text: int, code_lengths: Tensor, num_codes: int) -> Tensor:
    """What may look where, as a bias [B, 1, S, NUM_PREFIX + S]: causal, and never at padding."""
    at = torch.arange(num_text + num_codes, device=text_lengths.device)
    valid = torch.where(at < num_text, at < text_lengths[:, None], at - num_text < code_lengths[:, None])
    mask = ((at[None] <= at[:, None])[None] & valid[:, None]) | torch.eye(len(at), dtype=torch.bool, device=at.device)
    mask = F.pad(mask, (NUM_PREFIX, 0), value=True)
    return torch.zeros(mask.shape, dtype=torch.bfloat16, device=at.device).masked_fill_(~mask, -1e4)[:, None]


def _joined(prefix: Tensor, rows: Tensor, repeat: int) -> Tensor:
    return torch.cat([prefix.repeat_interleave(repeat, 0), rows], dim=2)


def _linear(layer: Any, x: Tensor) -> Tensor:
    """GPT-2's Conv1D, whose weight is [in, out]."""
    return F.linear(x, layer.weight.t(), layer.bias)


def trained_parameters(gpt: nn.Module, *, conditioning: bool) -> list[nn.Parameter]:
    """Of the GPT, or of what makes a clip its prefix; each once."""
    own = {id(p): p for name, p in gpt.named_parameters() if name.startswith("conditioning_") == conditioning}
    return list(own.values())


__all__ = [
    "ALIKE", "NUM_CODES", "NUM_PREFIX", "NUM_TEXT", "START", "START_TEXT", "STOP", "STOP_LATER", "STOP_TEXT",
    "Trunk", "attention_bias", "build", "rows_of_tokens", "trained_parameters", "xtts_config",
]  # fmt: skip
