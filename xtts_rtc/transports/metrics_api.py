"""`/metrics` for Prometheus, and the count of requests by route and status.

In: scrapes, and every request on its way to another route. Out: the text of `Metrics`. It reads no body.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xtts_rtc.api import Engine
from xtts_rtc.metrics import Metrics

_CLIENT_LEFT = 499  # before there was an answer; as nginx counts it
_STARTS = ("http.response.start", "websocket.http.response.start")


class CountRequests:
    """ASGI middleware: counts by the route's pattern; paths that no route knows are ``other``.

    Put it outside of what refuses requests, so that refusals are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        status = _CLIENT_LEFT

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] in _STARTS:
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            elif message["type"] == "websocket.close" and status == _CLIENT_LEFT:
                status = 403  # what a close in place of an accept becomes
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            status = 500 if status == _CLIENT_LEFT else status
            raise
        finally:
            self._metrics.request(getattr(scope.get("route"), "path", "other"), status)


def metrics_route(engine: Engine) -> Route:
    """The route of `/metrics`: the figures of an engine and of the server around it."""

    async def metrics(request: Request) -> Response:
        text, content_type = engine.metrics.exposition(await engine.status(), request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": content_type})

    return Route("/metrics", metrics)


__all__ = ["CountRequests", "metrics_route"]
