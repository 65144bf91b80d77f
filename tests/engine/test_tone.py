from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.errors import EngineFull, EngineUnavailable, GenerationFailed, UnknownLanguage, VoiceNotFound
from xtts_rtc.types import OUTPUT_HZ, AudioEvent, EndEvent, ErrorEvent, Event, Segment, StreamRequest


class Listener:
    """Collects a stream's events and can wait for its end."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.audio = threading.Event()
        self.over = threading.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        (self.audio if isinstance(event, AudioEvent) else self.over).set()

    @property
    def num_samples(self) -> int:
        return sum(event.pcm.size for event in self.events if isinstance(event, AudioEvent))

    def wait(self) -> Event:
        assert self.over.wait(5)
        return self.events[-1]


@pytest.fixture
def tone() -> Iterator[ToneBackend]:
    backend = ToneBackend()
    yield backend
    backend.close()


SENTENCE = Segment(0, "Thirty characters of any text. ", "Thirty characters of any text.")


def test_the_length_of_the_beep_is_the_length_of_the_text(tone: ToneBackend) -> None:
    listener = Listener()
    stream = tone.open(StreamRequest(), listener)
    tone.say(stream, SENTENCE)
    tone.end(stream)
    last = listener.wait()
    assert isinstance(last, EndEvent) and not last.is_cancelled
    assert listener.num_samples == 2 * OUTPUT_HZ
    assert last.metrics.audio_s == 2.0 and last.metrics.num_segments == 1


def test_a_stream_rests_while_its_audio_is_unread() -> None:
    tone = ToneBackend(max_unread_s=0.5, step_audio_s=0.1)
    listener = Listener()
    stream = tone.open(StreamRequest(), listener)
    tone.say(stream, SENTENCE)
    tone.end(stream)
    assert not listener.over.wait(0.1)
    assert listener.num_samples == OUTPUT_HZ // 2
    tone.consumed(stream, 2 * OUTPUT_HZ)
    assert isinstance(listener.wait(), EndEvent)
    tone.close()


def test_a_real_time_stream_keeps_its_lead_over_the_clock() -> None:
    now = [0.0]
    tone = ToneBackend(max_ahead_s=0.3, step_audio_s=0.1, clock=lambda: now[0])
    live, file = Listener(), Listener()
    tone.say(tone.open(StreamRequest(), live), SENTENCE)
    fast = tone.open(StreamRequest(is_realtime=False), file)
    tone.say(fast, SENTENCE)
    tone.end(fast)
    file.wait()
    assert file.num_samples == 2 * OUTPUT_HZ
    assert live.num_samples <= 0.4 * OUTPUT_HZ
    tone.close()


def test_cancel_is_followed_by_at_most_one_step() -> None:
    tone = ToneBackend(step_s=0.005)
    listener = Listener()
    stream = tone.open(StreamRequest(), listener)
    tone.say(stream, SENTENCE)
    assert listener.audio.wait(5)
    tone.cancel(stream)
    tone.cancel(stream)
    last = listener.wait()
    assert isinstance(last, EndEvent) and last.is_cancelled
    assert last.metrics.cancel_to_idle_ms is not None
    assert tone.max_steps_after_cancel <= 1 and tone.num_streams == 0
    tone.close()


def test_beyond_its_streams_it_is_full_and_a_free_place_is_taken() -> None:
    full = ToneBackend(max_streams=1)
    first, second = Listener(), Listener()
    full.open(StreamRequest(), first)
    full.open(StreamRequest(), second)
    last = second.wait()
    assert isinstance(last, ErrorEvent) and isinstance(last.error, EngineFull)
    full.close()

    patient = ToneBackend(max_streams=1, max_queue_s=60)
    third, fourth = Listener(), Listener()
    running = patient.open(StreamRequest(), third)
    waiting = patient.open(StreamRequest(), fourth)
    patient.end(waiting)
    patient.cancel(running)
    assert isinstance(fourth.wait(), EndEvent)
    patient.close()


def test_a_dead_backend_fails_every_stream_and_opens_none(tone: ToneBackend) -> None:
    listeners = [Listener(), Listener()]
    for listener in listeners:
        tone.open(StreamRequest(), listener)
    tone.die()
    for listener in listeners:
        last = listener.wait()
        assert isinstance(last, ErrorEvent) and isinstance(last.error, EngineUnavailable)
    with pytest.raises(EngineUnavailable):
        tone.open(StreamRequest(), Listener())


def test_one_stream_may_fail_alone(tone: ToneBackend) -> None:
    tone.fail_next(GenerationFailed("no sound"), after_steps=2)
    failing, fine = Listener(), Listener()
    for listener in (failing, fine):
        stream = tone.open(StreamRequest(), listener)
        tone.say(stream, SENTENCE)
        tone.end(stream)
    assert isinstance(failing.wait(), ErrorEvent) and len(failing.events) == 3
    assert isinstance(fine.wait(), EndEvent)


def test_what_it_does_not_have_is_refused_before_any_work(tone: ToneBackend) -> None:
    with pytest.raises(VoiceNotFound, match="Speaker 'nobody' not found"):
        tone.open(StreamRequest(voice="nobody"), Listener())
    with pytest.raises(UnknownLanguage):
        tone.open(StreamRequest(language="xx"), Listener())
    assert tone.num_streams == 0
