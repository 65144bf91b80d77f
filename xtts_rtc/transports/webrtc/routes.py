"""Calls over HTTP, in the shape of WHIP (RFC 9725), but in both directions.

``POST /call`` with an SDP offer -> 201, the answer, and ``Location: /call/ID``; ``DELETE /call/ID`` hangs up.
The query goes to the call as its options. All candidates are in the answer: there is no PATCH. Keys are the
server's affair; where there are none, an id of 128 random bits keeps others from hanging up.
"""

from __future__ import annotations

import ipaddress

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from xtts_rtc.errors import XttsRtcError
from xtts_rtc.transports.webrtc.calls import Calls

SDP = "application/sdp"
MAX_OFFER_BYTES = 64 * 1024
RETRY_AFTER_S = 5


def call_routes(calls: Calls) -> list[Route]:
    """`POST /call` and `DELETE /call/ID`. Errors are ``{"error", "code"}``: 400, 404, 413, 415, 503."""

    async def begin(request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != SDP:
            return _refusal(415, "not_sdp", f"send the offer as Content-Type: {SDP}")
        offer = bytearray()
        async for part in request.stream():
            offer += part
            if len(offer) > MAX_OFFER_BYTES:
                return _refusal(413, "offer_too_large", f"an offer may have {MAX_OFFER_BYTES} bytes")
        try:
            text = offer.decode()
            call, answer = await calls.answer(text, dict(request.query_params), is_local=_is_local(request))
        except UnicodeDecodeError:
            return _refusal(400, "bad_offer", "the offer is not text")
        except XttsRtcError as error:
            return _refusal(error.status, error.code, error.message)
        return Response(answer, 201, {"Location": f"{request.url.path.rstrip('/')}/{call}"}, SDP)

    async def end(request: Request) -> Response:
        if calls.hang_up(request.path_params["call"]):
            return Response(status_code=200)
        return _refusal(404, "no_such_call", "there is no call of this id; it is over already")

    return [Route("/call", begin, methods=["POST"]), Route("/call/{call}", end, methods=["DELETE"])]


def _is_local(request: Request) -> bool:
    try:
        address = ipaddress.ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # what a server on :: sees of 127.0.0.1
    return bool((mapped or address).is_loopback)


def _refusal(status: int, code: str, message: str) -> JSONResponse:
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else None
    return JSONResponse({"error": message, "code": code}, status, headers)


__all__ = ["MAX_OFFER_BYTES", "RETRY_AFTER_S", "SDP", "call_routes"]
