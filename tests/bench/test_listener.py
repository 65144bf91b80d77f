"""Listeners at the speed of sound, on a clock of their own."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest

from tests.engine.fake_runtime import LONG, FakeFrontend, FakeRuntime, FakeVoices
from xtts_rtc.bench.listener import FRAME_SAMPLES, Listener, Playout, play, speak
from xtts_rtc.engine.worker import XttsBackend
from xtts_rtc.errors import EngineFull, GenerationFailed
from xtts_rtc.types import OUTPUT_HZ, AudioEvent, EndEvent, ErrorEvent, Event, Segment, StreamMetrics, StreamRequest

FAST = 25
"""How much faster than the world the tests' clock runs."""


def fast() -> float:
    return time.monotonic() * FAST


def heard(*chunks: tuple[float, int], completed_s: float | None = None) -> Listener:
    listener = Listener(0.0)
    for at, frames in chunks:
        listener.hear(at, frames * FRAME_SAMPLES)
    listener.completed_s = completed_s
    return listener


def test_playing_starts_a_buffer_after_the_first_chunk_and_takes_a_frame_every_20_ms() -> None:
    listener, playout = heard((1.0, 50)), Playout(0.4)
    assert playout.advance(1.39, listener) == 0
    assert playout.advance(1.41, listener) == FRAME_SAMPLES
    assert playout.advance(1.61, listener) == 10 * FRAME_SAMPLES


def test_a_frame_that_is_not_there_when_due_is_an_underrun_and_playing_goes_on() -> None:
    listener, playout = heard((0.0, 5), (0.145, 5), completed_s=0.145), Playout(0.0)
    taken = playout.advance(1.0, listener)
    assert playout.underruns == 3  # due at 0.10, 0.12 and 0.14
    assert taken == 10 * FRAME_SAMPLES and playout.is_over


def test_a_late_look_at_the_clock_judges_as_an_early_one() -> None:
    chunks = ((0.0, 5), (0.111, 5), (0.4, 3))
    late, early = Playout(0.05), Playout(0.05)
    late.advance(0.9, heard(*chunks, completed_s=0.4))
    for tick in range(90):
        early.advance(tick / 100, heard(*chunks, completed_s=0.4))
    assert (late.underruns, late.num_taken) == (early.underruns, early.num_taken)
    assert late.underruns > 0


def test_the_buffer_hides_what_would_be_an_underrun() -> None:
    chunks = ((0.0, 10), (0.35, 10))
    bare, buffered = Playout(0.0), Playout(0.2)
    for playout in (bare, buffered):
        playout.advance(9.0, heard(*chunks, completed_s=0.35))
    assert (bare.underruns > 0, buffered.underruns) == (True, 0)


def test_the_end_is_a_part_of_a_frame_and_no_underrun() -> None:
    listener, playout = Listener(0.0), Playout(0.1)
    listener.hear(0.0, FRAME_SAMPLES + 100)
    listener.completed_s = 0.01
    assert playout.advance(5.0, listener) == FRAME_SAMPLES + 100
    assert playout.is_over and playout.underruns == 0


def test_an_error_ends_the_playout() -> None:
    listener, playout = Listener(0.0), Playout(0.1)
    listener(ErrorEvent(EngineFull("full")))
    playout.advance(1.0, listener)
    assert playout.is_over


def test_gap_is_the_longest_wait_without_a_buffer() -> None:
    assert heard((0.5, 10), (0.7, 10), (0.85, 1)).gap_s() == pytest.approx(0.0)
    assert heard((0.5, 10), (0.8, 10), (1.3, 1)).gap_s() == pytest.approx(0.3)


def test_the_backend_is_told_what_was_played_and_all_of_it_is_heard() -> None:
    backend = XttsBackend(FakeRuntime(), FakeFrontend(), FakeVoices(), clock=fast)  # type: ignore[arg-type]
    told: list[int] = []
    consumed = backend.consumed
    backend.consumed = lambda stream, samples: (told.append(samples), consumed(stream, samples))[1]  # type: ignore[method-assign]
    try:
        played = play(backend, [0.0, 0.5], LONG, start_buffer_s=0.3, clock=fast)
    finally:
        backend.close()
    assert played[1].listener.opened_at - played[0].listener.opened_at >= 0.5
    made = sum(samples for one in played for _, samples in one.listener.chunks)
    assert sum(told) == sum(one.playout.num_taken for one in played) == made > OUTPUT_HZ
    assert max(told) < OUTPUT_HZ  # by the clock, not all at once


class Scripted:
    """A backend whose streams get the events of their turn, all when their text has ended."""

    def __init__(self, *turns: list[Event]) -> None:
        self._turns = list(turns)
        self._listeners: list[Callable[[Event], None]] = []

    def open(self, request: StreamRequest, on_event: Callable[[Event], None]) -> int:
        self._listeners.append(on_event)
        return len(self._listeners) - 1

    def say(self, stream: int, segment: Segment) -> None:
        pass

    def end(self, stream: int) -> None:
        for event in self._turns[stream]:
            self._listeners[stream](event)

    def consumed(self, stream: int, samples: int) -> None:
        pass


AUDIO = AudioEvent(np.zeros(9 * FRAME_SAMPLES, np.float32), 0, is_segment_end=False)
LAST = AudioEvent(np.zeros(9, np.float32), 0, is_segment_end=True)
END = EndEvent(StreamMetrics(), is_cancelled=False)


def test_a_refused_listener_is_reported() -> None:
    backend = Scripted([AUDIO, LAST, END], [ErrorEvent(EngineFull("full"))])
    spoken, refused = play(backend, [0.0, 0.1], LONG, start_buffer_s=0.1, clock=fast)  # type: ignore[arg-type]
    assert (spoken.is_refused, refused.is_refused) == (False, True)
    assert (spoken.playout.underruns, refused.playout.underruns) == (0, 0)


def test_a_stream_that_fails_after_it_began_to_speak_raises() -> None:
    backend = Scripted([AUDIO, ErrorEvent(GenerationFailed("broken"))])
    with pytest.raises(GenerationFailed, match="broken"):
        play(backend, [0.0], LONG, start_buffer_s=0.1, clock=fast)  # type: ignore[arg-type]


def test_a_listener_who_takes_everything_hears_the_whole_utterance() -> None:
    backend = XttsBackend(FakeRuntime(length=60), FakeFrontend(), FakeVoices())  # type: ignore[arg-type]
    try:
        listener = speak(backend, LONG)
        assert listener.wait().metrics.num_tokens == 60
    finally:
        backend.close()
    assert listener.audio_s == pytest.approx(60 * 1024 / 22_050, rel=0.02)
    assert listener.completed_s is not None and listener.total_s <= listener.completed_s
