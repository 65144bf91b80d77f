"""What a caller may choose in the middle of a call, and what it is told."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("livekit.agents")

from livekit.plugins import xtts
from tests.fakes import PlainSegmenter, tone_engine
from xtts_rtc.api import Engine
from xtts_rtc.demo.session import Conversation
from xtts_rtc.demo.wishes import Wishes
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.errors import EngineUnavailable, UnknownLanguage


def segmenter_of(language: str) -> PlainSegmenter:
    if language not in ("en", "de"):
        raise UnknownLanguage(f"{language!r} is no language of this model")
    return PlainSegmenter()


def engine() -> Engine:
    return tone_engine(ToneBackend(), voices=("anna", "default"), make_segmenter=segmenter_of)  # type: ignore[arg-type]


class Told(list[dict[str, Any]]):
    def tell(self, kind: str, **values: object) -> None:
        self.append({"type": kind, **values})


async def test_an_engine_knows_the_languages_it_speaks() -> None:
    async with engine() as made:
        assert made.languages() == ["en", "de"]


@pytest.mark.parametrize(
    ("wish", "possible", "codes"),
    [
        ({"voice": "anna", "language": "de"}, {"voice": "anna", "language": "de"}, []),
        ({}, {}, []),
        ({"voice": "nobody", "language": "de"}, {"language": "de"}, ["voice_not_found"]),
        ({"voice": "anna", "language": "fr"}, {"voice": "anna"}, ["unknown_language"]),
        ({"voice": 7, "language": ["de"]}, {}, []),
    ],
)
async def test_what_cannot_be_had_is_told_and_the_rest_is_fulfilled(
    wish: dict[str, object], possible: dict[str, str], codes: list[str]
) -> None:
    told = Told()
    async with engine() as made:
        assert await Wishes(made, told.tell).possible(wish) == possible
    assert [event["code"] for event in told] == codes


async def test_an_engine_that_is_out_of_reach_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone() -> list[str]:
        raise EngineUnavailable("the engine server cannot be reached")

    told = Told()
    async with engine() as made:
        monkeypatch.setattr(made, "voices", gone)
        assert await Wishes(made, told.tell).possible({"voice": "anna"}) == {}
    assert [event["code"] for event in told] == ["engine_unavailable"]


async def test_a_wish_in_the_call_is_for_the_next_sentence_and_a_flood_of_them_is_dropped() -> None:
    told = Told()
    async with engine() as made:
        tts = xtts.TTS(voice="default", language="en", engine=made)
        session, agent = SimpleNamespace(tts=tts), Conversation("en", instructions="")
        wishes = Wishes(made, told.tell)
        wishes.take({"type": "something else", "voice": "anna"})
        for _ in range(1000):
            wishes.take({"type": "choose", "voice": "anna", "language": "de"})
        fulfilling = asyncio.create_task(wishes.fulfil(session, agent))  # type: ignore[arg-type]
        async with asyncio.timeout(2):
            while not told:
                await asyncio.sleep(0.01)
        fulfilling.cancel()
        await asyncio.wait([fulfilling])
        assert (tts._opts.voice, tts._opts.language, agent.language) == ("anna", "de", "de")
        await tts.aclose()
    assert told[0] == {"type": "chosen", "voice": "anna", "language": "de"}
    assert len(told) <= 8
