"""One suite for every maker of `Speech`: in this process, and on a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from tests.fakes import hear, joined, loudest_hz, serving, tone_engine
from xtts_rtc.api import Engine
from xtts_rtc.engine.tone import ToneBackend, pitch_hz
from xtts_rtc.errors import (
    EngineFull,
    EngineUnavailable,
    GenerationFailed,
    InvalidParameter,
    InvalidText,
    UnknownLanguage,
    VoiceNotFound,
    XttsRtcError,
)
from xtts_rtc.types import MAX_UTTERANCE_CHARS, Speech

TEXT = "The first sentence is here. A second one follows it! And a third?"
MAKERS = ["local", pytest.param("remote", marks=pytest.mark.net)]


class Bench:
    """An engine of one kind, and the backend that all kinds have in the end."""

    def __init__(self, engine: Engine, tone: ToneBackend) -> None:
        self.engine = engine
        self.tone = tone

    def say(self, text: str = TEXT, **options: object) -> Speech:
        speech = self.engine.open(**options)  # type: ignore[arg-type]
        speech.push_text(text)
        speech.end_input()
        return speech

    async def until_idle(self) -> None:
        async with asyncio.timeout(5):
            while self.tone.num_streams:
                await asyncio.sleep(0.001)

    async def until_resting(self) -> None:
        steps = -1
        while steps != self.tone.num_steps:
            steps = self.tone.num_steps
            await asyncio.sleep(0.03)


@pytest.fixture
def tone() -> ToneBackend:
    return ToneBackend(max_unread_s=1.0, max_streams=8)


@pytest.fixture(params=MAKERS)
async def bench(request: pytest.FixtureRequest, no_leaked_tasks: None, tone: ToneBackend) -> AsyncIterator[Bench]:
    local = tone_engine(tone)
    async with local:
        if request.param == "local":
            yield Bench(local, tone)
            return
        async with serving(local) as port, Engine.connect(f"http://127.0.0.1:{port}") as remote:
            yield Bench(remote, tone)


async def test_text_and_audio_come_out_whole_and_in_order(bench: Bench) -> None:
    async with bench.say() as speech:
        chunks = await hear(speech)
    assert "".join(chunk.text for chunk in chunks) == TEXT
    assert [chunk.segment for chunk in chunks] == sorted(chunk.segment for chunk in chunks)
    assert [chunk.is_final for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert {chunk.sample_rate for chunk in chunks} == {24_000}
    assert all(chunk.pcm.dtype == np.float32 for chunk in chunks)
    assert speech.metrics is not None and speech.metrics.num_segments == 3
    assert joined(chunks).size == round(speech.metrics.audio_s * 24_000)


async def test_text_comes_with_the_first_chunk_of_its_segment(bench: Bench) -> None:
    async with bench.say() as speech:
        chunks = await hear(speech)
    for index in range(3):
        texts = [chunk.text for chunk in chunks if chunk.segment == index]
        assert texts[0] and not any(texts[1:])


async def test_how_the_text_was_cut_does_not_matter(bench: Bench) -> None:
    async with bench.say() as whole:
        expected = joined(await hear(whole)).size
    async with bench.engine.open() as speech:
        for letter in TEXT:
            speech.push_text(letter)
        speech.end_input()
        chunks = await hear(speech)
    assert joined(chunks).size == expected
    assert "".join(chunk.text for chunk in chunks) == TEXT


async def test_audio_comes_before_the_text_has_ended(bench: Bench) -> None:
    async with bench.engine.open() as speech:
        speech.push_text("One sentence is done. The other")
        chunk = await anext(aiter(speech))
        assert chunk.pcm.size and chunk.text == "One sentence is done. "


async def test_flush_speaks_without_ending_the_input(bench: Bench) -> None:
    async with bench.engine.open() as speech:
        speech.push_text("no end of a sentence")
        speech.flush()
        chunk = await anext(aiter(speech))
        assert chunk.text == "no end of a sentence"
        speech.push_text(", and more")
        speech.end_input()
        rest = await hear(speech)
    assert rest[-1].is_final and ", and more" in [chunk.text for chunk in rest]


@pytest.mark.parametrize("sample_rate", [8_000, 16_000, 24_000, 48_000])
async def test_every_rate_has_the_same_length_in_seconds(bench: Bench, sample_rate: int) -> None:
    async with bench.say(sample_rate=sample_rate) as speech:
        chunks = await hear(speech)
    assert speech.metrics is not None
    assert joined(chunks).size / sample_rate == pytest.approx(speech.metrics.audio_s, abs=0.001)
    assert {chunk.sample_rate for chunk in chunks} == {sample_rate}


async def test_the_joined_audio_has_no_click(bench: Bench) -> None:
    async with bench.say(sample_rate=48_000) as speech:
        pcm = joined(await hear(speech))
    steepest = 2 * np.pi * pitch_hz(1) / 48_000 * 0.25
    assert np.abs(np.diff(pcm)).max() < 1.2 * steepest
    assert abs(pcm[0]) < 0.01 and abs(pcm[-1]) < 0.01


async def test_two_at_once_do_not_mix(bench: Bench) -> None:
    async with bench.say() as one, bench.say() as two:
        both = await asyncio.gather(hear(one), hear(two))
    heard = [loudest_hz(joined(chunks), 24_000) for chunks in both]
    assert heard == pytest.approx([pitch_hz(1), pitch_hz(2)], abs=2.0)


async def test_no_chunk_is_handed_out_after_cancel(bench: Bench) -> None:
    async with bench.say(TEXT * 20) as speech:
        assert (await anext(aiter(speech))).pcm.size
        speech.cancel()
        assert await hear(speech) == []
        speech.push_text("ignored")
        speech.cancel()
        await speech.aclose()
        assert bench.tone.num_streams == 0
        assert bench.tone.max_steps_after_cancel <= 1
    assert speech.metrics is not None and speech.metrics.cancel_to_idle_ms is not None


async def test_a_reader_that_waits_is_released_by_cancel(bench: Bench) -> None:
    async with bench.engine.open() as speech:
        reader = asyncio.create_task(hear(speech))
        await asyncio.sleep(0)
        speech.cancel()
        assert await reader == []


async def test_leaving_the_block_stops_the_work(bench: Bench) -> None:
    async with bench.say(TEXT * 20) as speech:
        await anext(aiter(speech))
    assert bench.tone.num_streams == 0
    await speech.aclose()


async def test_the_next_utterance_has_nothing_of_the_cancelled_one(bench: Bench) -> None:
    for turn in range(1, 6):
        async with bench.say(TEXT * 20) as old:
            await anext(aiter(old))
        async with bench.say() as new:
            pcm = joined(await hear(new))
        assert loudest_hz(pcm, 24_000) == pytest.approx(pitch_hz(2 * turn), abs=2.0)
        assert pcm.size == round((new.metrics.audio_s if new.metrics else 0) * 24_000)


async def test_cancel_before_anything_was_said(bench: Bench) -> None:
    speech = bench.engine.open()
    speech.cancel()
    await speech.aclose()
    await bench.until_idle()
    assert await hear(speech) == []


async def test_a_slow_reader_rests_its_own_stream_only(bench: Bench) -> None:
    async with bench.say(TEXT * 40, realtime=False) as slow:
        await anext(aiter(slow))
        await bench.until_resting()
        steps = bench.tone.num_steps
        assert steps < 40 * 44 / 4
        async with bench.say() as quick:
            assert (await hear(quick))[-1].is_final
        assert bench.tone.num_steps - steps <= 47  # 4.3 s of beep in steps of 0.1 s: all of it the quick one's
        assert (await hear(slow))[-1].is_final


@pytest.mark.parametrize("text", ["...", "😀", "?!", " - ", "…\n"])
async def test_what_cannot_be_spoken_is_a_short_silence(bench: Bench, text: str) -> None:
    async with bench.say(text, sample_rate=48_000) as speech:
        chunks = await hear(speech)
    pcm = joined(chunks)
    assert 0.05 < pcm.size / 48_000 < 0.5 and not pcm.any()
    assert "".join(chunk.text for chunk in chunks) == text


async def test_a_silent_piece_in_the_middle_keeps_its_place(bench: Bench) -> None:
    text = "Before it. ... After it."
    async with bench.say(text) as speech:
        chunks = await hear(speech)
    assert "".join(chunk.text for chunk in chunks) == text
    silent = [chunk for chunk in chunks if chunk.segment == 1]
    assert sum(chunk.pcm.size for chunk in silent) == 4_800


@pytest.mark.parametrize("text", ["", "   \n"])
async def test_no_text_ends_without_an_error(bench: Bench, text: str) -> None:
    async with bench.say(text) as speech:
        chunks = await hear(speech)
    assert chunks[-1].is_final and not joined(chunks).any()


async def test_text_over_the_limit_is_refused_with_the_limit(bench: Bench) -> None:
    async with bench.engine.open() as speech:
        with pytest.raises(InvalidText, match="100,000"):
            speech.push_text("x" * 2**20)
        speech.push_text("Still fine.")
        speech.end_input()
        assert "".join(chunk.text for chunk in await hear(speech)) == "Still fine."


async def test_the_longest_text_allowed_is_taken_and_begun_at_once(bench: Bench) -> None:
    text = ("Word after word. " * 6_000)[:MAX_UTTERANCE_CHARS]
    async with bench.engine.open() as speech:
        speech.push_text(text)
        speech.end_input()
        chunk = await anext(aiter(speech))
        assert chunk.text == "Word after word. "


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"voice": "nobody"}, VoiceNotFound),
        ({"voice": "../../etc/passwd"}, XttsRtcError),
        ({"language": "xx"}, UnknownLanguage),
        ({"sample_rate": 12_345}, InvalidParameter),
    ],
)
async def test_a_bad_request_is_one_clear_error(
    bench: Bench, options: dict[str, object], kind: type[XttsRtcError]
) -> None:
    with pytest.raises(kind) as caught:
        async with bench.say(**options) as speech:
            await hear(speech)
    assert isinstance(caught.value, kind) and len(caught.value.message) > 10
    async with bench.say() as speech:
        assert (await hear(speech))[-1].is_final


async def test_a_full_engine_says_so_and_may_be_asked_again(bench: Bench) -> None:
    running = [bench.say(TEXT * 20) for _ in range(8)]
    for speech in running:
        await anext(aiter(speech))
    with pytest.raises(EngineFull) as caught:
        async with bench.say() as ninth:
            await hear(ninth)
    assert caught.value.retryable
    for speech in running:
        await speech.aclose()
    async with bench.say() as speech:
        assert (await hear(speech))[-1].is_final


async def test_a_failure_ends_its_stream_after_the_audio_made_before(bench: Bench) -> None:
    bench.tone.fail_next(GenerationFailed("the model gave no number"), after_steps=3)
    heard = []
    async with bench.say() as failing, bench.say() as fine:
        with pytest.raises(GenerationFailed, match="no number"):
            async for chunk in failing:
                heard.append(chunk)
        assert heard and failing.metrics is None
        assert (await hear(fine))[-1].is_final


async def test_a_dying_engine_fails_what_runs_and_hangs_nobody(bench: Bench) -> None:
    async with bench.say(TEXT * 20) as one, bench.engine.open() as two:
        await anext(aiter(one))
        bench.tone.die()
        for speech in (one, two):
            with pytest.raises(EngineUnavailable):
                await hear(speech)
    with pytest.raises(EngineUnavailable) as caught:
        async with bench.say() as speech:
            await hear(speech)
    assert caught.value.retryable


async def test_a_hundred_random_barge_ins_leave_nothing_behind(bench: Bench) -> None:
    async def turn(number: int) -> None:
        async with bench.say(TEXT * (1 + number % 3)) as speech:
            for _ in range(number % 5):
                await anext(aiter(speech), None)

    for start in range(0, 104, 8):
        await asyncio.gather(*(turn(start + number) for number in range(8)))
    assert bench.tone.num_streams == 0
    assert bench.tone.max_steps_after_cancel <= 1


async def test_metrics_are_there_after_the_end_only(bench: Bench) -> None:
    async with bench.say() as speech:
        assert speech.metrics is None
        await hear(speech)
        assert speech.metrics is not None and speech.metrics.total_s >= 0
