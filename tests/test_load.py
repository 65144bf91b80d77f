"""64 clients, many utterances, a third of them given up midway: nothing fails, leaks or sounds different.

LOAD_UTTERANCES=1000 is the full size. The weights are random and tiny, the server and its clients are real.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial

import httpx
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from tests.scrape import scrape
from tests.server_process import ServerProcess, server_process
from xtts_rtc.api import Engine
from xtts_rtc.audio.frames import to_int16
from xtts_rtc.errors import EngineFull
from xtts_rtc.types import SamplingParams, Speech

pytestmark = [pytest.mark.net, pytest.mark.slow]

NUM_CLIENTS = 64
NUM_UTTERANCES = int(os.environ.get("LOAD_UTTERANCES", "200"))
TEXTS = (
    "A short one.",
    "The first sentence is here. A second one follows it, a little longer than the first!",
    "Is there a first? There is a second. And a third one ends it.",
)
REQUESTS = tuple(itertools.product(TEXTS, range(8)))
"""(text, seed)"""

KINDS = ("websocket", "/tts", "websocket", "/tts_stream")
"""What the clients are, in turn. The first two want files, the last one listens."""

Pcm = NDArray[np.int16]


@dataclass
class Report:
    """What the clients saw. `differences` counts finished utterances by kind and furthest sample (None: length)."""

    first_byte_s: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    differences: Counter[tuple[str, int | None]] = field(default_factory=Counter)
    num_cancelled: int = 0
    num_full: int = 0
    memory_bytes: list[int] = field(default_factory=list)

    def compare(self, kind: str, heard: Pcm, expected: Pcm) -> None:
        furthest = int(np.abs(heard.astype(int) - expected).max()) if heard.size == expected.size else None
        self.differences[kind, furthest] += 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    log = tmp_path_factory.mktemp("load") / "server.log"
    with server_process(log, XTTS_MODEL="random-tiny", XTTS_BACKEND="onnx", XTTS_MAX_STREAMS="16") as running:
        yield running


async def over_websocket(engine: Engine, text: str, seed: int) -> AsyncGenerator[Pcm]:
    """One utterance; leaving early cancels it and keeps the socket. Raises EngineFull."""
    async with engine.open(sampling=SamplingParams(seed=seed), realtime=False) as speech:
        speech.push_text(text)
        speech.end_input()
        async for chunk in speech:
            yield to_int16(chunk.pcm)


async def over_http(client: httpx.AsyncClient, route: str, text: str, seed: int) -> AsyncGenerator[Pcm]:
    """The same; leaving early closes the connection."""
    async with client.stream("POST", route, json={"text": text, "seed": seed, "format": "pcm"}) as answer:
        if answer.status_code == 429:
            await asyncio.sleep(float(answer.headers["retry-after"]))
            raise EngineFull("as the client was told")
        assert answer.status_code == 200
        odd = b""
        async for data in answer.aiter_raw():
            data = odd + data
            odd = data[len(data) & ~1 :]
            yield np.frombuffer(data[: len(data) & ~1], "<i2")


async def alone(engine: Engine) -> dict[tuple[str, int], Pcm]:
    """Each request with nobody else speaking."""
    return {key: np.concatenate([pcm async for pcm in over_websocket(engine, *key)]) for key in REQUESTS}


class Client:
    """Takes one utterance after the other from `work`, on a connection of its own."""

    def __init__(self, url: str, number: int, expected: dict[tuple[str, int], Pcm], report: Report) -> None:
        self._url = url
        self._kind = KINDS[number % 4]
        self._random = random.Random(number)
        self._expected = expected
        self._report = report

    async def run(self, work: Iterator[int]) -> None:
        async with Engine.connect(self._url) as engine, httpx.AsyncClient(base_url=self._url, timeout=60) as client:
            say = (
                partial(over_websocket, engine) if self._kind == "websocket" else partial(over_http, client, self._kind)
            )
            for number in work:
                key = REQUESTS[self._random.randrange(len(REQUESTS))]
                num_heard = self._random.randrange(3) if number % 3 == 0 else None
                while not await self._is_served(say(*key), key, num_heard):
                    self._report.num_full += 1

    async def _is_served(self, audio: AsyncGenerator[Pcm], key: tuple[str, int], num_heard: int | None) -> bool:
        """Listen, and stop after `num_heard` pieces of audio (None: all); False when the server was full."""
        started, heard = time.monotonic(), [np.zeros(0, np.int16)]
        try:
            async for pcm in audio:
                if len(heard) == 1:
                    self._report.first_byte_s[self._kind].append(time.monotonic() - started)
                heard.append(pcm)
                if num_heard is not None and len(heard) > num_heard:
                    break
        except EngineFull:
            await asyncio.sleep(1.0)
            return False
        finally:
            await audio.aclose()
        if num_heard is None:
            self._report.compare(self._kind, np.concatenate(heard), self._expected[key])
        else:
            self._report.num_cancelled += 1
        return True


@contextlib.asynccontextmanager
async def silent_neighbour(engine: Engine) -> AsyncIterator[None]:
    """An utterance that holds a slot and never says anything."""
    async with engine.open(realtime=False) as speech:
        writing = asyncio.create_task(write_blanks(speech))
        try:
            yield
        finally:
            writing.cancel()
            await asyncio.wait([writing])


async def write_blanks(speech: Speech) -> None:
    """Until it is cancelled."""
    while True:
        speech.push_text(" ")
        await asyncio.sleep(5)


def watched(work: Iterator[int], server: ServerProcess, report: Report) -> Iterator[int]:
    """The work, with the server's memory noted now and then."""
    process = psutil.Process(server.pid)
    for number in work:
        if number % 20 == 0:
            report.memory_bytes.append(process.memory_info().rss)
        yield number


async def test_64_clients_hear_what_each_would_hear_alone(server: ServerProcess, no_leaked_tasks: None) -> None:
    report = Report()
    async with Engine.connect(server.url) as remote, silent_neighbour(remote):
        # With a neighbour the vocoder windows have the size that they have under load: of another size, samples
        # differ by 1e-7, and one in a thousand by one step of 16 bits.
        expected = await alone(remote)
        work = watched(iter(range(NUM_UTTERANCES)), server, report)
        clients = [Client(server.url, number, expected, report) for number in range(NUM_CLIENTS)]
        started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.run(work))
        seconds = time.monotonic() - started
    show(report, seconds)
    assert sum(report.differences.values()) + report.num_cancelled == NUM_UTTERANCES
    assert report.num_cancelled == -(-NUM_UTTERANCES // 3)
    # What is streamed to a listener is cut into windows by the clock, so there a last bit may differ.
    assert set(report.differences) <= {("websocket", 0), ("/tts", 0), ("/tts_stream", 0), ("/tts_stream", 1)}
    check_memory(report.memory_bytes)
    await check_server(server, report)


def show(report: Report, seconds: float) -> None:
    print(f"\n{NUM_UTTERANCES} utterances of {NUM_CLIENTS} clients in {seconds:.1f} s, {report.num_full} times full")
    for kind, times in report.first_byte_s.items():
        p50, p95 = np.percentile(times, [50, 95])
        print(f"{kind}: first byte p50 {p50:.3f} s, p95 {p95:.3f} s")
    print(f"finished, by furthest sample: {dict(report.differences)}; cancelled: {report.num_cancelled}")
    print(f"memory of the server: {', '.join(f'{rss / 2**20:.0f}' for rss in report.memory_bytes)} MiB")


def check_memory(rss: list[int]) -> None:
    """Flat from the second quarter on: before, every socket and slot is used for the first time."""
    warm = rss[len(rss) // 4 :]
    assert max(warm[len(warm) // 2 :]) - max(warm[: len(warm) // 2]) < 8 * 2**20


async def check_server(server: ServerProcess, report: Report) -> None:
    """Nothing of it is left, and nothing but "full" went wrong."""
    figures = await scrape(server.url)
    assert figures["xtts_streams"] == 0
    errors = Counter({name: value for name, value in figures.items() if name.startswith("xtts_errors_total")})
    assert errors == Counter({'xtts_errors_total{code="engine_full"}': report.num_full} if report.num_full else {})
    assert not [line for line in server.log.read_text().splitlines() if "Traceback" in line or "ERROR" in line]
