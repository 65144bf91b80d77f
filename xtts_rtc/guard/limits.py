"""How large a request may be and how long its body may take, enforced while it arrives.

In: requests. Out: the same, or 431, 413 or 408. It counts bytes and looks at none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from xtts_rtc.errors import InvalidRequest, RequestTimeout, TooLarge, XttsRtcError
from xtts_rtc.http_answer import error_response


class _Refused(Exception):
    """Takes the request back from a route that waits for its body."""


class LimitRequest:
    """ASGI middleware: header and path have at most `max_header_bytes`, a body `max_bytes`, all after `timeout_s`.

    `larger` holds other sizes for paths that start so. Nothing over the limit reaches a route, and the
    connection is closed after the refusal: the rest of such a body is not worth receiving.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_header_bytes: int,
        max_bytes: int,
        timeout_s: float,
        larger: Mapping[str, int] | None = None,
    ) -> None:
        self._app = app
        self._max_header_bytes = max_header_bytes
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._larger = dict(larger or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        # uvicorn's own limit is for a header that comes in pieces: one that is there at once passes it.
        if _header_bytes(scope) > self._max_header_bytes:
            await _refuse(_header_too_large(self._max_header_bytes), scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _Body(receive, self._limit(scope["path"]), self._timeout_s)
        try:
            body.check_length(Headers(scope=scope).get("content-length", ""))
        except InvalidRequest as error:
            await _refuse(error, scope, receive, send)
            return
        is_started = False

        async def pass_on(message: Message) -> None:
            nonlocal is_started
            if body.error is None or is_started:
                is_started = is_started or message["type"] == "http.response.start"
                await send(message)

        try:
            await self._app(scope, body.receive, pass_on)
        except (_Refused, ClientDisconnect):  # who left in the middle of a body is no failure of ours
            pass
        if body.error is not None and not is_started:
            await _refuse(body.error, scope, receive, send)

    def _limit(self, path: str) -> int:
        return next((limit for prefix, limit in self._larger.items() if path.startswith(prefix)), self._max_bytes)


class _Body:
    def __init__(self, receive: Receive, max_bytes: int, timeout_s: float) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._deadline = asyncio.get_running_loop().time() + timeout_s
        self._num_bytes = 0
        self._is_whole = False
        self.error: XttsRtcError | None = None

    def check_length(self, declared: str) -> None:
        """Raises TooLarge before a byte is read."""
        if declared.isdigit() and int(declared[:20]) > self._max_bytes:
            raise self._too_large()

    async def receive(self) -> Message:
        if self._is_whole:  # from here on a route only waits for the client to leave
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            self.error = RequestTimeout(f"the body did not arrive within {self._timeout_s:g} s; send it faster")
            raise _Refused from None
        self._num_bytes += len(message.get("body", b""))
        if self._num_bytes > self._max_bytes:
            self.error = self._too_large()
            raise _Refused
        self._is_whole = not message.get("more_body", False)
        return message

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is over the limit of {self._max_bytes:,} bytes for this path; send less")


def _header_bytes(scope: Scope) -> int:
    line = len(scope.get("raw_path") or scope["path"]) + len(scope.get("query_string", b""))
    return line + sum(len(name) + len(value) + 4 for name, value in scope["headers"])


def _header_too_large(max_bytes: int) -> TooLarge:
    error = TooLarge(f"the header and the path are over the limit of {max_bytes:,} bytes; send less")
    error.status = 431
    return error


async def _refuse(error: XttsRtcError, scope: Scope, receive: Receive, send: Send) -> None:
    answer = error_response(error)
    answer.headers["Connection"] = "close"
    if scope["type"] == "websocket":
        await WebSocket(scope, receive, send).send_denial_response(answer)
    else:
        await answer(scope, receive, send)


__all__ = ["LimitRequest"]
