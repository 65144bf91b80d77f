"""What is said of streams in real time follows from what their listeners heard."""

from __future__ import annotations

from tests.bench.bench_session import fake_session
from xtts_rtc.bench.listener import Listener, Played, Playout
from xtts_rtc.bench.realtime import Listening, cancels, newcomer_of, streams_of
from xtts_rtc.errors import EngineFull


def played(first_s: float | None, underruns: int = 0) -> Played:
    listener = Listener(0.0)
    if first_s is None:
        listener.error = EngineFull("full")
    else:
        listener.hear(first_s, 24_000)
    return Played(listener, Playout(0.4, underruns=underruns))


def test_a_machine_holds_streams_only_without_underruns_and_refusals() -> None:
    how = Listening(rounds=1)
    assert streams_of([played(0.2), played(0.4)], 2, 0.5, how).in_real_time
    late = streams_of([played(0.2), played(0.4, underruns=3)], 2, 0.5, how)
    assert (late.in_real_time, late.underruns, late.first_chunk_ms, late.first_chunk_max_ms) == (False, 3, 300.0, 400.0)
    refused = streams_of([played(0.2), played(None)], 2, 0.5, how)
    assert (refused.in_real_time, refused.refused, refused.first_chunk_ms) == (False, 1, 200.0)


def test_a_newcomer_is_measured_against_its_time_alone() -> None:
    rounds = [[played(0.2), played(0.2, underruns=1), played(0.3)], [played(0.2), played(0.2), played(0.5)]]
    row = newcomer_of(2, [played(0.2), played(0.2)], rounds)
    assert (row.first_chunk_ms, row.alone_ms, row.ratio) == (400.0, 200.0, 2.0)
    assert (row.underruns_of_others, row.underruns, row.refused) == (1, 0, 0)


def test_a_newcomer_that_is_refused_has_no_first_chunk() -> None:
    row = newcomer_of(2, [played(0.2)], [[played(0.2), played(0.2), played(None)]])
    assert (row.first_chunk_ms, row.ratio, row.refused) == (None, None, 1)


def test_cancels_are_spread_over_an_utterance_and_count_the_steps_after() -> None:
    found = cancels(fake_session(), runs=6)
    print(found)
    assert found.runs == 6
    assert found.max_steps_after <= 1
    assert 0 <= found.p50 <= found.max
