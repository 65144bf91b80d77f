"""LiveKit's own conformance list for a TTS, and what a voice that is interrupted needs beyond it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest

from tests.fakes import loudest_hz, serving, tone_engine
from xtts_rtc.api import Engine
from xtts_rtc.engine.tone import ToneBackend, pitch_hz
from xtts_rtc.errors import (
    EngineFull,
    EngineUnavailable,
    GenerationFailed,
    InvalidParameter,
    MissingExtra,
    Unauthorized,
    VoiceNotFound,
)

agents = pytest.importorskip("livekit.agents")
xtts = pytest.importorskip("livekit.plugins.xtts")

from livekit.agents import APIConnectionError, APIConnectOptions, APIError, APIStatusError, APITimeoutError  # noqa: E402

from xtts_rtc.transports.livekit_plugin import api_error  # noqa: E402

TEXT = "The first sentence is here. A second one follows it! And a third?"
ONCE = APIConnectOptions(max_retry=0, timeout=5.0)
QUICK_RETRY = APIConnectOptions(max_retry=3, retry_interval=0.0, timeout=5.0)


class Events:
    """The metrics and errors that a TTS emitted."""

    def __init__(self, voice: Any) -> None:
        self.metrics: list[Any] = []
        self.errors: list[Any] = []
        voice.on("metrics_collected", self.metrics.append)
        voice.on("error", self.errors.append)


def pcm_of(events: list[Any]) -> np.ndarray[Any, np.dtype[np.int16]]:
    return np.concatenate([np.frombuffer(event.frame.data, np.int16) for event in events])


async def collect(stream: Any) -> list[Any]:
    async with stream:
        return [event async for event in stream]


def spoken(voice: Any, text: str = TEXT, options: APIConnectOptions = ONCE) -> Any:
    stream = voice.stream(conn_options=options)
    stream.push_text(text)
    stream.end_input()
    return stream


async def until_idle(tone: ToneBackend) -> None:
    async with asyncio.timeout(5):
        while tone.num_streams:
            await asyncio.sleep(0.001)


@pytest.fixture
def tone() -> Iterator[ToneBackend]:
    backend = ToneBackend(max_streams=4, max_ahead_s=10.0)
    yield backend
    backend.close()


@pytest.fixture(params=["engine", pytest.param("server", marks=pytest.mark.net)])
async def voice(request: pytest.FixtureRequest, no_leaked_tasks: None, tone: ToneBackend) -> AsyncIterator[Any]:
    async with tone_engine(tone) as engine:
        if request.param == "engine":
            async with xtts.TTS(engine=engine) as made:
                yield made
            return
        async with serving(engine) as port, xtts.TTS(base_url=f"http://127.0.0.1:{port}") as made:
            yield made


async def test_synthesize_gives_raw_pcm_as_declared_and_one_metrics_event(voice: Any) -> None:
    seen = Events(voice)
    events = await collect(voice.synthesize(TEXT, conn_options=ONCE))
    assert len({event.request_id for event in events}) == 1 and events[0].request_id
    assert [event.is_final for event in events] == [False] * (len(events) - 1) + [True]
    assert 0 < events[-1].frame.duration <= 0.25
    assert {(event.frame.sample_rate, event.frame.num_channels) for event in events} == {(48_000, 1)}
    assert len(pcm_of(events)) / 48_000 == pytest.approx(
        sum(len(s) for s in ("27" * 13, "24" * 12, "12" * 6)) / 15, abs=0.6
    )
    (metrics,) = seen.metrics
    assert metrics.characters_count == len(TEXT) and metrics.ttfb > 0 and not metrics.cancelled
    assert not seen.errors


async def test_stream_is_one_request_and_one_segment(voice: Any) -> None:
    seen = Events(voice)
    stream = voice.stream(conn_options=ONCE)
    for word in TEXT.split(" "):
        stream.push_text(word + " ")
        await asyncio.sleep(0)
    stream.flush()
    stream.end_input()
    events = await collect(stream)
    assert len({event.request_id for event in events}) == 1
    assert len({event.segment_id for event in events}) == 1 and events[0].segment_id
    assert [event.is_final for event in events] == [False] * (len(events) - 1) + [True]
    (metrics,) = seen.metrics
    assert metrics.streamed and metrics.segment_id == events[0].segment_id
    assert metrics.ttfb > 0 and metrics.output_tokens > 0


async def test_stream_speaks_before_its_text_has_ended(voice: Any) -> None:
    async with voice.stream(conn_options=ONCE) as stream:
        stream.push_text("A whole sentence. And then the")
        event = await anext(aiter(stream))
        assert np.frombuffer(event.frame.data, np.int16).any()


@pytest.mark.parametrize("text", ["", "  \n ", None])
async def test_a_stream_without_text_ends_with_no_error(voice: Any, text: str | None) -> None:
    seen = Events(voice)
    stream = voice.stream(conn_options=ONCE)
    if text is not None:
        stream.push_text(text)
    stream.end_input()
    assert await collect(stream) == []
    assert not seen.errors


@pytest.mark.parametrize("text", ["...", "😀", "— ?!"])
async def test_unspeakable_text_is_a_short_silence_and_no_error(voice: Any, text: str) -> None:
    seen = Events(voice)
    for stream in (spoken(voice, text), voice.synthesize(text, conn_options=ONCE)):
        pcm = pcm_of(await collect(stream))
        assert 0.05 < len(pcm) / 48_000 < 0.5 and not pcm.any()
    assert not seen.errors and len(seen.metrics) == 2


async def test_aclose_while_streaming_leaves_the_engine_idle(voice: Any, tone: ToneBackend) -> None:
    stream = spoken(voice, TEXT * 50)
    await anext(aiter(stream))
    assert tone.num_streams == 1
    await stream.aclose()
    assert tone.num_streams == 0 and tone.max_steps_after_cancel <= 1
    await stream.aclose()


async def test_aclose_before_any_text_and_before_any_audio(voice: Any, tone: ToneBackend) -> None:
    empty = voice.stream(conn_options=ONCE)
    await asyncio.sleep(0)
    await empty.aclose()
    early = spoken(voice, TEXT * 50)
    await asyncio.sleep(0)
    await early.aclose()
    assert tone.num_streams == 0


async def test_cancelling_the_reader_in_mid_generation_leaves_the_engine_idle(voice: Any, tone: ToneBackend) -> None:
    async def read_some() -> None:
        async with spoken(voice, TEXT * 50) as stream:
            async for _ in stream:
                reading.set()

    reading = asyncio.Event()
    reader = asyncio.create_task(read_some())
    await reading.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await until_idle(tone)
    assert tone.max_steps_after_cancel <= 1


async def test_a_cancelled_synthesize_says_so_in_its_metrics(voice: Any) -> None:
    seen = Events(voice)
    stream = voice.synthesize(TEXT * 50, conn_options=ONCE)
    await anext(aiter(stream))
    await stream.aclose()
    assert [metrics.cancelled for metrics in seen.metrics] == [True]


async def test_after_a_barge_in_the_next_stream_has_nothing_of_the_old(voice: Any) -> None:
    for turn in range(1, 4):
        old = spoken(voice, TEXT * 50)
        await anext(aiter(old))
        await old.aclose()
        pcm = pcm_of(await collect(spoken(voice))) / 32_768
        assert loudest_hz(pcm.astype(np.float32), 48_000) == pytest.approx(pitch_hz(2 * turn), abs=3)


async def test_two_streams_at_once_do_not_mix(voice: Any) -> None:
    both = await asyncio.gather(collect(spoken(voice)), collect(spoken(voice)))
    heard = sorted(loudest_hz((pcm_of(events) / 32_768).astype(np.float32), 48_000) for events in both)
    assert heard == pytest.approx([pitch_hz(1), pitch_hz(2)], abs=3)


async def test_a_full_engine_is_asked_again_and_then_given_up(voice: Any, tone: ToneBackend) -> None:
    running = [spoken(voice, TEXT * 50) for _ in range(4)]
    for stream in running:
        await anext(aiter(stream))
    seen = Events(voice)
    with pytest.raises(APIStatusError) as caught:
        await collect(spoken(voice, options=QUICK_RETRY))
    assert caught.value.status_code == 429 and caught.value.retryable
    assert [error.recoverable for error in seen.errors] == [True, True, True, False]
    assert not seen.metrics
    for stream in running:
        await stream.aclose()
    assert await collect(spoken(voice))


async def test_a_retry_speaks_the_whole_text(voice: Any, tone: ToneBackend) -> None:
    expected = len(pcm_of(await collect(spoken(voice))))
    seen = Events(voice)
    tone.fail_next(EngineUnavailable("the engine restarts"))
    events = await collect(spoken(voice, options=QUICK_RETRY))
    assert len(pcm_of(events)) == expected
    assert [error.recoverable for error in seen.errors] == [True] and len(seen.metrics) == 1


async def test_synthesize_restarts_after_partial_audio_under_a_new_request(voice: Any, tone: ToneBackend) -> None:
    seen = Events(voice)
    tone.fail_next(EngineUnavailable("the engine restarts"), after_steps=20)
    events = await collect(voice.synthesize(TEXT, conn_options=QUICK_RETRY))
    assert len({event.request_id for event in events}) == 2
    assert [error.recoverable for error in seen.errors] == [True]


async def test_a_stream_does_not_start_over_once_it_was_heard(voice: Any, tone: ToneBackend) -> None:
    seen = Events(voice)
    tone.fail_next(GenerationFailed("the model gave no number"), after_steps=20)
    with pytest.raises(APIStatusError, match="no number"):
        await collect(spoken(voice, options=QUICK_RETRY))
    assert [error.recoverable for error in seen.errors] == [False]


async def test_a_dying_engine_ends_the_stream_with_a_connection_error(voice: Any, tone: ToneBackend) -> None:
    async with spoken(voice, TEXT * 50) as stream:
        await anext(aiter(stream))
        tone.die()
        with pytest.raises(APIConnectionError):
            async for _ in stream:
                pass
    with pytest.raises(APIConnectionError):
        await collect(spoken(voice))


async def test_an_engine_that_says_nothing_times_out(no_leaked_tasks: None) -> None:
    options = APIConnectOptions(max_retry=0, timeout=0.2)
    tone = ToneBackend(max_unread_s=0.0)
    async with tone_engine(tone) as engine, xtts.TTS(engine=engine) as voice:
        seen = Events(voice)
        for stream in (spoken(voice, options=options), voice.synthesize(TEXT, conn_options=options)):
            started = asyncio.get_running_loop().time()
            with pytest.raises(APITimeoutError):
                await collect(stream)
            assert asyncio.get_running_loop().time() - started < 1.0
        assert tone.num_streams == 0
        assert len(seen.errors) == 2 and not seen.metrics


async def test_a_slow_writer_is_no_timeout(no_leaked_tasks: None, tone: ToneBackend) -> None:
    options = APIConnectOptions(max_retry=0, timeout=0.05)
    async with tone_engine(tone) as engine, xtts.TTS(engine=engine) as voice:
        stream = voice.stream(conn_options=options)
        stream.push_text("The LLM thinks in the middle of a")
        await asyncio.sleep(0.15)
        stream.push_text(" sentence.")
        stream.end_input()
        assert await collect(stream)


async def test_a_long_text_in_one_piece_is_refused_once(voice: Any) -> None:
    seen = Events(voice)
    with pytest.raises(APIStatusError, match="100,000") as caught:
        await collect(spoken(voice, "word " * 210_000, QUICK_RETRY))
    assert not caught.value.retryable and len(seen.errors) == 1


async def test_an_unknown_voice_is_not_retried(voice: Any) -> None:
    voice.update_options(voice="nobody")
    seen = Events(voice)
    with pytest.raises(APIStatusError, match="Speaker 'nobody' not found") as caught:
        await collect(spoken(voice, options=QUICK_RETRY))
    assert caught.value.status_code == 404 and [error.recoverable for error in seen.errors] == [False]


async def test_options_are_copied_when_a_stream_is_made(voice: Any) -> None:
    stream = spoken(voice)
    voice.update_options(voice="nobody", temperature=0.3, language="de")
    assert await collect(stream)


async def test_options_out_of_range_change_nothing(voice: Any) -> None:
    with pytest.raises(InvalidParameter, match="top_p"):
        voice.update_options(voice="nobody", top_p=3.0)
    assert await collect(spoken(voice))


@pytest.mark.parametrize(("given", "spoken_as"), [("en-US", "en"), ("zh", "zh-cn"), ("PT-br", "pt"), ("xx", "xx")])
async def test_a_region_is_dropped_from_the_language(tone: ToneBackend, given: str, spoken_as: str) -> None:
    async with tone_engine(tone) as engine, xtts.TTS(engine=engine, language=given) as voice:
        if spoken_as != "xx":
            assert await collect(spoken(voice))
        else:
            with pytest.raises(APIStatusError, match="'xx'"):
                await collect(spoken(voice))


async def test_audio_crosses_no_thread_but_the_bridge(voice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    home = threading.get_ident()
    seen = set()
    push = agents.tts.AudioEmitter.push

    def watched(self: Any, data: bytes) -> None:
        seen.add(threading.get_ident())
        push(self, data)

    monkeypatch.setattr(agents.tts.AudioEmitter, "push", watched)
    await collect(spoken(voice))
    assert seen == {home}


async def test_the_engine_is_loaded_off_the_loop_and_once(
    no_leaked_tasks: None, tone: ToneBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[int] = []

    def load(**options: object) -> Engine:
        loads.append(threading.get_ident())
        return tone_engine(tone)

    monkeypatch.setattr(Engine, "load", load)
    monkeypatch.delenv("XTTS_URL", raising=False)
    async with xtts.TTS() as voice:
        voice.prewarm()
        voice.prewarm()
        assert all(await asyncio.gather(collect(spoken(voice)), collect(voice.synthesize(TEXT))))
    assert len(loads) == 1 and loads[0] != threading.get_ident()
    assert tone.is_dead


async def test_an_engine_that_cannot_be_loaded_is_told_by_each_stream(
    no_leaked_tasks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(**options: object) -> Engine:
        raise MissingExtra("install xtts-rtc[cpu]")

    monkeypatch.setattr(Engine, "load", load)
    monkeypatch.delenv("XTTS_URL", raising=False)
    async with xtts.TTS() as voice:
        voice.prewarm()
        for _ in range(2):
            with pytest.raises(APIError, match=r"xtts-rtc\[cpu\]") as caught:
                await collect(spoken(voice, options=QUICK_RETRY))
            assert not caught.value.retryable


def test_prewarm_without_a_loop_loads_at_once(tone: ToneBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "load", lambda **options: tone_engine(tone))
    monkeypatch.delenv("XTTS_URL", raising=False)
    voice = xtts.TTS()
    voice.prewarm()
    assert asyncio.run(collect_with(voice))
    assert tone.is_dead


async def collect_with(voice: Any) -> list[Any]:
    async with voice:
        return await collect(spoken(voice))


@pytest.mark.net
async def test_keys_are_in_no_message(
    no_leaked_tasks: None, tone: ToneBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tone_engine(tone) as engine, serving(engine, api_key="right-key") as port:
        monkeypatch.setenv("XTTS_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("XTTS_API_KEY", "wrong-key")
        async with xtts.TTS() as voice:
            with pytest.raises(APIStatusError) as caught:
                await collect(spoken(voice, options=QUICK_RETRY))
            assert caught.value.status_code == 401
            error: BaseException | None = caught.value
            while error is not None:
                assert "wrong-key" not in repr(error) + str(vars(error))
                error = error.__cause__
            assert "wrong-key" not in repr(voice)
        async with xtts.TTS(api_key="right-key") as voice:
            assert await collect(spoken(voice))


@pytest.mark.net
async def test_a_server_that_is_not_there_is_a_connection_error(no_leaked_tasks: None) -> None:
    async with xtts.TTS(base_url="http://127.0.0.1:9") as voice:
        with pytest.raises(APIConnectionError, match=r"127\.0\.0\.1:9"):
            await collect(spoken(voice))


def test_every_error_has_its_place_in_livekits_tree() -> None:
    table = {
        EngineUnavailable("x"): (APIConnectionError, True),
        EngineFull("x"): (APIStatusError, True),
        GenerationFailed("x"): (APIStatusError, False),
        VoiceNotFound("x"): (APIStatusError, False),
        InvalidParameter("x"): (APIStatusError, False),
        Unauthorized("x"): (APIStatusError, False),
        MissingExtra("x"): (APIStatusError, False),
        TimeoutError(): (APITimeoutError, True),
    }
    for error, (kind, retryable) in table.items():
        mapped = api_error(error)
        assert type(mapped) is kind and mapped.retryable is retryable  # type: ignore[attr-defined]
    own = RuntimeError("a bug")
    assert api_error(own) is own


def test_the_plugin_is_registered_under_livekits_name() -> None:
    assert "livekit.plugins.xtts" in [plugin.title for plugin in agents.Plugin.registered_plugins]
    assert xtts.TTS.__module__ == "xtts_rtc.transports.livekit_plugin"
