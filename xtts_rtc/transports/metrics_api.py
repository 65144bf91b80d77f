"""`/metrics` for Prometheus, and the count of requests by route and status.

In: scrapes, and every request on its way to another route. Out: the text of `Metrics`. It reads no body.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xtts_rtc.api import Engine
from xtts_rtc.http_answer import route_pattern
from xtts_rtc.metrics import Metrics

_CLIENT_LEFT = 499  # before there was an answer; as nginx counts it
_STATUS = {
    "http.response.start": 0,
    "websocket.http.response.start": 0,
    "websocket.accept": 101,
    "websocket.close": 403,  # what it becomes before an accept
}
"""Messages that settle the status of an answer; 0: it is in the message."""


class CountRequests:
    """ASGI middleware: counts an answer when it begins, by the route's pattern; unknown paths are ``other``.

    Put it outside of what refuses requests, so that refusals are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = _Answer(self._metrics, scope, send)
        try:
            await self._app(scope, receive, answer.send)
        except Exception:
            answer.count(500)
            raise
        answer.count(_CLIENT_LEFT)


class _Answer:
    """One answer on its way out; only its first status counts."""

    def __init__(self, metrics: Metrics, scope: Scope, send: Send) -> None:
        self._metrics = metrics
        self._scope = scope
        self._send = send
        self._is_counted = False

    async def send(self, message: Message) -> None:
        if message["type"] in _STATUS:
            self.count(message.get("status") or _STATUS[message["type"]])
        await self._send(message)

    def count(self, status: int) -> None:
        if not self._is_counted:
            self._is_counted = True
            self._metrics.request(route_pattern(self._scope), status)


def metrics_route(engine: Engine) -> Route:
    """The route of `/metrics`: the figures of an engine and of the server around it."""

    async def metrics(request: Request) -> Response:
        text, content_type = engine.metrics.exposition(await engine.status(), request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": content_type})

    return Route("/metrics", metrics)


__all__ = ["CountRequests", "metrics_route"]
