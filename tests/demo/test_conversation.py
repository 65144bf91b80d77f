"""An agent's session over real WebRTC: a recorded caller asks, the agent answers, and is interrupted."""

from __future__ import annotations

import asyncio
import gc
import statistics
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

pytest.importorskip("livekit.agents")

from livekit.agents import AgentSession

from tests.demo.conftest import HZ, line_to, scripted_kit, spoken
from tests.fakes import tone_engine
from xtts_rtc.api import Engine
from xtts_rtc.demo.llm import load_llm
from xtts_rtc.demo.phone import Phone, phoning
from xtts_rtc.demo.recogniser import Recogniser, share_heard, words
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.settings import AgentSettings
from xtts_rtc.transports.webrtc import Calls, Peer

pytestmark = [pytest.mark.net, pytest.mark.slow]

QUESTION = "What is the capital of France?"
ANSWER = "Only a few seats are left in the front row. There are three new voice messages in your inbox."
LONG = (
    "The weather is fine today, and the streets are full of people. Everybody walks slowly along the river. "
    "Later in the evening the rain may come back again."
)
SECOND = "The train leaves at eight in the morning."


@pytest.fixture(scope="module")
def recogniser() -> Iterator[Recogniser]:
    made = Recogniser()
    yield made
    made.close()


async def ask(phone: Phone, text: str) -> float:
    """Say it; the time of its last sound."""
    phone.mouth.say(await asyncio.to_thread(spoken, text))
    return await heard_out(phone)


async def heard_out(phone: Phone) -> float:
    while phone.mouth.is_busy:
        await asyncio.sleep(0.01)
    return max(frame.at for frame in phone.mouth.spoken if frame.is_loud)


async def test_a_caller_asks_and_hears_the_answer(
    embedded_engine: Engine, recogniser: Recogniser, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        scripted_kit(embedded_engine, ANSWER) as (kit, model),
        line_to(kit) as (_, exchange),
        phoning(exchange) as phone,
    ):
        await phone.until_event("ready")
        asked = await ask(phone, QUESTION)
        first = await phone.until_loud(asked)
        said = await phone.until_event("said")
        last = await phone.until_quiet(0.6)
        turn = await phone.until_event("turn")
    understood = [event["text"] for event in phone.events if event["type"] == "caller" and event["is_final"]]
    heard = recogniser.words(phone.pcm(first - 0.1, last + 0.1), HZ)
    share = share_heard(words(ANSWER), heard)
    with capsys.disabled():
        steps = ", ".join(f"{name[:-3]} {value:.0f}" for name, value in turn.items() if name.endswith("_ms"))
        print(
            f"\ncall: answer at the caller's ear {1e3 * (first - asked):.0f} ms after the question ({steps}), "
            f"{share:.0%} of the words\n  heard: {' '.join(heard)}"
        )
    assert share_heard(words(QUESTION), words(" ".join(understood))) >= 0.6  # it mishears a word now and then
    assert [words(text) for text in model.asked] == [words(" ".join(understood))]
    assert (said["text"].strip(), said["is_cut"]) == (ANSWER, False)
    assert "".join(event["delta"] for event in phone.events if event["type"] == "spoken").split() == ANSWER.split()
    assert share >= 0.7
    parts = [turn[f"{name}_ms"] for name in ("end_of_turn", "llm_first_token", "first_clause", "first_audio", "heard")]
    assert sum(parts) == pytest.approx(turn["total_ms"], abs=1)
    assert (
        turn["total_ms"] < 1e3 * (first - asked) < turn["total_ms"] + 900
    )  # the quiet ends of both sentences, and the wire


async def test_a_caller_who_speaks_up_is_heard_and_the_old_answer_is_gone(
    embedded_engine: Engine, recogniser: Recogniser, capsys: pytest.CaptureFixture[str]
) -> None:
    interruption = spoken("Stop. When does the train leave?")
    async with (
        scripted_kit(embedded_engine, LONG, SECOND) as (kit, model),
        line_to(kit) as (_, exchange),
        phoning(exchange) as phone,
    ):
        await phone.until_event("ready")
        asked = await ask(phone, QUESTION)
        await phone.until_loud(asked)
        began = await phone.until_event("turn")
        await asyncio.sleep(2.5)
        before = time.time()
        phone.mouth.say(interruption)
        cut = await phone.until_event("cut", since=before)
        said = await phone.until_event("said", since=before)
        asked = await heard_out(phone)
        onset = next(frame.at for frame in phone.mouth.spoken if frame.at > before and frame.is_loud)
        second = await phone.until_loud(asked)
        await phone.until_event("said", since=said["at"])
        last = await phone.until_quiet(0.6)
    gone = [at for at in phone.loud_times(onset) if at < second]
    silent_ms = 1e3 * (max(gone) - onset)
    heard = recogniser.words(phone.pcm(second - 0.1, last + 0.1), HZ)
    with capsys.disabled():
        print(
            f"\ncall: caller's voice to the agent's last sound at the caller's ear {silent_ms:.0f} ms "
            f"(the caller's jitter buffer is 80), {cut['after_ms']:.0f} ms after it was noticed; "
            f"heard of the first answer: {said['text']!r}\n  then: {' '.join(heard)}"
        )
    assert said["is_cut"]
    assert 1_000 < cut["position_ms"] < 1e3 * (cut["at"] - began["at"]) + 100
    assert LONG.startswith(said["text"].strip())
    assert 3 <= len(said["text"].split()) < len(LONG.split())
    assert max(gone) < asked  # while the caller still speaks; the figure is printed
    assert share_heard(words(SECOND), heard) >= 0.7
    assert share_heard(words(LONG), heard) < 0.2
    assert "train" in words(model.asked[-1])


async def test_the_packaged_language_model_answers(embedded_engine: Engine, recogniser: Recogniser) -> None:
    pytest.importorskip("xllamacpp")
    async with scripted_kit(embedded_engine, "") as (kit, _):
        kit.brain = await asyncio.to_thread(load_llm, AgentSettings(), 1)
        async with line_to(kit, greeting="Hello there.") as (_, exchange), phoning(exchange) as phone:
            greeted = await phone.until_event("said")
            assert greeted["text"] == "Hello there."
            asked = await ask(phone, "Can you hear me well?")
            first = await phone.until_loud(asked)
            said = await phone.until_event("said", since=asked, limit_s=30)
            last = await phone.until_quiet(0.6)
            heard = recogniser.words(phone.pcm(first - 0.1, last + 0.1), HZ)
    assert kit.brain.name == "SmolLM2-135M"
    # Nobody chose these words, and the embedded voice garbles some of the rare ones; another text shares fewer.
    assert share_heard(words(said["text"]), heard) >= 0.3, said["text"]


async def test_an_agent_with_whom_nobody_speaks_says_so_and_hangs_up() -> None:
    tone = ToneBackend(max_streams=4, max_ahead_s=3.0)
    async with tone_engine(tone) as engine, scripted_kit(engine, ANSWER) as (kit, _):
        async with line_to(kit, greeting="Hello.", idle_s=0.5) as (calls, exchange), phoning(exchange) as phone:
            greeted = await phone.until_event("said")
            ended = await phone.until_event("ended", since=greeted["at"])
            async with asyncio.timeout(5):
                while calls.num_calls:
                    await asyncio.sleep(0.01)
    tone.close()
    assert ended["reason"] == "idle"


async def defect(*values: object) -> list[str]:
    raise RuntimeError("a defect")


@pytest.mark.parametrize(("what", "num_logged"), [("microphone", 1), ("wish", 1), ("session", 0)])
async def test_an_agent_that_cannot_go_on_hangs_up_and_the_other_calls_go_on(
    what: str, num_logged: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It stayed on the line, deaf, until the caller hung up."""
    started: list[AgentSession[None]] = []
    closed: list[AgentSession[None]] = []
    start, close = AgentSession.start, AgentSession.aclose

    async def note_start(session: AgentSession[None], *values: object) -> None:
        started.append(session)
        await start(session, *values)  # type: ignore[call-overload]

    async def note_close(session: AgentSession[None]) -> None:
        await close(session)
        closed.append(session)

    monkeypatch.setattr(AgentSession, "start", note_start)
    monkeypatch.setattr(AgentSession, "aclose", note_close)
    tone = ToneBackend(max_streams=4, max_ahead_s=3.0)
    async with tone_engine(tone) as engine, scripted_kit(engine, ANSWER) as (kit, _), line_to(kit) as (calls, exchange):
        async with phoning(exchange) as other, phoning(exchange) as phone:
            await phone.until_event("ready")
            if what == "microphone":
                monkeypatch.setattr(list(calls._peers.values())[-1]._incoming, "recv", defect)
            elif what == "wish":
                monkeypatch.setattr(engine, "voices", defect)
                phone.send('{"type": "choose", "voice": "anna"}')
            else:
                await close(started[-1])  # as it does itself after a few failures of a model
            ended = await phone.until_event("ended")
            async with asyncio.timeout(10):
                while calls.num_calls > 1:
                    await asyncio.sleep(0.01)
            assert (ended["reason"], closed) == ("failed", [started[1]])
            other.send('{"type": "choose", "language": "xx"}')
            assert (await other.until_event("error"))["code"] == "unknown_language"
    tone.close()
    assert [record.exc_text.count("RuntimeError: a defect") for record in caplog.records if record.exc_text] == [
        1
    ] * num_logged


async def test_many_calls_one_after_another_and_four_at_once_leave_nothing_behind(
    capsys: pytest.CaptureFixture[str],
) -> None:
    number = 24
    tone, process = ToneBackend(max_streams=4, max_ahead_s=3.0), psutil.Process()
    async with tone_engine(tone) as engine, scripted_kit(engine, ANSWER) as (kit, _):
        async with line_to(kit, greeting="Hello there, this is a rather long greeting.") as (calls, exchange):
            for _ in range(5):  # what Python, the resampler and FFmpeg keep for good is there by then
                await one_call(calls, exchange)
            before, began = left(process), time.monotonic()
            sizes_mb = [memory_mb(process)]
            for _ in range(number):
                await one_call(calls, exchange)
                sizes_mb.append(memory_mb(process))
            await asyncio.gather(*(one_call(calls, exchange) for _ in range(4)))
            async with asyncio.timeout(10):  # what a call leaves behind must go by itself
                while (after := left(process)) != before:
                    await asyncio.sleep(0.2)
            assert tone.num_streams == 0
    tone.close()
    halves = statistics.median(sizes_mb[: number // 2]), statistics.median(sizes_mb[number // 2 :])
    with capsys.disabled():
        print(
            f"\ncall: {number} sessions and 4 at once in {time.monotonic() - began:.0f} s; threads, tasks, sockets, "
            f"peers {before} -> {after}; memory {sizes_mb[0]:.0f} MB at first, {sizes_mb[-1]:.0f} at last, "
            f"medians of the halves {halves[0]:.1f} and {halves[1]:.1f}"
        )
    assert after == before
    assert halves[1] - halves[0] < 5  # between the medians lie 12 calls


async def one_call(calls: Calls, exchange: object) -> None:
    """Hang up in the middle of the greeting."""
    before = calls.num_calls
    async with phoning(exchange) as phone:  # type: ignore[arg-type]
        await phone.until_loud(0.0)
    async with asyncio.timeout(10):
        while calls.num_calls > before:
            await asyncio.sleep(0.01)


def memory_mb(process: psutil.Process) -> float:
    gc.collect()
    return float(process.memory_info().rss) / 2**20


def left(process: psutil.Process) -> tuple[int, int, int, int]:
    gc.collect()
    threads = [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
    peers = sum(type(thing) is Peer for thing in gc.get_objects())
    return len(threads), len(asyncio.all_tasks()), len(process.net_connections("inet")), peers
