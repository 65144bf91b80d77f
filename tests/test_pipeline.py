"""What the contract suite cannot see from outside: the bridge, the buffer, the timer, the text pump."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest

from tests.fakes import PlainSegmenter, hear, joined
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.errors import (
    EngineUnavailable,
    GenerationFailed,
    InputTimeout,
    InvalidParameter,
    InvalidText,
    UnknownLanguage,
)
from xtts_rtc.pipeline import LocalSpeech, SpeechLimits
from xtts_rtc.text.segmenter import Segmenter
from xtts_rtc.types import (
    OUTPUT_HZ,
    AudioEvent,
    EndEvent,
    ErrorEvent,
    Event,
    Segment,
    StreamMetrics,
    StreamRequest,
)


class Puppet:
    """A backend whose events the test sends, from another thread as a real one does."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.num_opened = 0
        self.on_event: Callable[[Event], None] = lambda event: None

    def open(self, request: StreamRequest, on_event: Callable[[Event], None]) -> int:
        self.on_event = on_event
        self.num_opened += 1
        return 7

    def say(self, stream: int, segment: Segment) -> None:
        self.calls.append(("say", stream, segment.spoken))

    def end(self, stream: int) -> None:
        self.calls.append(("end", stream))

    def consumed(self, stream: int, samples: int) -> None:
        self.calls.append(("consumed", stream, samples))

    def cancel(self, stream: int) -> None:
        self.calls.append(("cancel", stream))
        self.send(EndEvent(StreamMetrics(), is_cancelled=True))

    def close(self) -> None:
        pass

    def send(self, *events: Event) -> None:
        sender = threading.Thread(target=lambda: [self.on_event(event) for event in events])
        sender.start()
        sender.join()

    def named(self, name: str) -> list[tuple[object, ...]]:
        return [call for call in self.calls if call[0] == name]


def audio(seconds: float, *, segment: int = 0, is_last: bool = False) -> AudioEvent:
    return AudioEvent(np.full(round(seconds * OUTPUT_HZ), 0.5, np.float32), segment, is_last)


def open_on(backend: Puppet, *, sample_rate: int = OUTPUT_HZ, **limits: float | None) -> LocalSpeech:
    segmenter: Segmenter = PlainSegmenter()  # type: ignore[assignment]
    return LocalSpeech(
        backend,
        segmenter,
        StreamRequest(),
        sample_rate=sample_rate,
        limits=SpeechLimits(**limits),  # type: ignore[arg-type]
    )


@pytest.fixture
def puppet() -> Puppet:
    return Puppet()


async def test_audio_is_acknowledged_when_it_is_read_and_not_before(puppet: Puppet) -> None:
    async with open_on(puppet) as speech:
        speech.push_text("Text. ")
        puppet.send(audio(1.0), audio(0.5))
        await asyncio.sleep(0)
        assert not puppet.named("consumed")
        await anext(aiter(speech))
        assert puppet.named("consumed") == [("consumed", 7, OUTPUT_HZ)]
        await anext(aiter(speech))
        assert sum(int(str(call[2])) for call in puppet.named("consumed")) == 1.5 * OUTPUT_HZ


async def test_audio_that_a_filter_holds_is_acknowledged_at_once(puppet: Puppet) -> None:
    async with open_on(puppet, sample_rate=48_000) as speech:
        speech.push_text("Text. ")
        puppet.send(audio(0.004))  # inside the fade and the resampler's delay: nobody can read it yet
        await asyncio.sleep(0)
        assert puppet.named("consumed") == [("consumed", 7, 96)]


async def test_a_backend_that_does_not_rest_is_stopped_at_the_bound(puppet: Puppet) -> None:
    async with open_on(puppet, max_buffer_s=2.0) as speech:
        speech.push_text("Text. ")
        puppet.send(*[audio(0.5)] * 6)
        with pytest.raises(GenerationFailed, match="2 s"):
            await hear(speech)
        assert puppet.named("cancel")


async def test_events_that_were_on_their_way_when_it_was_cancelled_are_dropped(puppet: Puppet) -> None:
    speech = open_on(puppet)
    speech.push_text("Text. ")
    puppet.send(audio(1.0))
    speech.cancel()
    puppet.send(audio(1.0))
    await speech.aclose()
    assert await hear(speech) == [] and not puppet.named("consumed")


async def test_an_error_comes_after_the_audio_before_it(puppet: Puppet) -> None:
    async with open_on(puppet) as speech:
        speech.push_text("Text. ")
        puppet.send(audio(1.0), ErrorEvent(EngineUnavailable("the engine died")))
        assert (await anext(aiter(speech))).pcm.size
        with pytest.raises(EngineUnavailable, match="died"):
            await hear(speech)
        assert not puppet.named("cancel"), "it is over already"


async def test_audio_of_a_segment_nobody_asked_for_fails_the_stream_and_hangs_nobody(
    puppet: Puppet, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_on(puppet) as speech:
        puppet.send(audio(0.1, segment=3))
        with pytest.raises(GenerationFailed, match="IndexError"):
            await hear(speech)
    assert "could not be shaped" in caplog.text


async def test_a_segmenter_that_fails_fails_its_stream(puppet: Puppet, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: PlainSegmenter, delta: str) -> list[Segment]:
        raise UnknownLanguage("install xtts-rtc[ja]")

    monkeypatch.setattr(PlainSegmenter, "push", refuse)
    async with open_on(puppet) as speech:
        speech.push_text("x")
        with pytest.raises(UnknownLanguage, match="ja"):
            await hear(speech)


async def test_a_pause_of_the_writer_releases_a_long_tail(puppet: Puppet) -> None:
    async with open_on(puppet, release_s=0.01) as speech:
        speech.push_text("A tail of more than twenty characters")
        await asyncio.sleep(0.03)
        assert [call[2] for call in puppet.named("say")] == ["A tail of more than twenty characters"]


async def test_a_pause_of_the_writer_leaves_a_short_tail_alone(puppet: Puppet) -> None:
    async with open_on(puppet, release_s=0.005) as speech:
        speech.push_text("A whole sentence that goes. I")
        await asyncio.sleep(0.02)
        assert len(puppet.named("say")) == 1


async def test_new_text_puts_the_release_off(puppet: Puppet) -> None:
    async with open_on(puppet, release_s=0.05) as speech:
        for word in "one two three four five six seven eight nine ten".split():
            speech.push_text(word + " ")
            await asyncio.sleep(0.01)
        assert not puppet.named("say")


async def test_a_long_text_is_segmented_in_turns_of_the_loop(puppet: Puppet) -> None:
    async with open_on(puppet) as speech:
        speech.push_text("Words and words. " * 1_000)
        speech.end_input()
        assert 0 < len(puppet.named("say")) < 100
        assert not puppet.named("end")
        while not puppet.named("end"):
            await asyncio.sleep(0)
        assert len(puppet.named("say")) == 1_000


async def test_cancel_drops_text_that_was_not_segmented_yet(puppet: Puppet) -> None:
    speech = open_on(puppet)
    speech.push_text("Words and words. " * 1_000)
    said = len(puppet.named("say"))
    await speech.aclose()
    await asyncio.sleep(0)
    assert len(puppet.named("say")) == said


async def test_text_after_the_end_is_refused(puppet: Puppet) -> None:
    async with open_on(puppet) as speech:
        speech.end_input()
        speech.end_input()
        with pytest.raises(InvalidText, match="end_input"):
            speech.push_text("more")
        assert puppet.named("end") == [("end", 7)]


async def test_a_rate_nobody_makes_is_refused_before_the_backend_is_asked(puppet: Puppet) -> None:
    with pytest.raises(InvalidParameter, match="11025"):
        open_on(puppet, sample_rate=11_025)
    assert puppet.num_opened == 0


async def test_a_stream_that_gets_no_text_is_ended_and_frees_its_slot(puppet: Puppet) -> None:
    speech = open_on(puppet, idle_s=0.05)
    with pytest.raises(InputTimeout, match="no text"):
        await anext(speech)
    assert puppet.named("cancel") and speech.is_idle


async def test_text_that_waits_for_its_end_does_not_keep_a_slot(puppet: Puppet) -> None:
    speech = open_on(puppet, idle_s=0.05)
    speech.push_text("Half a sent")
    with pytest.raises(InputTimeout):
        await anext(speech)


async def test_audio_that_nobody_takes_ends_its_stream(puppet: Puppet) -> None:
    speech = open_on(puppet, idle_s=0.05)
    speech.push_text("Text. ")
    speech.end_input()
    puppet.send(audio(1.0))
    async with asyncio.timeout(2):
        while not speech.is_idle:
            await asyncio.sleep(0.01)
    with pytest.raises(InputTimeout, match="nobody took"):
        await hear(speech)


async def test_a_backend_that_takes_its_time_is_nobodys_fault(puppet: Puppet) -> None:
    speech = open_on(puppet, idle_s=0.05)
    speech.push_text("Text. ")
    await asyncio.sleep(0.15)
    assert not puppet.named("cancel")
    puppet.send(audio(0.2, is_last=True))
    assert (await anext(speech)).pcm.size
    with pytest.raises(InputTimeout):  # and from here on its writer is late
        await hear(speech)


async def test_text_and_reading_keep_a_stream_open(puppet: Puppet) -> None:
    speech = open_on(puppet, idle_s=0.2)
    for _ in range(6):
        await asyncio.sleep(0.06)
        speech.push_text("More. ")
    assert not puppet.named("cancel")
    await speech.aclose()


@pytest.mark.parametrize("num_turns", range(6))
async def test_a_cancel_is_not_lost_in_the_moment_the_stream_ends(puppet: Puppet, num_turns: int) -> None:
    """With `asyncio.wait_for` of Python 3.11 it was, in one turn of the loop, and the caller went on."""
    speech = open_on(puppet)
    await speech.aclose()

    async def close_and_go_on() -> None:
        await speech.aclose()
        await asyncio.Event().wait()

    task = asyncio.create_task(close_and_go_on())
    for _ in range(num_turns):
        await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(1):
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_backend_that_never_ends_does_not_hang_the_close(
    puppet: Puppet, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(puppet, "cancel", lambda stream: None)
    speech = open_on(puppet, close_s=0.01)
    with caplog.at_level(logging.ERROR):
        await speech.aclose()
    assert "did not end it" in caplog.text


def test_a_loop_that_was_closed_cancels_the_stream() -> None:
    puppet = Puppet()

    async def leave_it() -> LocalSpeech:
        return open_on(puppet)

    speech = asyncio.run(leave_it())
    puppet.send(audio(0.1))
    assert puppet.named("cancel") and not speech.is_idle


@pytest.fixture
async def tone(no_leaked_tasks: None) -> AsyncIterator[ToneBackend]:
    backend = ToneBackend()
    yield backend
    backend.close()


@pytest.mark.parametrize(
    "text",
    [
        "Dr. Smith paid $3.50 for it. Then he left... and came back! 😀 Was that all?",
        "**Bold** text, `code`, and a list:\n- one\n- two\n\nThe end.",
        "no end of a sentence at all, and nothing that stops it",
        "  \n leading space. Trailing space. \n ",
        "😀😀😀",
    ],
)
async def test_with_the_real_segmenter_no_character_is_lost(tone: ToneBackend, text: str) -> None:
    async with LocalSpeech(tone, Segmenter("en"), StreamRequest(), sample_rate=48_000) as speech:
        for letter in text:
            speech.push_text(letter)
        speech.end_input()
        chunks = await hear(speech)
    assert "".join(chunk.text for chunk in chunks) == text
    assert joined(chunks).size > 0 and chunks[-1].is_final
