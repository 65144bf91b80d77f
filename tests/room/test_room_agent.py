"""The worker that users start, `agent.py`, against a real server: it greets, answers, and stops for the next line."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

pytest.importorskip("livekit.agents")

from tests.demo.openai_stub import OpenAIStub
from tests.fakes import loudest_hz, serving, tone_engine
from tests.room.conftest import working
from xtts_rtc.demo.caller import Caller, calling
from xtts_rtc.demo.ears import HZ
from xtts_rtc.demo.livekit_server import RoomServer, free_port
from xtts_rtc.engine.tone import ToneBackend, pitch_hz
from xtts_rtc.text.segmenter import Segmenter

pytestmark = [pytest.mark.net, pytest.mark.slow]

AGENT = Path(__file__).parents[2] / "agent.py"


ANSWER = "This is an answer with many words in it. " * 10


@pytest.fixture
def engine_port() -> int:
    return free_port()


@pytest.fixture
def llm_port() -> int:
    return free_port()


@pytest.fixture
def tone() -> Iterator[ToneBackend]:
    backend = ToneBackend(step_s=0.02, step_audio_s=0.2, max_ahead_s=3.0)
    yield backend
    backend.close()


@pytest.fixture
async def model(llm_port: int) -> AsyncIterator[OpenAIStub]:
    stub = OpenAIStub(ANSWER)
    async with stub.serving(llm_port):
        yield stub


@pytest.fixture
async def engine(tone: ToneBackend, engine_port: int) -> AsyncIterator[None]:
    async with tone_engine(tone, make_segmenter=Segmenter) as made, serving(made, port=engine_port):
        yield


@pytest.fixture
async def worker(
    room_server: RoomServer,
    engine: None,
    engine_port: int,
    llm_port: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[None]:
    # A worker that gets no answer from its engine says that it is full, and the next room gets no agent: so the engine
    # is there first, and its loop stays free.
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{llm_port}/v1")
    with contextlib.ExitStack() as stack:
        await asyncio.to_thread(
            stack.enter_context, working(AGENT, "dev", room_server, engine_port, tmp_path / "agent.log")
        )
        yield


@pytest.fixture
async def caller(room_server: RoomServer, worker: None, model: OpenAIStub) -> AsyncIterator[Caller]:
    async with calling(room_server) as caller:
        yield caller


async def test_it_greets_answers_what_is_written_and_stops_for_the_next_line(
    caller: Caller, model: OpenAIStub, tone: ToneBackend
) -> None:
    await caller.until_loud(0.0)
    await caller.until_quiet()
    assert loudest_hz(caller.pcm(), HZ) == pytest.approx(pitch_hz(1), abs=5)

    await caller.room.local_participant.send_text("Tell me a story.", topic="lk.chat")
    await caller.until_loud(time.time())
    await asyncio.sleep(0.5)
    assert tone.num_streams == 1
    written = time.time()
    await caller.room.local_participant.send_text("Tell me another one.", topic="lk.chat")
    await asyncio.sleep(3.0)
    now = time.time()
    assert loudest_hz(caller.pcm(now - 0.5), HZ) == pytest.approx(pitch_hz(3), abs=5)
    assert loudest_hz(caller.pcm(written - 0.4, written), HZ) == pytest.approx(pitch_hz(2), abs=5)
    assert model.asked == ["Tell me a story.", "Tell me another one."]
    assert tone.num_streams == 1
    assert tone.max_steps_after_cancel <= 1
