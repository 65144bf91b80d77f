"""The plugin when the engine is full, slow, dead, missing or refuses: one clear error, and retries where they help."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fakes import serving, tone_engine
from xtts_rtc.api import Engine
from xtts_rtc.engine.tone import ToneBackend
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

from tests.transports.livekit_probe import QUICK_RETRY, TEXT, Events, collect, pcm_of, spoken  # noqa: E402
from xtts_rtc.transports.livekit_plugin import api_error  # noqa: E402


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


# Steps that take no time fail before LiveKit has handed out what was made before.
@pytest.mark.parametrize("tone", [{"step_s": 0.01}], indirect=True)
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
