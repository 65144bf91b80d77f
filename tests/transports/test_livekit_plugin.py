"""LiveKit's own conformance list for a TTS, and what a voice that is interrupted needs beyond it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from tests.fakes import loudest_hz, tone_engine
from xtts_rtc.api import Engine
from xtts_rtc.engine.tone import CHARS_PER_SECOND, ToneBackend, pitch_hz
from xtts_rtc.errors import (
    InvalidParameter,
)

agents = pytest.importorskip("livekit.agents")
xtts = pytest.importorskip("livekit.plugins.xtts")

from livekit.agents import APIStatusError  # noqa: E402

from tests.transports.livekit_probe import ONCE, TEXT, Events, collect, pcm_of, spoken, until_idle  # noqa: E402


async def test_synthesize_gives_raw_pcm_as_declared_and_one_metrics_event(voice: Any) -> None:
    seen = Events(voice)
    events = await collect(voice.synthesize(TEXT, conn_options=ONCE))
    assert len({event.request_id for event in events}) == 1 and events[0].request_id
    assert [event.is_final for event in events] == [False] * (len(events) - 1) + [True]
    assert 0 < events[-1].frame.duration <= 0.25
    assert {(event.frame.sample_rate, event.frame.num_channels) for event in events} == {(48_000, 1)}
    spoken_chars = 27 + 24 + 12  # the three sentences, without the spaces between them
    assert len(pcm_of(events)) / 48_000 == pytest.approx(spoken_chars / CHARS_PER_SECOND, abs=0.01)
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


def test_the_plugin_is_registered_under_livekits_name() -> None:
    assert "livekit.plugins.xtts" in [plugin.title for plugin in agents.Plugin.registered_plugins]
    assert xtts.TTS.__module__ == "xtts_rtc.transports.livekit_plugin"
