from __future__ import annotations

import timeit

import pytest

from tests.scrape import parse
from xtts_rtc.errors import EngineFull, InvalidText
from xtts_rtc.metrics import Metrics
from xtts_rtc.types import EngineStatus, StreamMetrics

READY = EngineStatus(is_ready=True, num_streams=2, max_streams=4)


def figures(metrics: Metrics) -> dict[str, float]:
    return parse(metrics.exposition(READY)[0].decode())


def test_a_step_counts_its_time_and_its_rows() -> None:
    metrics = Metrics()
    metrics.step(1, 0.005)
    metrics.step(3, 0.011)
    seen = figures(metrics)
    assert seen["xtts_step_seconds_count"] == 2
    assert seen["xtts_step_seconds_sum"] == pytest.approx(0.016)
    assert seen['xtts_step_seconds_bucket{le="0.006"}'] == 1
    assert seen["xtts_batch_rows_sum"] == 4


def test_a_value_on_a_bound_is_within_it_and_a_huge_one_only_within_infinity() -> None:
    metrics = Metrics()
    metrics.first_audio(0.1, is_realtime=True)
    metrics.first_audio(99.0, is_realtime=True)
    seen = figures(metrics)
    assert seen['xtts_first_audio_seconds_bucket{le="0.075",pace="listener"}'] == 0
    assert seen['xtts_first_audio_seconds_bucket{le="0.1",pace="listener"}'] == 1
    assert seen['xtts_first_audio_seconds_bucket{le="10.0",pace="listener"}'] == 1
    assert seen['xtts_first_audio_seconds_bucket{le="+Inf",pace="listener"}'] == 2
    assert seen['xtts_first_audio_seconds_count{pace="file"}'] == 0


def test_every_end_of_an_utterance_is_counted_once() -> None:
    metrics = Metrics()
    metrics.ended(StreamMetrics(queue_s=0.25, num_underruns=2), None, is_cancelled=False)
    metrics.ended(StreamMetrics(cancel_to_idle_ms=4.0), None, is_cancelled=True)
    metrics.ended(None, EngineFull("full"), is_cancelled=False)
    metrics.refused(InvalidText("too long"))
    seen = figures(metrics)
    outcomes = {outcome: seen[f'xtts_utterances_total{{outcome="{outcome}"}}'] for outcome in ("done", "cancelled")}
    assert outcomes == {"done": 1, "cancelled": 1} and seen['xtts_utterances_total{outcome="failed"}'] == 1
    assert seen["xtts_underruns_total"] == 2 and seen["xtts_queue_wait_seconds_sum"] == 0.25
    assert seen["xtts_cancel_to_idle_seconds_sum"] == pytest.approx(0.004)
    assert seen['xtts_errors_total{code="engine_full"}'] == seen['xtts_errors_total{code="invalid_text"}'] == 1


def test_the_gauges_are_the_engines_status() -> None:
    seen = figures(Metrics())
    assert (seen["xtts_streams"], seen["xtts_streams_max"], seen["xtts_ready"]) == (2, 4, 1)


def test_two_engines_in_one_process_do_not_mix() -> None:
    first, second = Metrics(), Metrics()
    first.audio(1.5)
    assert figures(first)["xtts_audio_seconds_total"] == 1.5
    assert figures(second)["xtts_audio_seconds_total"] == 0


def test_a_scraper_gets_the_format_it_asks_for() -> None:
    text, content_type = Metrics().exposition(READY, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text") and text.endswith(b"# EOF\n")
    assert Metrics().exposition(READY)[1].startswith("text/plain")


def test_counting_a_step_costs_nothing_to_speak_of() -> None:
    metrics = Metrics()
    seconds = min(timeit.repeat(lambda: metrics.step(4, 0.005), number=1000, repeat=5)) / 1000
    assert seconds < 50e-6  # 0.7 us measured; a step takes 4,000
