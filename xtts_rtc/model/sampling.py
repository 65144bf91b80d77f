"""The next audio token from logits, in the order of the reference (coqui-tts 0.28.0 over transformers).

Repetition penalty, temperature, top-k, top-p, then a draw. The draw takes its noise as an argument, so the
same noise gives the same token: ``argmax(p / e)`` with ``e`` from Exponential(1) is how torch's CPU
`multinomial` chooses one of many. Numpy only; holds no generator and no stream.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xtts_rtc.types import Float32, SamplingParams

PROMPT_TOKEN = 1
"""The reference fills the positions before the first audio token with id 1, so the penalty covers it too."""


def new_history(num_tokens: int, start_token: int) -> NDArray[np.bool_]:
    """Ids the repetition penalty covers before anything was decoded: bool [V]."""
    seen = np.zeros(num_tokens, np.bool_)
    seen[[PROMPT_TOKEN, start_token]] = True
    return seen


def choose_token(logits: Float32, seen: NDArray[np.bool_], params: SamplingParams, noise: Float32) -> int:
    """Pick one id.

    logits [V] float32, seen [V] (ids that were used), noise [V] float32 from Exponential(1), all of it drawn
    at every step. Only ids that survive top-k and top-p can be chosen; ties at the k-th place survive.
    """
    scores = np.where(
        seen, np.where(logits < 0, logits * params.repetition_penalty, logits / params.repetition_penalty), logits
    )
    scores = scores.astype(np.float32) / np.float32(params.temperature)
    ids = _top_k(scores, params.top_k)
    ids, probabilities = _top_p(ids, scores[ids], params.top_p)
    return int(ids[np.argmax(probabilities / noise[ids])])


def _top_k(scores: Float32, k: int) -> NDArray[np.intp]:
    if k >= scores.size:
        return np.arange(scores.size)
    kth = np.partition(scores, scores.size - k)[scores.size - k]
    return np.flatnonzero(scores >= kth)


def _top_p(ids: NDArray[np.intp], scores: Float32, p: float) -> tuple[NDArray[np.intp], Float32]:
    order = np.argsort(scores, kind="stable")  # ascending, as the reference sorts
    ids, scores = ids[order], scores[order]
    keep = np.cumsum(_softmax(scores)) > 1 - p
    keep[-1] = True
    return ids[keep], _softmax(scores[keep])


def _softmax(scores: Float32) -> Float32:
    e = np.exp(scores - scores.max())
    probabilities: Float32 = e / e.sum()
    return probabilities


__all__ = ["PROMPT_TOKEN", "choose_token", "new_history"]
