"""One HTTP connection that cannot be held open by sending its header slowly, by sending nothing, or by not reading.

uvicorn's own protocol limits the header's size and the pause between requests, not the time a header takes, and
waits for ever until an answer is read.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus

from uvicorn.protocols.http.h11_impl import H11Protocol


def guarded_protocol(*, header_s: float, unread_s: float, max_connections: int) -> type[H11Protocol]:
    """A protocol class for `uvicorn.Config(http=...)`.

    header_s: how long a request's header may take from the connection or from its first byte on.
    unread_s: a peer that reads nothing of its answer for so long is dropped; the speech was ended before.
    max_connections: a further one is told 503 and closed.
    """

    class GuardedProtocol(H11Protocol):
        _header_timer: asyncio.TimerHandle | None = None
        _unread_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > max_connections:
                transport.write(
                    _refusal(
                        HTTPStatus.SERVICE_UNAVAILABLE,
                        "engine_unavailable",
                        "too many connections; try again in a moment",
                    )
                )
                transport.close()
                return
            self._header_timer = self.loop.call_later(header_s, self._end_slow_header)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            self._stop_unread_timer()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            super().data_received(data)
            if not self._waits_for_header():
                self._stop_timer()
            elif self._header_timer is None:
                self._header_timer = self.loop.call_later(header_s, self._end_slow_header)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._unread_timer = self.loop.call_later(unread_s, self._end_unread)

        def resume_writing(self) -> None:
            self._stop_unread_timer()
            super().resume_writing()

        def send_400_response(self, msg: str) -> None:
            text = "this is not HTTP/1.1, or its header is too long"
            self.transport.write(_refusal(HTTPStatus.BAD_REQUEST, "invalid_request", text))
            self.transport.close()

        def _waits_for_header(self) -> bool:
            if self.transport.get_protocol() is not self:  # it became a WebSocket
                return False
            return self.cycle is None or self.cycle.response_complete

        def _end_slow_header(self) -> None:
            self._header_timer = None
            if self._waits_for_header() and not self.transport.is_closing():
                text = f"the header did not arrive within {header_s:g} s"
                self.transport.write(_refusal(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", text))
                self.transport.close()

        def _stop_timer(self) -> None:
            if self._header_timer is not None:
                self._header_timer.cancel()
                self._header_timer = None

        def _end_unread(self) -> None:
            self._unread_timer = None
            if self.transport.get_protocol() is self:
                self.transport.abort()  # a close would wait for the peer as well

        def _stop_unread_timer(self) -> None:
            if self._unread_timer is not None:
                self._unread_timer.cancel()
                self._unread_timer = None

    return GuardedProtocol


def _refusal(status: HTTPStatus, code: str, text: str) -> bytes:
    body = json.dumps({"error": text, "code": code})
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return (head + body).encode()


__all__ = ["guarded_protocol"]
