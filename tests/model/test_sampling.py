"""The sampler's order and edges; equality with the reference is in tests/reference."""

from __future__ import annotations

import numpy as np
import pytest

from xtts_rtc.errors import InvalidParameter
from xtts_rtc.model.sampling import choose_token, new_history
from xtts_rtc.types import Float32, SamplingParams

EVEN = np.ones(6, np.float32)
NOTHING = np.zeros(6, np.bool_)


def pick(logits: list[float], noise: Float32 = EVEN, seen: list[int] | None = None, **params: float) -> int:
    history = NOTHING.copy()
    history[seen or []] = True
    sampling = SamplingParams(**params)  # type: ignore[arg-type]
    return choose_token(np.asarray(logits, np.float32), history, sampling, noise)


def favour(token: int) -> Float32:
    noise = np.full(6, 1e3, np.float32)
    noise[token] = 1e-6
    return noise


def test_greedy_is_top_k_one() -> None:
    assert pick([0, 1, 5, 2, 3, 4], favour(1), top_k=1) == 2


def test_the_penalty_divides_positive_and_multiplies_negative_logits() -> None:
    assert pick([4, 3, 0, 0, 0, 0], seen=[0], repetition_penalty=2.0, top_k=1) == 1
    assert pick([-1, -1.5, -9, -9, -9, -9], seen=[0], repetition_penalty=2.0, top_k=1) == 1


def test_the_penalty_comes_before_the_cut() -> None:
    # Unpenalised, token 0 would be the only one inside top_k=1.
    assert pick([9, 5, 0, 0, 0, 0], favour(0), seen=[0], repetition_penalty=5.0, top_k=1) == 1


def test_nothing_outside_top_k_or_top_p_is_chosen_and_ties_survive() -> None:
    assert pick([5, 5, 5, 1, 1, 1], favour(3), top_k=2, top_p=1.0) in (0, 1, 2)
    assert pick([5, 5, 5, 1, 1, 1], favour(2), top_k=2, top_p=1.0) == 2
    assert pick([10, 1, 1, 1, 1, 1], favour(5), top_k=6, top_p=0.5) == 0


def test_temperature_flattens() -> None:
    logits = [3.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert pick(logits, favour(4), temperature=2.0, top_p=1.0) == 4
    assert pick(logits, favour(4), temperature=0.05, top_p=0.85) == 0


def test_the_history_begins_with_the_prompt_ids() -> None:
    assert np.flatnonzero(new_history(1026, 1024)).tolist() == [1, 1024]


@pytest.mark.parametrize(
    "bad",
    [{"temperature": 0}, {"top_p": 0}, {"top_p": 1.1}, {"top_k": 0}, {"top_k": 2.5}, {"repetition_penalty": 0.5},
     {"speed": 3}, {"seed": -1}, {"temperature": float("nan")}],
)  # fmt: skip
def test_parameters_out_of_range_are_refused_by_name(bad: dict[str, float]) -> None:
    with pytest.raises(InvalidParameter, match=next(iter(bad))):
        SamplingParams(**bad)  # type: ignore[arg-type]
