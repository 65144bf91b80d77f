"""An engine server that is killed in mid-speech, behind LiveKit's own FallbackAdapter: real processes, real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.scrape import scrape
from tests.server_process import ServerProcess, free_port

agents = pytest.importorskip("livekit.agents")
xtts = pytest.importorskip("livekit.plugins.xtts")

from livekit.agents import APIConnectionError, APIConnectOptions  # noqa: E402
from livekit.agents import tts as livekit_tts  # noqa: E402

from tests.transports.livekit_probe import QUICK_RETRY, TEXT, collect, spoken  # noqa: E402

pytestmark = [pytest.mark.net, pytest.mark.slow]

OPTIONS = APIConnectOptions(max_retry=0, retry_interval=0.05, timeout=5.0)
LONG = "This is a sentence of some length, and more of them follow. " * 40
DONE = 'xtts_utterances_total{outcome="done"}'


def start(port: int, log: Path) -> ServerProcess:
    return ServerProcess(port, log, XTTS_MODEL="random-tiny", XTTS_BACKEND="onnx")


@dataclass
class Pair:
    """Two servers, and one agent's voice that prefers the first."""

    first: ServerProcess
    second: ServerProcess
    voice: Any
    adapter: Any
    changes: list[tuple[bool, bool]]
    """Is it about the first, is it available."""

    async def num_done(self, server: ServerProcess) -> float:
        return (await scrape(server.url))[DONE]

    async def availability(self, is_available: bool) -> None:
        async with asyncio.timeout(20):
            while not self.changes or self.changes[-1] != (True, is_available):
                await asyncio.sleep(0.02)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[ServerProcess]]:
    running = [start(free_port(), tmp_path / name) for name in ("first.log", "second.log")]
    yield running
    for server in running:
        if server.is_running:
            server.stop()


@pytest.fixture
async def pair(no_leaked_tasks: None, servers: list[ServerProcess]) -> AsyncIterator[Pair]:
    first, second = servers
    async with xtts.TTS(base_url=first.url) as voice, xtts.TTS(base_url=second.url) as spare:
        adapter = livekit_tts.FallbackAdapter([voice, spare], max_retry_per_tts=1)
        changes: list[tuple[bool, bool]] = []
        adapter.on("tts_availability_changed", lambda change: changes.append((change.tts is voice, change.available)))
        yield Pair(first, second, voice, adapter, changes)
        await adapter.aclose()


def seconds(events: list[Any]) -> float:
    return sum(float(event.frame.duration) for event in events)


async def test_a_killed_server_is_replaced_and_taken_back_after_its_restart(
    pair: Pair, servers: list[ServerProcess], tmp_path: Path
) -> None:
    # Killed in mid-speech: what was begun breaks off, for no voice can go on with another's sentence.
    async with spoken(pair.adapter, LONG, OPTIONS) as stream:
        async for _ in stream:
            if pair.first.is_running:
                assert await pair.num_done(pair.first) == 0
                pair.first.kill()
    assert pair.changes == [(True, False)]

    # The very next utterance is spoken by the other, whole.
    assert seconds(await collect(spoken(pair.adapter, TEXT, OPTIONS))) > 0
    assert await pair.num_done(pair.second) == 1

    # The same plugin object says clearly that its server is gone, and speaks again after the restart.
    with pytest.raises(APIConnectionError):
        await collect(spoken(pair.voice, TEXT, OPTIONS))
    servers[0] = pair.first = start(int(pair.first.url.rpartition(":")[2]), tmp_path / "again.log")
    assert seconds(await collect(spoken(pair.voice, TEXT, QUICK_RETRY))) > 0

    # The adapter finds out with the next utterance and takes it back, without being made anew.
    await collect(spoken(pair.adapter, TEXT, OPTIONS))
    await pair.availability(True)
    before = await pair.num_done(pair.first)
    assert seconds(await collect(spoken(pair.adapter, TEXT, OPTIONS))) > 0
    assert await pair.num_done(pair.first) == before + 1
    assert pair.changes == [(True, False), (True, True)]


async def test_a_server_that_dies_between_utterances_costs_none_of_them(pair: Pair) -> None:
    assert seconds(await collect(spoken(pair.adapter, TEXT, OPTIONS))) > 0  # leaves an open socket behind
    assert await pair.num_done(pair.first) == 1
    pair.first.kill()
    assert seconds(await collect(spoken(pair.adapter, TEXT, OPTIONS))) > 0
    assert await pair.num_done(pair.second) == 1
    assert pair.changes == [(True, False)]
