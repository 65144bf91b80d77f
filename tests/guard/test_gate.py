"""Who may open an utterance, and when: by key, before the engine is there, and when it is about to go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from tests.fakes import hear, tone_engine
from xtts_rtc.api import Engine
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.errors import EngineFull, EngineUnavailable
from xtts_rtc.guard.context import CALLER
from xtts_rtc.guard.gate import GatedEngine
from xtts_rtc.types import Speech


@contextmanager
def asked_by(name: str) -> Iterator[None]:
    token = CALLER.set(name)
    try:
        yield
    finally:
        CALLER.reset(token)


@pytest.fixture
async def engine(no_leaked_tasks: None) -> AsyncIterator[Engine]:
    async with tone_engine(ToneBackend(max_streams=8), max_streams=8) as made:
        yield made


def speak(gate: GatedEngine, name: str, text: str = "One. ") -> Speech:
    with asked_by(name):
        speech = gate.open(realtime=False)
    speech.push_text(text)
    speech.end_input()
    return speech


async def test_a_key_has_its_share_and_leaves_the_rest_to_others(engine: Engine) -> None:
    gate = GatedEngine(engine, max_streams_per_key=2)
    annas = [speak(gate, "anna"), speak(gate, "anna")]
    with pytest.raises(EngineFull, match="'anna' speaks 2 times"):
        speak(gate, "anna")
    text, _ = gate.metrics.exposition(await gate.status())
    assert b'xtts_errors_total{code="engine_full"} 1.0' in text
    assert (await hear(speak(gate, "ben")))[-1].is_final
    await hear(annas[0])
    assert (await hear(speak(gate, "anna")))[-1].is_final
    await annas[1].aclose()
    assert gate.num_unheard == 0


async def test_a_cancelled_or_failed_utterance_gives_its_place_back(engine: Engine) -> None:
    gate = GatedEngine(engine, max_streams_per_key=1)
    for _ in range(3):
        async with speak(gate, "anna", "Long text. " * 100) as speech:
            await anext(aiter(speech))
    with pytest.raises(EngineUnavailable), asked_by("anna"):
        async with gate.open() as speech:
            engine.close()
            await hear(speech)
    assert gate.num_unheard == 0


async def test_without_keys_nobody_is_told_apart(engine: Engine) -> None:
    gate = GatedEngine(engine, max_streams_per_key=1)
    several = [speak(gate, "") for _ in range(3)]
    for speech in several:
        assert (await hear(speech))[-1].is_final


async def test_before_the_engine_is_there_everything_says_so(engine: Engine) -> None:
    gate = GatedEngine()
    status = await gate.status()
    assert not status.is_ready and "loading" in status.reason
    for refused in (gate.voices, gate.voice_problems, lambda: gate.remove_voice("x"), lambda: gate.add_voice("x", b"")):
        with pytest.raises(EngineUnavailable, match="loading"):
            await refused()
    with pytest.raises(EngineUnavailable, match="loading"):
        gate.open()
    gate.let_in(engine)
    assert (await gate.status()).is_ready and await gate.voices() == ["default"]


async def test_a_closed_gate_lets_those_inside_finish(engine: Engine) -> None:
    gate = GatedEngine(engine)
    speech = speak(gate, "anna")
    quiet = asyncio.create_task(gate.wait_until_quiet())
    gate.close_gate()
    with pytest.raises(EngineUnavailable, match="shutting down"):
        gate.open()
    assert not (await gate.status()).is_ready and not quiet.done()
    assert (await hear(speech))[-1].is_final
    await asyncio.wait_for(quiet, 1)
    gate.let_in(engine)  # a load that ends after the signal opens nothing
    with pytest.raises(EngineUnavailable):
        gate.open()
