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

_LEAST_NOISE = np.float32(1e-30)


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
    # Between two steps the weights have pushed everything else out of the caches: each numpy call costs 10 times what
    # it costs in a loop of its own, so what few ids need is done for those alone.
    temperature = np.float32(params.temperature)
    scores = logits / temperature
    ids = seen.nonzero()[0]
    used, penalty = logits[ids], np.float32(params.repetition_penalty)
    scores[ids] = np.where(used < 0, used * penalty, used / penalty) / temperature
    ids = _top_k(scores, params.top_k)
    ids, probabilities = _top_p(ids, scores[ids], params.top_p)
    return int(ids[(probabilities / np.maximum(noise[ids], _LEAST_NOISE)).argmax()])


def _top_k(scores: Float32, k: int) -> NDArray[np.intp]:
    if k >= scores.size:
        return np.arange(scores.size)
    kth = scores[np.argpartition(scores, scores.size - k)[scores.size - k]]
    return np.flatnonzero(scores >= kth)


def _top_p(ids: NDArray[np.intp], scores: Float32, p: float) -> tuple[NDArray[np.intp], Float32]:
    """Those that survive and what their probabilities are in proportion to."""
    order = scores.argsort(kind="stable")  # ascending, as the reference sorts
    ids, scores = ids[order], scores[order]
    share = np.exp(scores - scores[-1])
    keep = (share / share.sum()).cumsum() > 1 - p
    keep[-1] = True
    return ids[keep], share[keep]


__all__ = ["PROMPT_TOKEN", "choose_token", "new_history"]
