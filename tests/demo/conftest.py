"""Calls to the demo's agent on loopback: kits of models, a line, and what the caller says."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("aiortc")
pytest.importorskip("livekit.agents")

import soxr

from tests.demo.scripted_llm import ScriptedLLM
from xtts_rtc.api import Engine
from xtts_rtc.audio.frames import Int16, to_int16
from xtts_rtc.demo.llm import LanguageModel
from xtts_rtc.demo.peer_session import converse
from xtts_rtc.demo.phone import Exchange
from xtts_rtc.demo.session import Kit
from xtts_rtc.transports.webrtc import Calls, IceOptions

HZ = 48_000


@pytest.fixture(scope="module")
def embedded_engine() -> Iterator[Engine]:
    pytest.importorskip("onnxruntime")
    engine = Engine.load(model="embedded", device="cpu", speakers_dir=Path(__file__).parents[2] / "speakers")
    yield engine
    engine.close()


@functools.cache
def _speaker() -> object:
    from hibari import Hibari

    return Hibari()


@functools.cache
def spoken(text: str) -> Int16:
    """A text in the voice of somebody who is not our engine: int16 [S] at 48 kHz."""
    audio = _speaker()(text, seed=0)  # type: ignore[operator]
    return to_int16(np.asarray(soxr.resample(audio, 24_000, HZ), np.float32))


@contextlib.asynccontextmanager
async def scripted_kit(engine: Engine, *answers: str) -> AsyncIterator[tuple[Kit, ScriptedLLM]]:
    """The demo's models with a language model that says what a test wants."""
    from livekit.agents import inference

    from xtts_rtc.demo.stt import MoonshineSTT
    from xtts_rtc.settings import SamplingSettings, VoiceSettings

    model = ScriptedLLM(*answers)
    activity = inference.VAD(min_silence_duration=0.3)
    ears, brain = MoonshineSTT(), LanguageModel(model, "scripted")
    kit = Kit(engine, ears, brain, activity, VoiceSettings(), SamplingSettings())
    try:
        yield kit, model
    finally:
        await kit.aclose()


@contextlib.asynccontextmanager
async def line_to(
    kit: Kit, *, greeting: str = "", max_calls: int = 4, idle_s: float | None = None
) -> AsyncIterator[tuple[Calls, Exchange]]:
    kit.agent = kit.agent.model_copy(update={"greeting": greeting})
    talk = partial(converse, kit, idle_s=idle_s)
    async with Calls(talk, ice=IceOptions(addresses=("127.0.0.1",)), max_calls=max_calls) as calls:

        async def exchange(offer: str) -> str:
            return (await calls.answer(offer, is_local=True))[1]

        yield calls, exchange
