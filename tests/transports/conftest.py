"""A TTS of the LiveKit plugin over a backend that beeps, in this process and through a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.fakes import serving, tone_engine
from xtts_rtc.engine.tone import ToneBackend


@pytest.fixture
def tone(request: pytest.FixtureRequest) -> Iterator[ToneBackend]:
    backend = ToneBackend(max_streams=4, max_ahead_s=10.0, **getattr(request, "param", {}))
    yield backend
    backend.close()


@pytest.fixture(params=["engine", pytest.param("server", marks=pytest.mark.net)])
async def voice(request: pytest.FixtureRequest, no_leaked_tasks: None, tone: ToneBackend) -> AsyncIterator[Any]:
    xtts = pytest.importorskip("livekit.plugins.xtts")
    async with tone_engine(tone) as engine:
        if request.param == "engine":
            async with xtts.TTS(engine=engine) as made:
                yield made
            return
        async with serving(engine) as port, xtts.TTS(base_url=f"http://127.0.0.1:{port}") as made:
            yield made
