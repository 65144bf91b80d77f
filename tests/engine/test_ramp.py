"""Chunk sizes follow measured times; caps and guards end what has to end."""

from __future__ import annotations

import numpy as np
import pytest

from xtts_rtc.engine.ramp import LADDER, Costs, RunOnGuard, first_chunk_tokens, length_cap_tokens, next_chunk_tokens
from xtts_rtc.types import OUTPUT_HZ, TOKENS_PER_SECOND

FAST = Costs(frame_s=0.0001, step_s={1: 0.003})
MEDIUM = Costs(frame_s=0.0008, step_s={1: 0.02, 4: 0.027})
SLOW = Costs(frame_s=0.004, step_s={1: 0.08})


def played_without_gap(costs: Costs) -> bool:
    """Simulate one stream: is every chunk out before the last one was heard?"""
    tokens = first_chunk_tokens(costs, 1)
    made, end = costs.chunk(tokens, 1), 0.0
    end = made + tokens / TOKENS_PER_SECOND - 4000 / OUTPUT_HZ
    for _ in range(30):
        tokens = next_chunk_tokens(costs, 1, end - made)
        made += costs.chunk(tokens, 1)
        if made > end:
            return False
        end += tokens / TOKENS_PER_SECOND
    return True


@pytest.mark.parametrize("costs", [FAST, MEDIUM])
def test_chunks_of_a_machine_in_real_time_leave_no_gap(costs: Costs) -> None:
    assert played_without_gap(costs)


def test_the_first_chunk_is_smaller_on_a_faster_machine() -> None:
    assert first_chunk_tokens(FAST, 1) <= 5 < first_chunk_tokens(MEDIUM, 1) <= 12


def test_more_audio_in_hand_allows_larger_chunks() -> None:
    sizes = [next_chunk_tokens(MEDIUM, 1, ahead) for ahead in (0.1, 0.4, 0.8, 3.0)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1] == LADDER[-1]


def test_a_machine_slower_than_speech_still_gets_a_plan() -> None:
    assert first_chunk_tokens(SLOW, 1) in LADDER and next_chunk_tokens(SLOW, 1, 0.0) in LADDER


def test_the_length_cap_lets_slow_speech_through_and_stops_run_ons() -> None:
    text = "How can I help you today?"
    cap = length_cap_tokens(text, "en", speed=1.0, limit=602)
    assert 2 * len(text) / 12 * TOKENS_PER_SECOND < cap < 10 * TOKENS_PER_SECOND
    assert length_cap_tokens(text, "en", speed=1.0, limit=602, tokens_per_second=2 * TOKENS_PER_SECOND) >= 2 * cap - 1
    assert length_cap_tokens("x" * 5000, "en", speed=1.0, limit=602) == 602
    assert length_cap_tokens("1999", "en", speed=1.0, limit=602) > length_cap_tokens("abcd", "en", speed=1.0, limit=602)


def test_the_guard_hears_silence_after_the_text_and_not_a_pause_before() -> None:
    rng = np.random.default_rng(0)
    speech = rng.normal(0, 0.1, OUTPUT_HZ).astype(np.float32)
    quiet = rng.normal(0, 0.0002, OUTPUT_HZ).astype(np.float32)
    guard = RunOnGuard("a text of some thirty letters.")
    assert not guard.hear(speech)
    assert not guard.hear(quiet[: OUTPUT_HZ // 2])
    assert not guard.hear(speech)
    assert not guard.hear(quiet)
    assert guard.hear(quiet)
    early = RunOnGuard("a long text that cannot be over after one second of speech, " * 3)
    assert not any(early.hear(part) for part in (speech, quiet, quiet))
