"""How far a quantised GPT graph is from fp32 on the weights at hand: the figures of the manifest."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xtts_rtc.model.onnx.bundle import Manifest, Quality, Tables
from xtts_rtc.model.onnx.gpt import OnnxGpt
from xtts_rtc.model.onnx.sessions import num_threads_here, open_session
from xtts_rtc.types import Conditioning, Float32

MIN_COSINE = 0.999
"""Mean latent cosine an int8 operator should reach to be the default."""
NUM_STEPS = 48
_TEXT_IDS = 40


@dataclass(frozen=True, slots=True, eq=False)
class Forced:
    """A run along given tokens: latents [N, D], logits [N, V], the tokens fed, and `OnnxGpt.peaks`."""

    latents: Float32
    logits: Float32
    tokens: list[int]
    peaks: Float32


def run_forced(
    folder: Path,
    manifest: Manifest,
    tables: Tables,
    voice: Conditioning,
    tokens: list[int] | None = None,
    seed: int = 0,
) -> Forced:
    """Decode `NUM_STEPS` positions of a made-up text.

    Without `tokens` they are drawn from the graph's own distribution, so that fp32 goes where speech would go; a
    quantised graph is then fed the same ones.
    """
    session = open_session(folder / "gpt.onnx", num_threads=num_threads_here())
    gpt = OnnxGpt(session, manifest, tables, num_slots=1)
    rng = np.random.default_rng(seed)
    text = rng.integers(3, max(4, tables.text_embedding.shape[0] - 1), min(_TEXT_IDS, manifest.info.max_text_tokens))
    first_latents, first_logits = gpt.prefill(0, voice, text)
    latents, logits, fed = [first_latents], [first_logits], []
    for index in range(min(NUM_STEPS, manifest.info.max_audio_tokens) - 1):
        fed.append(tokens[index] if tokens is not None else _draw(rng, logits[-1], manifest.info.stop_audio_token))
        row_latents, row_logits = gpt.step(np.zeros(1, np.int64), np.array(fed[-1:]))
        latents.append(row_latents[0])
        logits.append(row_logits[0])
    return Forced(np.stack(latents), np.stack(logits), fed, gpt.peaks(0))


def compare(truth: Forced, found: Forced) -> Quality:
    """Two runs along the same tokens, fp32's first."""
    a, b = truth.latents.astype(np.float64), found.latents.astype(np.float64)
    cosine = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    p, q = _log_softmax(truth.logits), _log_softmax(found.logits)
    divergence = (np.exp(p) * (p - q)).sum(axis=1)
    return Quality(
        num_steps=len(a),
        latent_cosine_mean=float(cosine.mean()),
        latent_cosine_min=float(cosine.min()),
        logit_kl_max=float(divergence.max()),
    )


def probe_voice(gamma: Float32, num_prefix: int) -> Conditioning:
    """A made-up voice [num_prefix, D] with the statistics of the perceiver's output, whose last gain is gamma [D]."""
    rng = np.random.default_rng(1)
    latents = (rng.standard_normal((num_prefix, gamma.size)) * gamma).astype(np.float32)
    return Conditioning("probe", latents, np.zeros(512, np.float32))


def _draw(rng: np.random.Generator, logits: Float32, stop_token: int) -> int:
    p = np.exp(_log_softmax(logits[None])[0])
    p[stop_token] = 0  # go on: a stop leaves nothing to compare
    return int(rng.choice(p.size, p=p / p.sum()))


def _log_softmax(logits: Float32) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: np.ndarray[tuple[int, int], np.dtype[np.float64]] = shifted - np.log(
        np.exp(shifted).sum(axis=1, keepdims=True)
    )
    return result


__all__ = ["MIN_COSINE", "NUM_STEPS", "Forced", "compare", "probe_voice", "run_forced"]
