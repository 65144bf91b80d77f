"""Plain HTTP around the engine: is it alive, can it take a stream, which voices are there, who may ask.

In: requests. Out: JSON. Written against `Engine`; it knows no model and no settings.
"""

from __future__ import annotations

import hmac

from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from xtts_rtc.api import Engine
from xtts_rtc.errors import Unauthorized
from xtts_rtc.http_answer import error_response

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/metrics", "/", "/page/"})
"""Answered without a key: load balancers and scrapers have none, and the page asks for it. A last slash: all below."""


class RequireKey:
    """ASGI middleware: every path but `OPEN_PATHS` needs ``Authorization: Bearer <key>``; else 401."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._expected = f"Bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] not in ("http", "websocket") or path in OPEN_PATHS or path.startswith("/page/"):
            await self._app(scope, receive, send)
            return
        given = HTTPConnection(scope).headers.get("authorization", "").encode()
        if hmac.compare_digest(given, self._expected):
            await self._app(scope, receive, send)
            return
        refusal = error_response(Unauthorized("the key is missing or wrong; send it as 'Authorization: Bearer KEY'"))
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(refusal)
        else:
            await refusal(scope, receive, send)


def status_routes(engine: Engine) -> list[Route]:
    """`/healthz` (alive), `/readyz` (200 or 503, with the load) and `GET /v1/voices`."""

    async def healthz(request: Request) -> JSONResponse:
        return JSONResponse({"alive": True})

    async def readyz(request: Request) -> JSONResponse:
        status = await engine.status()
        body = {
            "ready": status.is_ready,
            "streams": status.num_streams,
            "max_streams": status.max_streams,
            "load": status.load,
            "reason": status.reason,
        }
        return JSONResponse(body, status_code=200 if status.is_ready else 503)

    async def voices(request: Request) -> JSONResponse:
        return JSONResponse({"voices": [{"id": voice} for voice in await engine.voices()]})

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/v1/voices", voices)]


__all__ = ["OPEN_PATHS", "RequireKey", "status_routes"]
