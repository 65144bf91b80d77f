"""The real voice in a real room: a recogniser on the other side understands it, also up to an interruption."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator

import pytest

pytest.importorskip("livekit.agents")
pytest.importorskip("moonshine_voice")

from tests.room.conftest import WORKER, working
from xtts_rtc.demo.caller import Caller, calling
from xtts_rtc.demo.ears import HZ
from xtts_rtc.demo.livekit_server import RoomServer, free_port, running, wait_for_port
from xtts_rtc.demo.recogniser import Recogniser, share_heard, words
from xtts_rtc.server_status import server_status

pytestmark = [pytest.mark.net, pytest.mark.slow]

TEXT = (
    "My brother works in a small office near the station. She walked to the garden and picked some flowers. "
    "Only a few seats are left in the front row. There are three new voice messages in your inbox. "
    "You can freeze your membership for one month."
)
"""Without a room, five seeds of the embedded voice: 2 of 225 of these words are misheard."""
ENOUGH_OF_ALL, ENOUGH_OF_A_PART = 0.8, 0.7
"""Shares of words. Operators and seeds differ from machine to machine and a part has about 18 words, of which three may
be misheard by chance; another sentence shares less than a third of them."""
SERVE = "from xtts_rtc.cli import main; raise SystemExit(main())"


@pytest.fixture(scope="module")
def engine_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """`xtts-rtc serve` with the embedded voice."""
    port = free_port()
    log = tmp_path_factory.mktemp("engine") / "engine.log"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("XTTS_")}
    command = [sys.executable, "-c", SERVE, "serve", "--host", "127.0.0.1", "--port", str(port)]
    with running(command, log, {**clean, "XTTS_MODEL": "embedded", "XTTS_DEVICE": "cpu"}):
        wait_for_port(port, limit_s=60)
        yield port


@pytest.fixture(scope="module")
def worker(room_server: RoomServer, engine_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    with working(WORKER, "start", room_server, engine_port, log):
        yield


@pytest.fixture
async def caller(room_server: RoomServer, worker: None) -> AsyncIterator[Caller]:
    async with calling(room_server) as caller:
        yield caller


@pytest.fixture(scope="module")
def recogniser() -> Iterator[Recogniser]:
    made = Recogniser()
    yield made
    made.close()


async def test_the_words_of_all_segments_are_heard(
    caller: Caller, recogniser: Recogniser, capsys: pytest.CaptureFixture[str]
) -> None:
    concealed, turns = 1, 0
    while concealed and turns < 3:  # what else the machine does can cost a packet; a voice that stutters always does
        turns += 1
        started = time.time()
        before = await caller.reception()
        await caller.order("reply", text=TEXT, interval_s=0.1)
        first = await caller.until_loud(started)
        last = await caller.until_quiet()
        after = await caller.reception()
        report = await caller.order("report")
        concealed, received = after[0] - before[0], after[1] - before[1]
    heard = recogniser.words(caller.pcm(first - 0.1, last + 0.1), HZ)
    share = share_heard(words(TEXT), heard)
    with capsys.disabled():
        print(
            f"\nroom, embedded voice: heard {1000 * (first - started):.0f} ms after the order, "
            f"LLM ended after {1000 * (report['llm_ended'] - started):.0f} ms, {last - first:.1f} s of speech, "
            f"{share:.0%} of the words, concealed {concealed} of {received} samples\n"
            f"  heard: {' '.join(heard)}"
        )
    assert first < report["llm_ended"]
    assert share >= ENOUGH_OF_ALL
    assert concealed == 0


async def test_what_was_said_before_the_interruption_is_heard_and_nothing_after_it(
    caller: Caller, engine_port: int, recogniser: Recogniser, capsys: pytest.CaptureFixture[str]
) -> None:
    started = time.time()
    await caller.order("reply", text=TEXT, interval_s=0.01)
    first = await caller.until_loud(started)
    await asyncio.sleep(5.0)
    times = await caller.order("interrupt")
    cut = times["interrupted"]
    status = await asyncio.to_thread(server_status, f"http://127.0.0.1:{engine_port}")
    checked_ms = 1000 * (time.time() - cut)
    await asyncio.sleep(1.0)
    late_ms = 1000 * (max(caller.loud_times(first)) - cut)
    heard = recogniser.words(caller.pcm(first - 0.1, cut + 0.15), HZ)
    # How far it got is not known exactly, and the last word may be cut in two: the best prefix counts.
    prefixes = [words(TEXT)[:count] for count in range(max(1, len(heard) - 3), len(heard) + 3)]
    share = max(share_heard(prefix, heard) for prefix in prefixes)
    with capsys.disabled():
        print(
            f"\nroom, embedded voice: {len(heard)} words before the cut, {share:.0%} of them right, last sound "
            f"{late_ms:.0f} ms after it, engine has {status.num_streams} streams {checked_ms:.0f} ms after it\n"
            f"  heard: {' '.join(heard)}"
        )
    assert 6 <= len(heard) < len(words(TEXT)) - 5
    assert share >= ENOUGH_OF_A_PART
    assert late_ms <= 150
    assert status.num_streams == 0
