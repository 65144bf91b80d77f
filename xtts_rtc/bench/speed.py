"""One stream at full speed: first chunk, total, real-time factor, and where the time goes.

Ours and, where there is one, stock's runs alternate in this process: same weights, voice and number of tokens.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from xtts_rtc.bench.listener import Listener, speak
from xtts_rtc.bench.records import LengthCost, Ratio, Row, Shares
from xtts_rtc.bench.session import NUM_TOKENS, SENTENCE, Call, Session
from xtts_rtc.engine.worker import XttsBackend
from xtts_rtc.model.interface import Runtime
from xtts_rtc.types import Conditioning, Float32, SamplingParams

LONG_S = 20.0
_STEPS = 24
Say = Callable[[str], None]
"""Progress for somebody who waits."""


class Stock(Protocol):
    """coqui-tts' own streaming, as `reference.StockXtts` offers it."""

    def stream(
        self, text: str, language: str, voice: Conditioning, sampling: SamplingParams, *, num_tokens: int
    ) -> Iterable[Float32]:
        """Chunks of pcm [S] at 24 kHz, exactly `num_tokens` of them long."""
        ...


@dataclass(slots=True)
class Runs:
    """What alternating gave: our listeners, each with its model calls, and stock's."""

    ours: list[Listener] = field(default_factory=list)
    calls: list[list[Call]] = field(default_factory=list)
    stock: list[Listener] = field(default_factory=list)


def alternate(session: Session, stock: Stock | None, runs: int, say: Say) -> Runs:
    """`runs` of each side in turn, after one of each that warms up and does not count."""
    found = Runs()
    with session.engine() as engine:
        for index in range(runs + 1):
            say(f"{session.label}: run {index} of {runs}" if index else f"{session.label}: warm-up")
            session.runtime.take_calls()
            listener = speak(engine, SENTENCE)
            listener.wait()
            theirs = None if stock is None else stock_run(stock, session.voice)
            if index:
                found.ours.append(listener)
                found.calls.append(session.runtime.take_calls())
                found.stock += [theirs] if theirs else []
    return found


def stock_run(stock: Stock, voice: Conditioning) -> Listener:
    """One utterance of `inference_stream` with its own defaults for streaming, timed as a listener would."""
    listener = Listener(time.monotonic())
    for chunk in stock.stream(SENTENCE, "en", voice, SamplingParams(seed=0), num_tokens=NUM_TOKENS):
        listener.hear(time.monotonic() - listener.opened_at, chunk.size)
    return listener


def row_of(config: str, backend: str, precision: str, runs: list[Listener], *, shares: Shares | None = None) -> Row:
    """Medians over the runs of one configuration."""
    gaps = [run.gap_s() for run in runs]
    return Row(
        config=config,
        backend=backend,
        precision=precision,
        first_chunk_ms=median_ms(run.chunks[0][0] for run in runs),
        total_ms=median_ms(run.total_s for run in runs),
        audio_s=round(statistics.median(run.audio_s for run in runs), 3),
        rtf=round(statistics.median(run.total_s / run.audio_s for run in runs), 4),
        runs=len(runs),
        runs_with_gaps=sum(gap > 0 for gap in gaps),
        longest_gap_ms=round(1e3 * max(gaps), 1),
        shares=shares,
    )


def ratio_of(stock: Row, ours: Row) -> Ratio:
    """Stock's figures over ours."""
    return Ratio(
        first_chunk=round(stock.first_chunk_ms / ours.first_chunk_ms, 2),
        total_per_audio_second=round(stock.rtf / ours.rtf, 2),
    )


def shares_of(runs: Runs) -> Shares:
    """Model calls over the time to the last chunk, all runs together."""
    total = sum(run.total_s for run in runs.ours)
    calls = [call for run in runs.calls for call in run]
    gpt = sum(call.seconds for call in calls if call.kind != "decode") / total
    vocoder = sum(call.seconds for call in calls if call.kind == "decode") / total
    return Shares(gpt=round(gpt, 4), vocoder=round(vocoder, 4), rest=round(max(0.0, 1 - gpt - vocoder), 4))


def step_times_ms(runtime: Runtime, voice: Conditioning, batches: Iterable[int]) -> dict[int, float]:
    """Median of a decode step per batch size, rows of one length. No engine may run meanwhile."""
    found = {}
    for batch in batches:
        slots = np.arange(batch)
        for slot in slots.tolist():
            runtime.prefill(slot, voice, np.full(40, 5, np.int64))
        seconds = []
        for index in range(_STEPS):
            start = time.monotonic()
            runtime.step(slots, np.full(batch, index % 8, np.int64))
            seconds.append(time.monotonic() - start)
        for slot in slots.tolist():
            runtime.release(slot)
        found[batch] = round(1e3 * statistics.median(seconds[4:]), 3)
    return found


def length_cost(session: Session, *, runs: int, long_s: float = LONG_S) -> LengthCost:
    """Time in the model for `long_s` of audio (or the model's longest) and for a quarter of it; same text."""
    info = session.runtime.info
    longest = min(round(long_s * info.tokens_per_second), info.max_audio_tokens)
    text = " ".join([SENTENCE] * 3)
    sizes = {longest // 4: list[float](), longest // 4 * 4: list[float]()}
    with session.engine() as engine:
        for _ in range(runs):
            for num_tokens, seconds in sizes.items():
                seconds.append(_model_seconds(session, engine, text, num_tokens))
    session.runtime.num_tokens = NUM_TOKENS
    (short, quick), (long, slow) = sizes.items()
    return LengthCost(
        short_s=round(short / info.tokens_per_second, 2),
        long_s=round(long / info.tokens_per_second, 2),
        ratio=round(statistics.median(slow) / statistics.median(quick), 3),
    )


def _model_seconds(session: Session, engine: XttsBackend, text: str, num_tokens: int) -> float:
    session.runtime.num_tokens = num_tokens
    session.runtime.take_calls()
    speak(engine, text).wait()
    return sum(call.seconds for call in session.runtime.take_calls())


def median_ms(seconds: Iterable[float]) -> float:
    """Median in milliseconds, to a tenth."""
    return round(1e3 * float(statistics.median(seconds)), 1)


__all__ = [
    "LONG_S",
    "Runs",
    "Say",
    "Stock",
    "alternate",
    "length_cost",
    "median_ms",
    "ratio_of",
    "row_of",
    "shares_of",
    "step_times_ms",
    "stock_run",
]
