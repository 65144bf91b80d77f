"""What surrounds every request: its id, its line in the log, the headers of its answer, and its last resort.

In: a request. Out: the same with an id in `REQUEST_ID` and in ``scope["state"]["request_id"]``; its answer with
``X-Request-ID`` and the security headers. An exception that no route expected becomes a 500 in our form here.
Put it outside of everything else.
"""

from __future__ import annotations

import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xtts_rtc.errors import XttsRtcError
from xtts_rtc.guard.context import CALLER, REQUEST_ID
from xtts_rtc.http_answer import ERROR_HANDLERS, route_pattern

HEADER = "X-Request-ID"
PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Content-Security-Policy of a page that sets none of its own: nothing from elsewhere, no inline script."""

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_STARTS = ("http.response.start", "websocket.http.response.start", "websocket.accept")
_CLIENT_LEFT = 499  # before there was an answer; as nginx logs it
_log = logging.getLogger("xtts_rtc.access")


class Envelope:
    """ASGI middleware; a request id is taken from ``X-Request-ID`` when it is 1 to 64 of A-Z a-z 0-9 . _ -"""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _SANE_ID.fullmatch(given) else secrets.token_hex(8)
        REQUEST_ID.set(request_id)
        CALLER.set("")
        scope.setdefault("state", {})["request_id"] = request_id
        began, status = time.monotonic(), _CLIENT_LEFT

        async def label(message: Message) -> None:
            nonlocal status
            if message["type"] in _STARTS:
                status = message.get("status", 101)
                _add_headers(MutableHeaders(scope=message), request_id)
            await send(message)

        try:
            await self._app(scope, receive, label)
        except Exception as error:
            await _rescue(error, scope, receive, label, has_begun=status != _CLIENT_LEFT)
        finally:
            _note(scope, status, 1e3 * (time.monotonic() - began))


async def _rescue(error: Exception, scope: Scope, receive: Receive, send: Send, *, has_begun: bool) -> None:
    """An answer if there is none yet; else the connection is cut by returning, so that nobody takes it for whole."""
    if isinstance(error.__cause__, XttsRtcError):
        error = error.__cause__  # Starlette's complaint that its handler came too late
    if not isinstance(error, XttsRtcError):
        _log.error("the request failed", exc_info=error)
    elif has_begun:
        _log.warning("the answer broke off: %s", error.code)
    if not has_begun and scope["type"] == "http":
        kind = XttsRtcError if isinstance(error, XttsRtcError) else Exception
        response = await ERROR_HANDLERS[kind](Request(scope), error)
        await response(scope, receive, send)


def _add_headers(headers: MutableHeaders, request_id: str) -> None:
    headers[HEADER] = request_id
    headers["X-Content-Type-Options"] = "nosniff"
    if headers.get("content-type", "").startswith("text/html"):
        headers["X-Frame-Options"] = "DENY"
        headers["Referrer-Policy"] = "no-referrer"
        headers.setdefault("Content-Security-Policy", PAGE_POLICY)


def _note(scope: Scope, status: int, duration_ms: float) -> None:
    path = route_pattern(scope)
    method = scope.get("method", "WS")
    _log.info(
        "%s %s %d", method, path, status,
        extra={"method": method, "path": path, "status": status, "duration_ms": round(duration_ms, 1)},
    )  # fmt: skip


__all__ = ["HEADER", "PAGE_POLICY", "Envelope"]
