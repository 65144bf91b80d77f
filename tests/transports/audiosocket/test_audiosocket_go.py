"""A foreign peer: a phone built on the Go library of AudioSocket's authors calls the real voice."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from tests.transports.audiosocket.phone import LOUD, until
from xtts_rtc.api import Engine
from xtts_rtc.audio.frames import to_int16
from xtts_rtc.transports.audiosocket import Announcer, AudioSocketServer, Call, Digit, Playback, answering
from xtts_rtc.types import Float32, SamplingParams

pytestmark = [pytest.mark.net, pytest.mark.slow]

SAMPLING = SamplingParams(seed=5)
GREETING = "My brother works in a small office near the station. She walked to the garden and picked some flowers."
LONG = " ".join([GREETING] * 4)


@pytest.fixture(scope="module")
def go_phone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built from its locked modules."""
    go = shutil.which("go")
    assert go, "the Go toolchain is needed, as for the LiveKit server: put go on the PATH"
    built = tmp_path_factory.mktemp("go") / "phone"
    source = Path(__file__).with_name("go_peer")
    done = subprocess.run(
        [go, "build", "-mod=readonly", "-o", str(built), "."], cwd=source, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return built


@pytest.fixture(scope="module")
def loaded() -> Iterator[Engine]:
    engine = Engine.load(model="embedded", device="cpu", vocoder="onnxruntime-fp32")
    yield engine
    engine.close()


@pytest.fixture
async def engine(no_leaked_tasks: None, loaded: Engine) -> AsyncIterator[Engine]:
    yield loaded
    await until(lambda: not loaded._speeches or all(one.is_idle for one in loaded._speeches))  # type: ignore[attr-defined]


@dataclass(slots=True)
class Conversation:
    """What the Go program told and heard."""

    events: list[dict[str, Any]]
    pcm: np.ndarray[Any, np.dtype[np.int16]]

    def times(self, what: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([event["ms"] for event in self.events if event["what"] == what])

    def loud_times(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        frames = self.pcm[: len(self.pcm) // 160 * 160].reshape(-1, 160).astype(np.float64)
        return self.times("audio")[np.sqrt(np.mean(frames**2, axis=1)) > LOUD]


async def converse(phone: Path, server: AudioSocketServer, folder: Path, *arguments: str) -> Conversation:
    heard = folder / "heard.raw"
    process = await asyncio.create_subprocess_exec(
        str(phone), "-addr", f"127.0.0.1:{server.port}", "-heard", str(heard), *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            told, failed = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, failed.decode()
    events = [json.loads(line) for line in told.splitlines()]
    return Conversation(events, np.frombuffer(heard.read_bytes(), "<i2"))


async def spoken_alone(engine: Engine, text: str) -> Float32:
    async with engine.open(sampling=SAMPLING, sample_rate=8_000) as speech:
        speech.push_text(text)
        speech.end_input()
        return np.concatenate([chunk.pcm async for chunk in speech])


async def test_a_whole_call_is_paced_heard_sample_for_sample_and_understood(
    engine: Engine, go_phone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_id = uuid.uuid4()
    seen: list[Call] = []
    announcer = Announcer(greeting=GREETING, sampling=SAMPLING)

    async def answer(call: Call) -> None:
        seen.append(call)
        await announcer(call)

    async with answering(engine, answer) as server:
        for _ in range(3):  # again when the machine stood still for a tenth of a second, which the server counts
            call = await converse(go_phone, server, tmp_path, "-id", str(call_id))
            assert seen[-1].id == call_id
            if not seen[-1].num_skips and not seen[-1].num_underruns:
                break
    assert call.events[-1]["what"] == "hangup", "the library understood the end"
    assert {event["bytes"] for event in call.events if event["what"] == "audio"} == {320}
    at = call.times("audio")
    gaps, drift = np.diff(at), at - at[0] - np.arange(len(at)) * 20
    wanted = to_int16(await spoken_alone(engine, GREETING)).astype(int)
    start = int(np.flatnonzero(call.pcm)[0]) - int(np.flatnonzero(wanted)[0])
    got = call.pcm[start : start + len(wanted)].astype(int)
    with capsys.disabled():
        print(
            f"\nGo peer: {len(at)} frames, median gap {np.median(gaps):.2f} ms, drift {drift[-1]:+.1f} ms at the end,"
            f" largest difference {np.abs(got - wanted).max()} of 32768"
        )
    assert np.median(gaps) == pytest.approx(20, abs=0.5)
    assert abs(drift[-1]) < 20
    assert len(got) == len(wanted) and np.abs(got - wanted).max() <= 1, "windows differ by rounding at most"
    assert not call.pcm[:start].any() and not call.pcm[start + len(wanted) :].any()
    _is_understood(call.pcm)


def _is_understood(pcm: np.ndarray[Any, np.dtype[np.int16]]) -> None:
    pytest.importorskip("moonshine_voice")
    from xtts_rtc.demo.recogniser import Recogniser, share_heard, words

    recogniser = Recogniser()
    try:
        heard = recogniser.words(pcm.astype(np.float32) / np.float32(32_768), 8_000)
    finally:
        recogniser.close()
    assert share_heard(words(GREETING), heard) >= 0.8, heard


async def test_the_caller_speaks_up_and_the_real_voice_stops(
    engine: Engine, go_phone: Path, tmp_path: Path, caller_voice: Float32, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "say.raw").write_bytes(to_int16(caller_voice).astype("<i2").tobytes())
    ended: list[Playback] = []

    async def answer(call: Call) -> None:
        ended.append(await call.say(LONG, sampling=SAMPLING))

    async with answering(engine, answer) as server:
        call = await converse(
            go_phone, server, tmp_path, "-id", str(uuid.uuid4()), "-say", str(tmp_path / "say.raw"), "-wait", "2s"
        )
    (began,) = call.times("speak")
    last = call.loud_times()[-1]
    assert ended[0].metrics is not None and ended[0].metrics.cancel_to_idle_ms is not None
    with capsys.disabled():
        print(
            f"\nGo peer: last sound {last - began:.0f} ms after the caller's first frame,"
            f" engine idle {ended[0].metrics.cancel_to_idle_ms:.1f} ms after the cut"
        )
    assert ended[0].is_interrupted and call.events[-1]["what"] == "hangup"
    assert len(call.loud_times()) > 25, "it was speaking"
    assert last - began < 300, "its first frame leaves 20 ms later, a decision takes up to 200 ms, a frame is 20 ms"
    assert ended[0].metrics.cancel_to_idle_ms < 250, "a step of the GPT, a window of the vocoder"


async def test_keys_reach_the_handler_and_choose_what_is_said(engine: Engine, go_phone: Path, tmp_path: Path) -> None:
    pressed: list[str] = []

    async def answer(call: Call) -> None:
        while len(pressed) < 3:
            event = await call.next_event()
            if isinstance(event, Digit):
                pressed.append(event.digit)

    async with answering(engine, answer) as server:
        call = await converse(go_phone, server, tmp_path, "-id", str(uuid.uuid4()), "-digits", "7*#")
    assert pressed == ["7", "*", "#"]
    assert call.events[-1]["what"] == "hangup"


async def test_a_go_caller_who_hangs_up_stops_the_real_engine(engine: Engine, go_phone: Path, tmp_path: Path) -> None:
    ended: list[str] = []

    async def answer(call: Call) -> None:
        try:
            await call.say(LONG, sampling=SAMPLING)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with answering(engine, answer) as server:
        call = await converse(go_phone, server, tmp_path, "-id", str(uuid.uuid4()), "-leave", "1500ms")
        await until(lambda: server.num_calls == 0)
    assert ended == ["cancelled"]
    assert call.events[-1]["what"] == "closed", "the socket is closed in answer"
    assert len(call.loud_times()) > 10
