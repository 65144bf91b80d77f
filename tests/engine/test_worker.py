"""The engine's promises, on a model that costs nothing."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from tests.engine.fake_runtime import FakeFrontend, FakeRuntime, FakeVoices, Listener, file_request, segment
from xtts_rtc.engine.worker import XttsBackend
from xtts_rtc.errors import EngineFull, EngineUnavailable, GenerationFailed, UnknownLanguage, VoiceNotFound
from xtts_rtc.types import AudioEvent, EndEvent, ErrorEvent, Segment, StreamRequest

WAIT_S = 10


def start(runtime: FakeRuntime, **options: float) -> XttsBackend:
    return XttsBackend(runtime, FakeFrontend(), FakeVoices(), **options)  # type: ignore[arg-type]


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def engine(runtime: FakeRuntime) -> Iterator[XttsBackend]:
    backend = start(runtime)
    yield backend
    backend.close()
    assert "xtts-engine" not in {thread.name for thread in threading.enumerate()}


def speak(engine: XttsBackend, text: str = "", seed: int = 0) -> Listener:
    listener = Listener()
    stream = engine.open(file_request(seed), listener)
    engine.say(stream, segment(0, text) if text else segment())
    engine.end(stream)
    engine.consumed(stream, 10**9)
    return listener


def settle(engine: XttsBackend) -> None:
    """Return when the engine thread has done everything that was asked before."""
    done = threading.Event()
    engine.run_on_engine(done.set)
    assert done.wait(WAIT_S)


def test_a_stream_says_all_its_segments_in_order_and_ends(engine: XttsBackend) -> None:
    listener = Listener()
    stream = engine.open(file_request(), listener)
    for index in range(3):
        engine.say(stream, segment(index))
    engine.end(stream)
    engine.consumed(stream, 10**9)
    assert listener.is_over.wait(WAIT_S)
    audio = [e for e in listener.events if isinstance(e, AudioEvent)]
    assert [e.segment for e in audio] == sorted(e.segment for e in audio)
    assert [e.segment for e in audio if e.is_segment_end] == [0, 1, 2]
    end = listener.events[-1]
    assert isinstance(end, EndEvent) and not end.is_cancelled
    assert end.metrics.num_segments == 3 and end.metrics.num_tokens == 180
    assert listener.pcm.size == 3 * int(int(60 * 4) * 24000 / 22050) * 256


def test_a_stream_does_not_depend_on_who_shares_the_batch(engine: XttsBackend) -> None:
    alone = []
    for seed in range(4):
        listener = speak(engine, seed=seed)
        assert listener.is_over.wait(WAIT_S)
        alone.append(listener.pcm)
    together = [speak(engine, seed=seed) for seed in range(4)]
    for listener, expected in zip(together, alone, strict=True):
        assert listener.is_over.wait(WAIT_S)
        np.testing.assert_array_equal(listener.pcm, expected)
    assert not np.array_equal(alone[0], alone[1])


def test_a_segment_that_says_nothing_ends_without_work(engine: XttsBackend, runtime: FakeRuntime) -> None:
    listener = Listener()
    stream = engine.open(file_request(), listener)
    engine.say(stream, Segment(0, "...", ""))
    engine.end(stream)
    assert listener.is_over.wait(WAIT_S)
    (audio,) = [e for e in listener.events if isinstance(e, AudioEvent)]
    assert audio.is_segment_end and audio.pcm.size == 0
    assert engine.stats().num_prefills == 0


@pytest.mark.parametrize("moment", ["prefill", "step", "decode"])
def test_cancel_inside_a_call_stops_after_it(engine: XttsBackend, runtime: FakeRuntime, moment: str) -> None:
    settle(engine)
    listener = Listener()
    after: list[str] = []
    cancelled = threading.Event()

    def hook(what: str, slots: list[int]) -> None:
        if cancelled.is_set():
            after.append(what)
        elif what == moment:
            cancelled.set()
            engine.cancel(stream)

    runtime.hook = hook
    stream = engine.open(file_request(), listener)
    engine.say(stream, segment())
    assert listener.is_over.wait(WAIT_S)
    assert cancelled.is_set()
    assert after == []  # the call that was running ends, no other begins
    assert len(runtime.interrupted) == 1  # and a prefill need not come to its end
    end = listener.events[-1]
    assert isinstance(end, EndEvent) and end.is_cancelled
    assert end.metrics.cancel_to_idle_ms is not None
    assert not any(isinstance(e, AudioEvent) for e in listener.events)
    assert runtime.rows == {} and engine.stats().num_active == 0


def test_cancel_before_the_text_and_while_resting_frees_the_slot(engine: XttsBackend, runtime: FakeRuntime) -> None:
    waiting = Listener()
    engine.cancel(engine.open(file_request(), waiting))
    assert waiting.is_over.wait(WAIT_S)
    resting = Listener()
    stream = engine.open(file_request(), resting)  # nobody reads: it rests after max_ahead_s
    for index in range(4):
        engine.say(stream, segment(index))
    assert resting.got_audio.wait(WAIT_S)
    steps = -1
    while steps != engine.stats().num_steps:
        steps = engine.stats().num_steps
        for _ in range(
            4
        ):  # it may be anywhere in its round; after four of them a stream that does not rest has stepped
            settle(engine)
    engine.cancel(stream)
    assert resting.is_over.wait(WAIT_S)
    assert engine.stats().num_steps == steps
    assert runtime.rows == {}


def test_a_thousand_streams_with_random_cancels_leave_nothing(engine: XttsBackend, runtime: FakeRuntime) -> None:
    runtime.length = 12
    dice = random.Random(1)
    threads = threading.active_count()
    listeners = []
    for number in range(1000):
        listener = Listener()
        while True:
            try:
                stream = engine.open(file_request(number), listener)
                break
            except EngineFull:
                settle(engine)
        engine.say(stream, segment())
        engine.consumed(stream, 10**9)
        engine.end(stream)
        if dice.random() < 0.5:
            engine.cancel(stream)
        listeners.append(listener)
    for listener in listeners:
        assert listener.is_over.wait(WAIT_S)
        assert sum(not isinstance(e, AudioEvent) for e in listener.events) == 1
    settle(engine)
    stats = engine.stats()
    assert (stats.num_active, stats.num_waiting) == (0, 0)
    assert runtime.rows == {} and engine._streams == {}
    assert threading.active_count() == threads
    assert speak(engine).is_over.wait(WAIT_S)


def test_nan_ends_that_stream_alone(engine: XttsBackend, runtime: FakeRuntime) -> None:
    healthy = speak(engine, seed=5)
    assert healthy.is_over.wait(WAIT_S)
    bad, good = Listener(), Listener()
    streams = [engine.open(file_request(5), listener) for listener in (bad, good)]
    settle(engine)
    runtime.nan_slots = {engine._streams[streams[0]].slot or 0}
    for stream in streams:
        engine.say(stream, segment())
        engine.end(stream)
        engine.consumed(stream, 10**9)
    assert bad.is_over.wait(WAIT_S) and good.is_over.wait(WAIT_S)
    failure = bad.events[-1]
    assert isinstance(failure, ErrorEvent) and isinstance(failure.error, GenerationFailed)
    assert "NaN" in failure.error.message
    np.testing.assert_array_equal(good.pcm, healthy.pcm)


def test_a_step_that_raises_ends_only_the_row_to_blame(engine: XttsBackend, runtime: FakeRuntime) -> None:
    bad, good = Listener(), Listener()
    streams = [engine.open(file_request(5), listener) for listener in (bad, good)]
    settle(engine)
    blamed = engine._streams[streams[0]].slot

    def hook(what: str, slots: list[int]) -> None:
        if what == "step" and blamed in slots:
            raise RuntimeError("DefaultCPUAllocator: not enough memory")

    runtime.hook = hook
    for stream in streams:
        engine.say(stream, segment())
        engine.end(stream)
        engine.consumed(stream, 10**9)
    assert bad.is_over.wait(WAIT_S) and good.is_over.wait(WAIT_S)
    failure = bad.events[-1]
    assert isinstance(failure, ErrorEvent) and "out of memory" in failure.error.message
    assert isinstance(good.events[-1], EndEvent) and good.pcm.size > 0


def test_a_dead_engine_fails_all_streams_and_refuses_new_ones(engine: XttsBackend) -> None:
    listeners = [Listener() for _ in range(6)]
    for listener in listeners:
        engine.open(file_request(), listener)

    def die() -> None:
        raise ZeroDivisionError

    engine.run_on_engine(die)
    for listener in listeners:
        assert listener.is_over.wait(WAIT_S)
        failure = listener.events[-1]
        assert isinstance(failure, ErrorEvent) and isinstance(failure.error, EngineUnavailable)
        assert failure.error.retryable
    assert not engine.is_ready
    with pytest.raises(EngineUnavailable, match="ZeroDivisionError"):
        engine.open(file_request(), Listener())


def test_a_full_engine_makes_a_stream_wait_and_then_says_so() -> None:
    engine = start(FakeRuntime(num_slots=1), max_queue_s=0.05)
    first, second = Listener(), Listener()
    holder = engine.open(file_request(), first)
    engine.open(file_request(), second)
    assert second.is_over.wait(WAIT_S)
    failure = second.events[-1]
    assert isinstance(failure, ErrorEvent) and isinstance(failure.error, EngineFull)
    assert not first.is_over.is_set()
    third = Listener()
    engine.open(file_request(), third)
    engine.cancel(holder)
    assert first.is_over.wait(WAIT_S)
    settle(engine)
    assert engine.stats().num_active == 1
    engine.close()


def test_a_waiting_line_that_is_full_is_refused_at_once() -> None:
    engine = start(FakeRuntime(num_slots=1), max_waiting=1)
    for _ in range(2):
        engine.open(file_request(), Listener())
    with pytest.raises(EngineFull):
        engine.open(file_request(), Listener())
    engine.close()


def test_unknown_voice_and_language_are_refused_before_any_work(engine: XttsBackend) -> None:
    with pytest.raises(VoiceNotFound):
        engine.open(file_request(voice="nobody"), Listener())
    with pytest.raises(UnknownLanguage, match="en, de"):
        engine.open(file_request(language="xx"), Listener())
    assert engine._streams == {}


def test_a_stream_ahead_of_the_clock_rests_until_its_audio_was_heard() -> None:
    now = [0.0]
    engine = start(FakeRuntime(length=590), clock=lambda: now[0], max_ahead_s=3.0)
    settle(engine)
    listener = Listener()
    stream = engine.open(StreamRequest(), listener)
    engine.consumed(stream, 10**9)
    text = "word " * 70
    engine.say(stream, Segment(0, text, text))
    produced = [quiet_audio_s(engine, listener)]
    assert 3.0 < produced[0] < 6.0
    now[0] = 5.0
    engine.run_on_engine(lambda: None)
    produced.append(quiet_audio_s(engine, listener))
    assert produced[0] + 2 < produced[1] < produced[0] + 8
    engine.close()


def quiet_audio_s(engine: XttsBackend, listener: Listener) -> float:
    """Audio seconds once the engine has nothing more to do."""
    last = -1
    while last != engine.stats().num_steps + engine.stats().num_vocoder_frames:
        last = engine.stats().num_steps + engine.stats().num_vocoder_frames
        for _ in range(50):
            settle(engine)
    return listener.pcm.size / 24_000


def test_a_reader_that_is_gone_frees_the_slot(engine: XttsBackend, runtime: FakeRuntime) -> None:
    called = threading.Event()

    def gone(event: object) -> None:
        called.set()
        raise RuntimeError("Event loop is closed")

    stream = engine.open(file_request(), gone)
    engine.say(stream, segment())
    assert called.wait(WAIT_S)
    for _ in range(20):
        settle(engine)
    assert runtime.rows == {} and engine.stats().num_active == 0


def test_close_fails_what_still_runs(runtime: FakeRuntime) -> None:
    engine = start(runtime)
    listener = Listener()
    engine.open(file_request(), listener)
    engine.close()
    engine.close()
    assert isinstance(listener.events[-1], ErrorEvent)
    assert runtime.rows == {}


def test_an_idle_engine_warms_up_and_a_stream_comes_first(runtime: FakeRuntime) -> None:
    left = ["long", "short"]
    runtime.warm = lambda: (left.pop(), bool(left))[1]  # type: ignore[method-assign]
    engine = start(runtime)
    engine.wait_until_warm()
    assert left == []
    assert speak(engine).is_over.wait(WAIT_S)
    engine.close()
    engine.wait_until_warm()  # an engine that ended does not keep anybody waiting


def test_a_stream_that_waited_while_the_engine_started_is_not_refused() -> None:
    runtime = FakeRuntime()
    starting, opened = threading.Event(), threading.Event()

    def hook(what: str, slots: list[int]) -> None:
        starting.set()
        assert opened.wait(WAIT_S)

    runtime.hook = hook
    engine = start(runtime, max_queue_s=0.0)
    assert starting.wait(WAIT_S)
    listener = speak(engine)
    opened.set()
    assert listener.is_over.wait(WAIT_S)
    assert isinstance(listener.events[-1], EndEvent)  # was EngineFull: it had "waited" through the warm-up
    engine.close()
