"""Many streams at the speed of sound: who is held without a gap, who comes in between, and who is cut off."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from xtts_rtc.bench.listener import Listener, Played, play, speak
from xtts_rtc.bench.records import Cancels, Newcomer, StreamsRow
from xtts_rtc.bench.session import SENTENCE, Session
from xtts_rtc.bench.speed import median_ms
from xtts_rtc.engine.worker import XttsBackend
from xtts_rtc.types import Segment, StreamRequest

COMES_AFTER_S = 1.5
"""When the newcomer comes: the others are past their start and not at their end."""
CANCELS = 8
_CANCEL_UNTIL = 0.7  # share of an utterance over which the moments of cancelling are spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """How listeners listen, and how the engine is set for them.

    start_buffer_s: from the first chunk to the first frame played. max_ahead_s, max_queue_s: as the engine's.
    """

    start_buffer_s: float = 0.4
    max_ahead_s: float = 3.0
    max_queue_s: float = 2.0
    rounds: int = 3


def streams_rows(session: Session, counts: Sequence[int], how: Listening) -> list[StreamsRow]:
    """One row per count."""
    with session.engine() as engine:
        factors = {n: _aggregate_rtf(engine, n) for n in counts}
    with session.engine(max_ahead_s=how.max_ahead_s, max_queue_s=how.max_queue_s) as engine:
        return [_streams_row(engine, n, factors[n], how) for n in counts]


def newcomer_row(session: Session, others: int, how: Listening) -> Newcomer:
    """A stream that comes while `others` speak, in turn with one that is alone."""
    alone, together = list[Played](), list[list[Played]]()
    with session.engine(max_ahead_s=how.max_ahead_s, max_queue_s=how.max_queue_s) as engine:
        for _ in range(how.rounds):
            alone += play(engine, [0.0], SENTENCE, start_buffer_s=how.start_buffer_s)
            starts = [0.0] * others + [COMES_AFTER_S]
            together.append(play(engine, starts, SENTENCE, start_buffer_s=how.start_buffer_s))
    return newcomer_of(others, alone, together)


def newcomer_of(others: int, alone: list[Played], together: list[list[Played]]) -> Newcomer:
    """Medians of the first chunk; underruns are sums over the rounds."""
    alone_ms = median_ms(_firsts(alone))
    late = [played[-1] for played in together]
    firsts = _firsts(late)
    first_ms = median_ms(firsts) if firsts else None
    return Newcomer(
        others=others,
        first_chunk_ms=first_ms,
        alone_ms=alone_ms,
        ratio=None if first_ms is None else round(first_ms / alone_ms, 2),
        underruns_of_others=sum(one.playout.underruns for played in together for one in played[:-1]),
        underruns=sum(one.playout.underruns for one in late),
        refused=sum(one.is_refused for played in together for one in played),
        rounds=len(together),
    )


def streams_of(played: list[Played], n: int, aggregate_rtf: float, how: Listening) -> StreamsRow:
    """The row of all listeners of all rounds."""
    firsts = _firsts(played)
    underruns = sum(one.playout.underruns for one in played)
    refused = sum(one.is_refused for one in played)
    return StreamsRow(
        n=n,
        in_real_time=underruns == 0 and refused == 0,
        underruns=underruns,
        refused=refused,
        aggregate_rtf=round(aggregate_rtf, 4),
        first_chunk_ms=median_ms(firsts) if firsts else 0.0,
        first_chunk_max_ms=round(1e3 * max(firsts, default=0.0), 1),
        start_buffer_s=how.start_buffer_s,
        rounds=how.rounds,
    )


def cancels(session: Session, *, runs: int = CANCELS) -> Cancels:
    """Cancel at moments spread over an utterance: at once, in the prefill, in decoding, in the vocoder."""
    idle_ms, steps = list[float](), list[int]()
    with session.engine() as engine:
        whole = speak(engine, SENTENCE)
        whole.wait()
        for index in range(runs):
            session.runtime.take_calls()
            listener = Listener(time.monotonic())
            stream = engine.open(StreamRequest(), listener)
            engine.consumed(stream, 10**9)
            engine.say(stream, Segment(0, SENTENCE, SENTENCE))
            time.sleep(whole.total_s * _CANCEL_UNTIL * index / runs)
            engine.cancel(stream)
            cancelled_at = time.monotonic()  # before it, the two threads would race for the step that is due
            idle_ms.append(listener.wait().metrics.cancel_to_idle_ms or 0.0)
            calls = session.runtime.take_calls()
            steps.append(sum(call.kind != "decode" and call.at > cancelled_at for call in calls))
    return Cancels(
        p50=round(statistics.median(idle_ms), 2),
        max=round(max(idle_ms), 2),
        max_steps_after=max(steps),
        runs=runs,
    )


def _streams_row(engine: XttsBackend, n: int, aggregate_rtf: float, how: Listening) -> StreamsRow:
    rounds = (play(engine, [0.0] * n, SENTENCE, start_buffer_s=how.start_buffer_s) for _ in range(how.rounds))
    return streams_of([one for played in rounds for one in played], n, aggregate_rtf, how)


def _aggregate_rtf(engine: XttsBackend, n: int) -> float:
    listeners = [speak(engine, SENTENCE) for _ in range(n)]
    for listener in listeners:
        listener.wait()
    return max(listener.total_s for listener in listeners) / sum(listener.audio_s for listener in listeners)


def _firsts(played: list[Played]) -> list[float]:
    return [one.listener.first_s for one in played if one.listener.first_s is not None]


__all__ = [
    "CANCELS",
    "COMES_AFTER_S",
    "Listening",
    "cancels",
    "newcomer_of",
    "newcomer_row",
    "streams_of",
    "streams_rows",
]
