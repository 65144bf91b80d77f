"""Rows, ratios and shares from known runs; the stopwatch on a model that costs nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests.bench.bench_session import fake_session
from tests.engine.fake_runtime import FakeRuntime
from xtts_rtc.bench.listener import Listener, speak
from xtts_rtc.bench.session import NUM_TOKENS, SENTENCE, Call
from xtts_rtc.bench.speed import Runs, alternate, length_cost, ratio_of, row_of, shares_of, step_times_ms
from xtts_rtc.types import Conditioning, Float32, SamplingParams


def run_of(*chunks: tuple[float, float]) -> Listener:
    listener = Listener(0.0)
    for at, seconds in chunks:
        listener.hear(at, round(seconds * 24_000))
    return listener


class FakeStock:
    """Two chunks, the first after a little work."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def stream(
        self, text: str, language: str, voice: Conditioning, sampling: SamplingParams, *, num_tokens: int
    ) -> Iterator[Float32]:
        self.asked.append((text, num_tokens))
        start = time.monotonic()
        while time.monotonic() - start < 0.02:
            pass
        yield np.zeros(24_000, np.float32)
        yield np.zeros(12_000, np.float32)


def test_a_row_is_made_of_medians_and_marks_runs_with_gaps() -> None:
    smooth, slow = run_of((0.2, 1.0), (0.9, 1.0)), run_of((0.4, 1.0), (1.6, 1.0))
    row = row_of("c", "b", "p", [smooth, run_of((0.3, 1.0), (1.1, 1.0)), slow])
    assert (row.first_chunk_ms, row.total_ms, row.audio_s, row.rtf) == (300.0, 1100.0, 2.0, 0.55)
    assert (row.runs, row.runs_with_gaps, row.longest_gap_ms) == (3, 1, 200.0)


def test_the_ratio_is_stock_over_ours() -> None:
    ours, stock = row_of("c", "b", "p", [run_of((0.2, 2.0))]), row_of("s", "b", "p", [run_of((2.0, 1.0))])
    ratio = ratio_of(stock, ours)
    assert (ratio.first_chunk, ratio.total_per_audio_second) == (10.0, 20.0)


def test_shares_sum_to_one_and_prefill_belongs_to_the_gpt() -> None:
    calls = [Call("prefill", 0, 0.1, 40), Call("step", 0, 0.3, 1), Call("decode", 0, 0.4, 64)]
    shares = shares_of(Runs([run_of((0.5, 1.0), (1.0, 1.0))], [calls], []))
    assert (shares.gpt, shares.vocoder, shares.rest) == (0.4, 0.4, 0.2)


def test_both_sides_take_turns_and_the_first_round_does_not_count() -> None:
    stock = FakeStock()
    session = fake_session()
    runs = alternate(session, stock, 2, lambda line: None)
    assert (len(runs.ours), len(runs.stock), len(runs.calls)) == (2, 2, 2)
    assert stock.asked == [(SENTENCE, NUM_TOKENS)] * 3
    for calls in runs.calls:  # of one utterance and nothing else
        assert sum(call.kind == "step" for call in calls) == NUM_TOKENS - 1
    assert ratio_of(row_of("s", "", "", runs.stock), row_of("o", "", "", runs.ours)).first_chunk > 1


def test_every_utterance_has_the_same_number_of_tokens_whatever_the_model_says() -> None:
    session = fake_session(FakeRuntime(length=7))
    with session.engine() as engine:
        listeners = [speak(engine, SENTENCE) for _ in range(3)]
        assert [listener.wait().metrics.num_tokens for listener in listeners] == [NUM_TOKENS] * 3


def test_step_times_are_taken_per_batch_size_and_leave_no_slot_taken() -> None:
    runtime = FakeRuntime()
    session = fake_session(runtime)
    found = step_times_ms(session.runtime, session.voice, [1, 2, 4])
    assert list(found) == [1, 2, 4] and min(found.values()) > 0
    assert runtime.rows == {}


def test_the_cost_of_length_is_that_of_the_model_calls() -> None:
    runtime, now = FakeRuntime(), [0.0]

    def spend(what: str, numbers: list[int]) -> None:
        now[0] += 0.02 if what == "step" else 0.0

    runtime.hook = spend
    session = fake_session(runtime, clock=lambda: now[0])
    cost = length_cost(session, runs=1, long_s=4.0)
    assert cost.long_s == pytest.approx(4 * cost.short_s, abs=0.05) and 3.7 <= cost.long_s <= 4.0
    assert cost.ratio == pytest.approx(83 / 20, abs=1e-3)  # 84 and 21 tokens, the first of which needs no step
    assert session.runtime.num_tokens == NUM_TOKENS
