"""A runtime against another on the same weights: how far its numbers are, and when its speech goes another way.

The reference speaks freely with a seed; the other is fed the reference's tokens (teacher forcing), so that both
see the same history at every step. Pure maths on what two `Runtime`s return; knows no file and no backend.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xtts_rtc.model.interface import Runtime
from xtts_rtc.model.sampling import choose_token, new_history
from xtts_rtc.model.window import LatentWindow, Window
from xtts_rtc.types import Conditioning, Float32, SamplingParams

MIN_COSINE = 0.999
"""Mean latent cosine a backend should reach."""
MIN_SNR_DB = 40.0
"""What a vocoder should reach on the same latents."""
MAX_SNR_DB = 200.0
"""Stands for every larger one, and for equal audio."""
NUM_STEPS = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far one runtime is from another.

    Cosines are of the latents of the same position. `logit_kl_max` is the largest Kullback-Leibler divergence
    of a step's token distributions at temperature 1, in nats. `audio_snr_db` compares the vocoders on the
    reference's latents. `first_divergence` is the first step at which the same seed chooses another token;
    None if that did not happen in `num_steps`.
    """

    num_steps: int
    latent_cosine_mean: float
    latent_cosine_min: float
    logit_kl_max: float
    audio_snr_db: float
    first_divergence: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What a runtime computed: latents [N, D], logits [N, V], the tokens chosen from them [N], frames [D, F], pcm."""

    latents: Float32
    logits: Float32
    tokens: tuple[int, ...]
    frames: Float32
    pcm: Float32


def compare(
    reference: Runtime,
    other: Runtime,
    voice: Conditioning,
    text_ids: NDArray[np.int64],
    *,
    num_steps: int = NUM_STEPS,
    seed: int = 0,
) -> Parity:
    """Run both (slot 0 of each) and compare; text_ids [T] without start and stop."""
    truth = trace(reference, voice, text_ids, num_steps=num_steps, seed=seed)
    return compare_traces(truth, trace(other, voice, text_ids, num_steps=num_steps, seed=seed, truth=truth))


def trace(
    runtime: Runtime,
    voice: Conditioning,
    text_ids: NDArray[np.int64],
    *,
    num_steps: int = NUM_STEPS,
    seed: int = 0,
    truth: Trace | None = None,
) -> Trace:
    """Decode `num_steps` positions in slot 0 at the published sampling defaults, never stopping.

    With `truth` its tokens are fed and its frames are vocoded; without, the runtime follows its own choices.
    """
    info, rng, sampling = runtime.info, np.random.default_rng(seed), SamplingParams()
    seen = new_history(info.num_audio_tokens, info.start_audio_token)
    latent, logits = runtime.prefill(0, voice, text_ids)
    latents, all_logits, chosen = [latent.copy()], [logits.copy()], list[int]()
    for index in range(min(num_steps, info.max_audio_tokens)):
        noise = rng.standard_exponential(info.num_audio_tokens, np.float32)
        going_on = all_logits[-1].copy()
        going_on[info.stop_audio_token] = -1e5  # a stop would leave nothing to compare
        chosen.append(choose_token(going_on, seen, sampling, noise))
        fed = chosen[-1] if truth is None else truth.tokens[index]
        seen[fed] = True
        if index + 1 < min(num_steps, info.max_audio_tokens):
            rows, row_logits = runtime.step(np.zeros(1, np.int64), np.array([fed], np.int64))
            latents.append(rows[0].copy())
            all_logits.append(row_logits[0].copy())
    runtime.release(0)
    stack = np.stack(latents)
    frames = _frames(stack, info.token_hz) if truth is None else truth.frames
    return Trace(stack, np.stack(all_logits), tuple(chosen), frames, runtime.decode(Window.whole(frames), voice))


def compare_traces(truth: Trace, found: Trace) -> Parity:
    """`found` must have been made with `truth`."""
    a, b = truth.latents.astype(np.float64), found.latents.astype(np.float64)
    cosine = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    pairs = enumerate(zip(truth.tokens, found.tokens, strict=True))
    return Parity(
        num_steps=len(a),
        latent_cosine_mean=float(cosine.mean()),
        latent_cosine_min=float(cosine.min()),
        logit_kl_max=float(kl_nats(truth.logits, found.logits).max()),
        audio_snr_db=snr_db(truth.pcm, found.pcm),
        first_divergence=next((step for step, (wanted, got) in pairs if wanted != got), None),
    )


def is_good(parity: Parity) -> bool:
    """It passes the gate: mean cosine and SNR over their thresholds (a NaN passes nothing)."""
    return parity.latent_cosine_mean >= MIN_COSINE and parity.audio_snr_db >= MIN_SNR_DB


def kl_nats(truth: Float32, found: Float32) -> NDArray[np.float64]:
    """Divergence of each row's distribution from the truth's; logits [N, V] to [N]."""
    p, q = _log_softmax(truth), _log_softmax(found)
    divergence: NDArray[np.float64] = (np.exp(p) * (p - q)).sum(axis=1)
    return divergence


def snr_db(truth: Float32, found: Float32) -> float:
    """Power of the truth [S] over power of the difference; at most `MAX_SNR_DB`."""
    a, b = truth.astype(np.float64), found.astype(np.float64)
    signal, noise = float(np.sum(a * a)), float(np.sum((a - b) ** 2))
    if noise == 0.0:
        return MAX_SNR_DB
    return min(MAX_SNR_DB, float(10 * np.log10(signal / noise))) if signal else -MAX_SNR_DB


def _frames(latents: Float32, token_hz: int) -> Float32:
    window = LatentWindow(token_hz=token_hz)
    for latent in latents:
        window.append(latent)
    whole = window.take(is_end=True)
    assert whole is not None
    return whole.frames


def _log_softmax(logits: Float32) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


__all__ = [
    "MAX_SNR_DB",
    "MIN_COSINE",
    "MIN_SNR_DB",
    "NUM_STEPS",
    "Parity",
    "Trace",
    "compare",
    "compare_traces",
    "is_good",
    "kl_nats",
    "snr_db",
    "trace",
]
