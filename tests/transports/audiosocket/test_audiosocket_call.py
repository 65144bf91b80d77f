"""Calls over loopback: what the caller hears and does, with an engine that beeps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest

from tests.fakes import loudest_hz, tone_engine
from tests.transports.audiosocket.phone import calling, until
from xtts_rtc.api import Engine
from xtts_rtc.engine.tone import ToneBackend, pitch_hz
from xtts_rtc.errors import InvalidRequest
from xtts_rtc.transports.audiosocket import Announcer, Call, CallerQuiet, CallerSpoke, Digit, answering

pytestmark = [pytest.mark.net, pytest.mark.slow]

SENTENCE = "This is a test. "
"""One second of a beep."""
LONG = SENTENCE * 20


@pytest.fixture
def tone() -> ToneBackend:
    return ToneBackend(max_streams=8)


@pytest.fixture
async def engine(no_leaked_tasks: None, tone: ToneBackend) -> AsyncIterator[Engine]:
    async with tone_engine(tone) as engine:
        yield engine
        assert tone.num_streams == 0


async def test_a_greeting_is_heard_whole_and_then_the_caller_is_hung_up_on(engine: Engine) -> None:
    async with answering(engine, Announcer(greeting=SENTENCE)) as server, calling(server.port) as phone:
        await phone.until_hung_up()
        assert phone.was_told, "so that the dialplan goes on"
        assert {(one.kind, len(one.payload)) for one in phone.heard} == {(0x10, 320)}
        assert len(phone.loud_times()) * 0.02 == pytest.approx(1.0, abs=0.05)
        await until(lambda: server.num_calls == 0)


@pytest.mark.parametrize(
    ("kind", "hz"),
    [(0x10, 8_000), (0x11, 12_000), (0x12, 16_000), (0x13, 24_000), (0x14, 32_000), (0x15, 44_100), (0x16, 48_000)],
)
async def test_the_caller_is_answered_at_the_rate_it_speaks(engine: Engine, kind: int, hz: int) -> None:
    announcer = Announcer(greeting="Hello.")
    async with answering(engine, announcer) as server, calling(server.port, hz=hz, kind=kind) as phone:
        await phone.until_hung_up()
        assert {(one.kind, len(one.payload)) for one in phone.heard} == {(kind, hz // 50 * 2)}
        assert loudest_hz(phone.audio(), hz) == pytest.approx(pitch_hz(1), abs=5)


async def test_a_caller_that_sends_no_audio_is_answered_at_8_khz(engine: Engine) -> None:
    async with answering(engine, Announcer(greeting=SENTENCE)) as server, calling(server.port, talks=False) as phone:
        await phone.until_hung_up()
        assert {one.kind for one in phone.heard} == {0x10}
        assert phone.loud_times()


async def test_a_caller_that_changes_its_rate_in_mid_call_is_still_heard(engine: Engine, caller_voice) -> None:
    heard = []

    async def answer(call: Call) -> None:
        while True:
            heard.append(await call.hear())

    async with answering(engine, answer) as server, calling(server.port) as phone:
        await until(lambda: heard)
        phone.hz, phone.kind = 16_000, 0x12
        heard.clear()
        started = time.monotonic()
        await asyncio.sleep(1.0)
        seconds = sum(len(pcm) for pcm in heard) / 8_000
        assert seconds == pytest.approx(time.monotonic() - started, abs=0.15)


async def test_frames_keep_their_pace_in_speech_and_in_silence(engine: Engine, capsys) -> None:
    calls: list[Call] = []

    async def answer(call: Call) -> None:
        calls.append(call)
        await call.say(SENTENCE * 2)
        await asyncio.sleep(0.5)
        await call.say(SENTENCE * 2)

    async with answering(engine, answer) as server:
        for _ in range(3):  # again when the machine stood still for a tenth of a second, which the server counts
            async with calling(server.port) as phone:
                await phone.until_hung_up()
            if not calls[-1].num_skips:
                break
    at = np.array([one.at for one in phone.heard])
    gaps_ms = np.diff(at) * 1000
    drift_ms = (at - at[0] - np.arange(len(at)) * 0.02) * 1000
    with capsys.disabled():
        print(f"\n{len(at)} frames: median gap {np.median(gaps_ms):.2f} ms, drift {drift_ms[-1]:+.2f} ms at the end")
    assert len(at) > 200
    assert np.median(gaps_ms) == pytest.approx(20.0, abs=0.5)
    assert abs(np.median(drift_ms[-25:]) - np.median(drift_ms[:25])) < 20


async def test_a_key_chooses_a_phrase_in_mid_sentence_and_then_another(engine: Engine, tone: ToneBackend) -> None:
    announcer = Announcer(greeting=LONG, phrases={"1": SENTENCE, "#": SENTENCE}, listen_s=0.5)
    async with answering(engine, announcer) as server, calling(server.port) as phone:
        await phone.until_loud()
        phone.press("7")
        pressed = time.monotonic()
        await asyncio.sleep(0.3)
        assert not phone.loud_times(pressed + 0.15), "a key without a phrase stops the greeting too"
        phone.press("1")
        await phone.until_loud(pressed + 0.15)
        phone.press("#")
        await phone.until_hung_up()
        assert phone.was_told
    pitch = loudest_hz(phone.audio(), 8_000)
    assert pitch == pytest.approx(pitch_hz(3), abs=5), "the third utterance is the only one that was heard whole"
    assert tone.max_steps_after_cancel <= 1


async def test_a_caller_who_hangs_up_stops_the_engine_and_the_handler(engine: Engine, tone: ToneBackend) -> None:
    ended = []

    async def answer(call: Call) -> None:
        try:
            await call.say(LONG)
        finally:
            ended.append(time.monotonic())

    async with answering(engine, answer) as server, calling(server.port) as phone:
        await phone.until_loud()
        hung_up = time.monotonic()
        phone.send(0x00)
        await until(lambda: ended and server.num_calls == 0)
        assert ended[0] - hung_up < 0.1
        assert tone.num_streams == 0
        assert tone.max_steps_after_cancel <= 1


async def test_a_connection_that_breaks_is_a_caller_who_hangs_up(engine: Engine, tone: ToneBackend) -> None:
    async with answering(engine, Announcer(greeting=LONG)) as server, calling(server.port) as phone:
        await phone.until_loud()
        phone.writer.transport.abort()
        await until(lambda: server.num_calls == 0 and tone.num_streams == 0)


async def test_text_is_spoken_as_a_language_model_writes_it(engine: Engine) -> None:
    written_at: list[float] = []

    async def model() -> AsyncIterator[str]:
        for word in (SENTENCE * 2).split():
            yield word + " "
            written_at.append(time.monotonic())
            await asyncio.sleep(0.06)

    async def answer(call: Call) -> None:
        await call.say(model())

    async with answering(engine, answer) as server, calling(server.port) as phone:
        first = await phone.until_loud()
        await phone.until_hung_up()
    assert first < written_at[-1], "it speaks before all is written"


async def test_an_interruption_stops_the_language_model_too(engine: Engine, tone: ToneBackend, caller_voice) -> None:
    closed, ended = [], []

    async def model() -> AsyncIterator[str]:
        try:
            while True:
                yield SENTENCE
                await asyncio.sleep(0.05)
        finally:
            closed.append(True)

    async def answer(call: Call) -> None:
        ended.append(await call.say(model()))

    async with answering(engine, answer) as server, calling(server.port) as phone:
        await phone.until_loud()
        phone.say(caller_voice)
        await phone.until_hung_up()
    assert closed and ended[0].is_interrupted
    assert 0 < ended[0].played_s < 2
    assert ended[0].metrics.cancel_to_idle_ms is not None


async def test_a_language_model_that_fails_ends_its_call_with_one_line(engine: Engine, caplog) -> None:
    async def model() -> AsyncIterator[str]:
        yield SENTENCE
        raise RuntimeError("secret words")

    async def answer(call: Call) -> None:
        with pytest.raises(RuntimeError):
            await call.say(model())
        await call.say(SENTENCE)

    async with answering(engine, answer) as server, calling(server.port) as phone:
        await phone.until_hung_up()
    assert phone.loud_times(), "the handler may go on after it"
    assert "secret words" not in caplog.text


async def test_an_agent_with_a_voice_of_its_own_plays_hears_and_stops(engine: Engine, caller_voice) -> None:
    """What an agent framework's audio input and output need."""
    playbacks, events = [], []
    beep = (0.3 * np.sin(2 * np.pi * 500 * np.arange(4_000) / 8_000)).astype(np.float32)

    async def answer(call: Call) -> None:
        assert await call.play(beep)
        playbacks.append(await call.finish())
        for _ in range(20):
            if not await call.play(beep[:800]):
                break
            if call.is_caller_speaking:
                call.stop()
        playbacks.append(await call.finish())
        while len(events) < 3:
            events.append(await call.next_event())

    async with answering(engine, answer) as server, calling(server.port) as phone:
        await until(lambda: playbacks)
        phone.say(caller_voice[:8_000])
        await until(lambda: len(playbacks) == 2)
        phone.press("D")
        await phone.until_hung_up()
    assert playbacks[0].played_s == pytest.approx(0.5) and not playbacks[0].is_interrupted
    assert playbacks[1].is_interrupted and 0 < playbacks[1].played_s < 2
    assert events[:1] == [CallerSpoke()] and set(events) == {CallerSpoke(), CallerQuiet(), Digit("D")}


async def test_one_call_says_one_thing_at_a_time(engine: Engine) -> None:
    refused = []

    async def answer(call: Call) -> None:
        first = asyncio.create_task(call.say(SENTENCE))
        await asyncio.sleep(0.1)
        for again in (call.say(SENTENCE), call.play(np.zeros(160, np.float32))):
            try:
                await again
            except InvalidRequest as error:
                refused.append(error.message)
        await first

    async with answering(engine, answer) as server, calling(server.port) as phone:
        await phone.until_hung_up()
        assert len(refused) == 2 and "already speaks" in refused[0]
        assert len(phone.loud_times()) * 0.02 == pytest.approx(1.0, abs=0.15)


async def test_a_speech_that_may_not_be_interrupted_is_not(engine: Engine, caller_voice) -> None:
    announcer = Announcer(greeting=SENTENCE, is_interruptible=False)
    async with answering(engine, announcer) as server, calling(server.port) as phone:
        await phone.until_loud()
        phone.press("1")
        phone.say(caller_voice)
        await phone.until_hung_up()
        assert len(phone.loud_times()) * 0.02 == pytest.approx(1.0, abs=0.15)


async def test_a_line_that_is_kept_open_goes_on_in_silence(engine: Engine) -> None:
    announcer = Announcer(greeting="Hello.", hangs_up=False, listen_s=0.1)
    async with answering(engine, announcer) as server:
        async with calling(server.port) as phone:
            await phone.until_loud()
            await asyncio.sleep(1.5)
            assert phone.hung_up_at is None
            assert len(phone.heard) > 60 and not phone.heard[-1].is_loud
        await until(lambda: server.num_calls == 0)
