"""A worker speaks in a room of a real LiveKit server, and is interrupted, as a listener hears it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

pytest.importorskip("livekit.agents")

from tests.fakes import serving, tone_engine
from tests.room.conftest import WORKER, working
from xtts_rtc.api import Engine
from xtts_rtc.demo.caller import Caller, calling
from xtts_rtc.demo.ears import HZ
from xtts_rtc.demo.livekit_server import RoomServer, free_port
from xtts_rtc.engine.tone import ToneBackend, pitch_hz
from xtts_rtc.text.segmenter import Segmenter

pytestmark = [pytest.mark.net, pytest.mark.slow]

STEP_S = 0.02
TEXT = (
    "The weather is fine today, and the streets are full of people. Everybody walks slowly along the river. "
    "A boat goes by with music and lights. Later in the evening the rain may come back again."
)


@pytest.fixture(scope="module")
def engine_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def worker(room_server: RoomServer, engine_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    log = tmp_path_factory.mktemp("worker") / "worker.log"
    with working(WORKER, "start", room_server, engine_port, log):
        yield


@pytest.fixture
def tone() -> Iterator[ToneBackend]:
    backend = ToneBackend(step_s=STEP_S, step_audio_s=0.2, max_ahead_s=3.0, max_streams=4)
    yield backend
    backend.close()


@pytest.fixture
async def engine(tone: ToneBackend, engine_port: int) -> AsyncIterator[Engine]:
    async with tone_engine(tone, make_segmenter=Segmenter) as made, serving(made, port=engine_port):
        yield made


@pytest.fixture
async def caller(room_server: RoomServer, worker: None, engine: Engine) -> AsyncIterator[Caller]:
    async with calling(room_server) as caller:
        yield caller


def share_at(pcm: np.ndarray, hz: float) -> float:
    """The share of the audio's energy within 30 Hz of a frequency, 0 to 1."""
    power = np.abs(np.fft.rfft(pcm)) ** 2
    near = np.abs(np.fft.rfftfreq(len(pcm), 1 / HZ) - hz) < 30
    return float(power[near].sum() / max(power.sum(), 1e-12))


async def test_it_is_heard_before_the_llm_has_ended_and_without_a_gap(
    caller: Caller, capsys: pytest.CaptureFixture[str]
) -> None:
    concealed, turn = 1, 0
    while concealed and turn < 3:  # what else the machine does can cost a packet; an engine that stutters always does
        turn += 1
        before = await caller.reception()
        started = time.time()
        await caller.order("reply", text=TEXT, interval_s=0.1)
        first = await caller.until_loud(started)
        last = await caller.until_quiet()
        after = await caller.reception()
        report = await caller.order("report")
        concealed, received = after[0] - before[0], after[1] - before[1]
    with capsys.disabled():
        print(
            f"\nroom: heard {1000 * (first - started):.0f} ms after the order, "
            f"LLM ended after {1000 * (report['llm_ended'] - started):.0f} ms, {last - first:.1f} s of speech, "
            f"concealed {concealed} of {received} samples, job process {report['rss_mb']:.0f} MB"
        )
    assert first < report["llm_ended"]
    assert concealed == 0
    spoken_s = sum(len(part.strip()) for part in TEXT.replace(". ", ".|").split("|")) / 15
    assert last - first == pytest.approx(spoken_s, abs=0.6)
    assert share_at(caller.pcm(first, last), pitch_hz(turn)) > 0.95
    assert report["torch"] is False
    assert report["rss_mb"] < 400


async def test_an_interrupted_voice_is_silent_at_once_and_its_engine_idle(
    caller: Caller, engine: Engine, tone: ToneBackend, capsys: pytest.CaptureFixture[str]
) -> None:
    cuts_ms, idle_ms = [], []
    for turn in range(1, 4):
        started = time.time()
        await caller.order("reply", text=TEXT, interval_s=0.01)
        first = await caller.until_loud(started)
        await asyncio.sleep(1.0)
        assert tone.num_streams == 1
        idle = asyncio.create_task(until_idle(tone))
        times = await caller.order("interrupt")
        idle_ms.append(1000 * (await idle - times["interrupted"]))
        await asyncio.sleep(0.7)
        late = [at for at in caller.loud_times(first) if at > times["interrupted"]]
        cuts_ms.append(1000 * (max(late, default=times["interrupted"]) - times["interrupted"]))
        assert share_at(caller.pcm(first, times["interrupted"]), pitch_hz(turn)) > 0.95
    with capsys.disabled():
        print(
            f"\nroom: last sound after interrupt {', '.join(f'{cut:.0f}' for cut in cuts_ms)} ms; "
            f"engine idle after {', '.join(f'{idle:.0f}' for idle in idle_ms)} ms (a step is {1000 * STEP_S:.0f} ms)"
        )
    assert max(cuts_ms) <= 150
    assert tone.max_steps_after_cancel <= 1
    assert max(idle_ms) <= 100


async def test_nothing_of_the_cut_utterance_is_heard_in_the_next(caller: Caller) -> None:
    started = time.time()
    await caller.order("reply", text=TEXT, interval_s=0.01)
    await caller.until_loud(started)
    await asyncio.sleep(1.5)
    times = await caller.order("interrupt")
    await caller.order("reply", text="Now something else is said, and nothing but this.", interval_s=0.01)
    first = await caller.until_loud(times["interrupted"] + 0.2)
    last = await caller.until_quiet()
    pcm = caller.pcm(first, last)
    assert share_at(pcm, pitch_hz(2)) > 0.95
    assert share_at(pcm, pitch_hz(1)) < 1e-3
    report = await caller.order("report")
    assert len(report["history"][0]) < len(TEXT)


async def until_idle(tone: ToneBackend) -> float:
    async with asyncio.timeout(10):
        while tone.num_streams:
            await asyncio.sleep(0.002)
    return time.time()
