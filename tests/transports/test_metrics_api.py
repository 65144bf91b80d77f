"""/metrics tells what a client measured itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import numpy as np
import pytest

from tests.fakes import hear, joined, serving, tone_engine
from tests.scrape import scrape
from xtts_rtc.api import Engine
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.errors import EngineFull, VoiceNotFound
from xtts_rtc.types import Speech

pytestmark = pytest.mark.net

TEXT = "A sentence of some length. Another one that follows it. "
KEY = "the-key"


@dataclass
class Server:
    url: str
    remote: Engine
    tone: ToneBackend


@pytest.fixture
async def server(no_leaked_tasks: None) -> AsyncIterator[Server]:
    tone = ToneBackend(step_s=0.03, step_audio_s=0.5, max_ahead_s=10.0, max_streams=2)
    async with tone_engine(tone, max_streams=2) as engine, serving(engine, api_key=KEY) as port:
        url = f"http://127.0.0.1:{port}"
        async with Engine.connect(url, api_key=KEY) as remote:
            yield Server(url, remote, tone)


async def until_idle(server: Server) -> dict[str, float]:
    async with asyncio.timeout(5):
        while (seen := await scrape(server.url))["xtts_streams"]:
            await asyncio.sleep(0.01)
    return seen


async def first_audio_s(speech: Speech) -> float:
    """From the text to the first samples, as a client sees it."""
    started = time.monotonic()
    speech.push_text(TEXT)
    speech.end_input()
    async for chunk in speech:
        if chunk.pcm.size:
            return time.monotonic() - started
    raise AssertionError("no audio came")


async def test_first_audio_agrees_with_a_client_within_20_ms(server: Server) -> None:
    async with server.remote.open() as warm:  # connects the socket, which no engine can see
        await first_audio_s(warm)
    before = await scrape(server.url)
    measured = []
    for _ in range(5):
        async with server.remote.open() as speech:
            measured.append(await first_audio_s(speech))
    after = await scrape(server.url)
    name = 'xtts_first_audio_seconds_{}{{pace="listener"}}'
    count, total = (after[name.format(part)] - before[name.format(part)] for part in ("count", "sum"))
    exported, seen = 1e3 * total / count, 1e3 * float(np.mean(measured))
    print(f"\nfirst audio: {exported:.1f} ms by /metrics, {seen:.1f} ms by the client")
    assert count == 5
    assert exported == pytest.approx(seen, abs=20)
    assert exported > 25  # a step of the tone takes 30 ms


@pytest.mark.parametrize("sample_rate", [8_000, 24_000, 48_000])
async def test_audio_seconds_are_those_that_the_client_got(server: Server, sample_rate: int) -> None:
    heard_s = 0.0
    for _ in range(3):
        async with server.remote.open(sample_rate=sample_rate, realtime=False) as speech:
            speech.push_text(TEXT)
            speech.end_input()
            heard_s += joined(await hear(speech)).size / sample_rate
    assert (await until_idle(server))["xtts_audio_seconds_total"] == pytest.approx(heard_s, abs=1e-9)


async def test_streams_are_counted_while_they_speak_and_not_after(server: Server) -> None:
    async with server.remote.open() as first, server.remote.open() as second:
        await asyncio.gather(first_audio_s(first), first_audio_s(second))
        seen = await scrape(server.url)
        assert (seen["xtts_streams"], seen["xtts_streams_max"], seen["xtts_ready"]) == (2, 2, 0)
        third = server.remote.open()
        third.push_text(TEXT)
        with pytest.raises(EngineFull):
            await hear(third)
    seen = await until_idle(server)
    assert seen["xtts_ready"] == 1
    assert seen['xtts_errors_total{code="engine_full"}'] == 1


async def test_a_cancel_is_counted_with_its_time_to_idle(server: Server) -> None:
    async with server.remote.open() as speech:
        await first_audio_s(speech)
        speech.cancel()
    seen = await until_idle(server)
    assert seen['xtts_utterances_total{outcome="cancelled"}'] == seen["xtts_cancel_to_idle_seconds_count"] == 1
    assert speech.metrics is not None and speech.metrics.cancel_to_idle_ms is not None
    assert seen["xtts_cancel_to_idle_seconds_sum"] == pytest.approx(speech.metrics.cancel_to_idle_ms / 1e3, abs=1e-6)


async def test_what_is_refused_is_counted_by_code(server: Server) -> None:
    with pytest.raises(VoiceNotFound):
        await hear(server.remote.open(voice="nobody"))
    seen = await scrape(server.url)
    assert seen['xtts_errors_total{code="voice_not_found"}'] == 1
    assert seen['xtts_refused_messages_total{code="voice_not_found"}'] == 1
    assert seen['xtts_utterances_total{outcome="failed"}'] == 0  # it never began


async def test_requests_are_counted_by_route_and_never_by_what_a_client_wrote(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        for path in ("/readyz", "/no/such/path", "/another?secret=1"):
            await client.get(path)
        assert (await client.get("/tts")).status_code == 405
        assert (await client.get("/v1/voices", headers={"Authorization": "Bearer wrong"})).status_code == 401
    async with server.remote.open() as speech:
        await first_audio_s(speech)
    requests = {name: value for name, value in (await scrape(server.url)).items() if "xtts_requests" in name}
    assert requests == {
        'xtts_requests_total{route="/readyz",status="200"}': 1,
        'xtts_requests_total{route="/tts",status="405"}': 1,
        'xtts_requests_total{route="/v1/speech",status="101"}': 1,
        'xtts_requests_total{route="other",status="401"}': 1,
        'xtts_requests_total{route="other",status="404"}': 2,
    }


async def test_a_scraper_needs_no_key(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.get("/metrics")
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert (await client.get("/v1/voices")).status_code == 401
