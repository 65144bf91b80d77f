from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.types import ASGIApp

from tests.fakes import tone_engine
from xtts_rtc.api import Engine
from xtts_rtc.app import create_app
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.guard.guards import Guards
from xtts_rtc.guard.keys import KeyRing


async def ask(app: ASGIApp, path: str, *, key: str | None = None, kind: str = "http") -> tuple[int, dict[str, Any]]:
    """Status and JSON body of one request."""
    sent: list[Any] = []
    headers = [(b"authorization", f"Bearer {key}".encode())] if key else []
    scope = {
        "type": kind,
        "method": "GET",
        "path": path,
        "headers": headers,
        "query_string": b"",
        "http_version": "1.1",
    }
    if kind == "websocket":
        scope["extensions"] = {"websocket.http.response": {}}

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent[0]["status"], json.loads(sent[1]["body"])


@pytest.fixture
def tone() -> ToneBackend:
    return ToneBackend()


@pytest.fixture
async def engine(no_leaked_tasks: None, tone: ToneBackend) -> AsyncIterator[Engine]:
    async with tone_engine(tone, max_streams=2, voices=("zoe", "adam")) as made:
        yield made


async def test_health_is_told_without_a_key(engine: Engine) -> None:
    app = create_app(engine, guards=Guards(keys=KeyRing({"default": "secret"})))
    assert await ask(app, "/healthz") == (200, {"alive": True})
    assert (await ask(app, "/readyz"))[0] == 200


async def test_ready_tells_the_load_and_full_is_not_ready(engine: Engine) -> None:
    app = create_app(engine)
    first = engine.open()
    status, body = await ask(app, "/readyz")
    assert (status, body["streams"], body["max_streams"], body["load"]) == (200, 1, 2, 0.5)
    second = engine.open()
    status, body = await ask(app, "/readyz")
    assert status == 503 and not body["ready"] and body["load"] == 1.0 and "2" in body["reason"]
    for speech in (first, second):
        await speech.aclose()
    assert (await ask(app, "/readyz"))[1]["load"] == 0.0


async def test_a_dead_engine_is_alive_but_not_ready(engine: Engine, tone: ToneBackend) -> None:
    app = create_app(engine)
    tone.die()
    assert (await ask(app, "/healthz"))[0] == 200
    assert (await ask(app, "/readyz"))[0] == 503


@pytest.mark.parametrize("key", [None, "wrong", "secret ", "sécret"])
@pytest.mark.parametrize(("path", "kind"), [("/v1/voices", "http"), ("/v1/speech", "websocket"), ("/nowhere", "http")])
async def test_everything_else_needs_the_key(engine: Engine, key: str | None, path: str, kind: str) -> None:
    status, body = await ask(
        create_app(engine, guards=Guards(keys=KeyRing({"default": "secret"}))), path, key=key, kind=kind
    )
    assert (status, body["code"]) == (401, "unauthorized")
    assert "secret" not in body["error"]


async def test_the_right_key_opens(engine: Engine) -> None:
    assert (
        await ask(create_app(engine, guards=Guards(keys=KeyRing({"default": "secret"}))), "/v1/voices", key="secret")
    )[0] == 200
