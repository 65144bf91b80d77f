"""Which web pages may ask: our own, and those on a list.

A browser lets any page send simple requests and open WebSockets to any server, this machine's own too, and
only hides the answer from the page. So what speaks or changes something is refused when it comes from a page
of another origin. Programs send no ``Origin`` and are not asked.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from xtts_rtc.errors import Forbidden
from xtts_rtc.http_answer import error_response

_SAFE = ("GET", "HEAD", "OPTIONS")


class RefuseForeignPages:
    """ASGI middleware: 403 for a WebSocket or a changing request from a page that is not of this server.

    `allowed` are further origins, as ``https://example.org``; ``*`` allows all. is_local: the server is for this
    machine only, so a page of ours has an address or ``localhost`` for its host. Another name may be a foreign
    page's whose name server sent the browser here (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str] = (), *, is_local: bool = False) -> None:
        self._app = app
        self._allowed = frozenset(origin.lower() for origin in allowed)
        self._is_local = is_local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_asked = scope["type"] == "websocket" or (scope["type"] == "http" and scope["method"] not in _SAFE)
        if not is_asked or self._may_ask(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        refusal = error_response(
            Forbidden("pages of this origin may not speak here; add it to server.cors_origins to allow it")
        )
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(refusal)
        else:
            await refusal(scope, receive, send)

    def _may_ask(self, headers: Headers) -> bool:
        origin = headers.get("origin", "").lower()
        if not origin or origin in self._allowed or "*" in self._allowed:
            return True
        try:
            page = urlsplit(origin)
        except ValueError:  # http://[
            return False
        # The scheme is not compared: a proxy in front may speak TLS where we do not.
        is_ours = page.netloc == headers.get("host", "").lower() != ""
        return is_ours and (not self._is_local or _is_never_foreign(page.hostname or ""))


def _is_never_foreign(host: str) -> bool:
    """Whether no name server can send a browser elsewhere for it."""
    try:
        ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return True


__all__ = ["RefuseForeignPages"]
