"""What a request for speech is answered with over HTTP: audio as it is made, or one clear error.

In: an `Engine` and an `Utterance`. Out: Starlette responses that any route may return. The speech is opened
when the server begins to answer and closed before it has answered, so nothing runs that nobody waits for;
when the client goes, it is cancelled at once. It knows no route, no body and no vendor's schema.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from xtts_rtc.api import Engine
from xtts_rtc.audio.encode import Encoder, Encoding
from xtts_rtc.audio.frames import to_int16
from xtts_rtc.errors import (
    EngineUnavailable,
    GenerationFailed,
    InvalidParameter,
    InvalidRequest,
    InvalidText,
    XttsRtcError,
)
from xtts_rtc.types import MAX_UTTERANCE_CHARS, SamplingParams, Speech

RETRY_AFTER_S = 1
"""What a client is told to wait that may try again: speech is short, so a place is soon free."""
_SLICE_S = 0.25
"""Audio that is encoded in one turn of the event loop: MP3 takes about 2 ms for it, a whole chunk 15 ms."""

TEXT_NAMES = ("text", "input")
"""The fields that hold what is to be said: without them there is no request, so 400 and not 422."""
_HTTP_CODES = {400: "invalid_request", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}
_DETAILS = {"There was an error parsing the body": "the body cannot be read: send JSON in UTF-8"}
"""What the framework says of bad bytes, endless digits and endless brackets, in words that tell what to do."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """What is to be said. sample_rate in Hz, one that `encoding` can have; realtime as in `Engine.open`."""

    text: str
    encoding: Encoding
    sample_rate: int
    voice: str = "default"
    language: str = "en"
    sampling: SamplingParams | None = None
    realtime: bool = True


def whole(value: object) -> object:
    """A float without a fraction as an int, anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(whole)]
"""A whole number as JSON knows it: 50 and 50.0 are one, and a strict model would take only the first."""

Seed = Annotated[int, Field(ge=0, le=2**53 - 1), BeforeValidator(whole)]
"""As far as every JSON reader keeps a number exact (RFC 8259, 6): a rounded seed is another take."""


class ErrorBody(BaseModel):
    """What went wrong and what to do, and a name for it that stays."""

    error: str
    code: str


def error_response(error: XttsRtcError) -> Response:
    """``{"error", "code"}`` with the error's status and headers."""
    return JSONResponse(
        {"error": error.message, "code": error.code}, status_code=error.status, headers=error_headers(error)
    )


def error_headers(error: XttsRtcError) -> dict[str, str]:
    """Retry-After where trying again may help, and what to prove oneself with where a key is wanted."""
    if error.retryable:
        return {"Retry-After": str(RETRY_AFTER_S)}
    return {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}


def invalid_body(error: RequestValidationError) -> XttsRtcError:
    """What FastAPI found wrong with a request, in our words and without a word of the request's."""
    first = error.errors()[0]
    names = [str(part) for part in first["loc"] if isinstance(part, str)][1:]
    message = first["msg"].replace("Input should be", "it must be")
    message = message[0].lower() + message[1:]
    if first["type"] == "json_invalid":
        return InvalidRequest(f"the body is not JSON: {first['ctx']['error']}")
    if not names:
        return InvalidRequest("the body must be a JSON object; /docs has its names")
    if names[0] in TEXT_NAMES:
        limit = f"at most {MAX_UTTERANCE_CHARS:,} characters; split it, or send less"
        is_long = first["type"] == "string_too_long"
        return InvalidText(f"{names[0]} must be {limit if is_long else 'a string with something to say'}")
    if first["type"] == "extra_forbidden":
        return InvalidParameter(f"{names[0][:100]!r} is not a parameter here; /docs has their names")
    return InvalidParameter(f"{'.'.join(names)[:100]}: {message}")


async def _answer_known(request: Request, error: Exception) -> Response:
    """Handler for XttsRtcError."""
    assert isinstance(error, XttsRtcError)
    return error_response(error)


async def _answer_invalid(request: Request, error: Exception) -> Response:
    """Handler for RequestValidationError."""
    assert isinstance(error, RequestValidationError)
    return error_response(invalid_body(error))


async def _answer_http(request: Request, error: Exception) -> Response:
    """Handler for what the framework refuses: no such path (404), no such method (405), a body that breaks off."""
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, "http_error")
    text = {404: "there is nothing at this path", 405: "this path has no such method"}
    detail = _DETAILS.get(error.detail, error.detail)
    message = f"{text.get(error.status_code, detail)}; see /docs"
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods_at(request))
    return JSONResponse({"error": message, "code": code}, error.status_code, headers)


def _methods_at(request: Request) -> list[str]:
    """Of all routes with this path: the framework names those of the first."""
    methods = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
    tries = [(method, {**request.scope, "method": method}) for method in methods]
    return [name for name, scope in tries if any(one.matches(scope)[0] is Match.FULL for one in request.app.routes)]


async def _answer_unknown(request: Request, error: Exception) -> Response:
    """Handler for what nobody expected; the framework logs it."""
    return JSONResponse({"error": f"the server failed ({type(error).__name__}); see its log", "code": "error"}, 500)


ERROR_HANDLERS: Mapping[int | type[Exception], Callable[[Request, Exception], Coroutine[Any, Any, Response]]] = {
    XttsRtcError: _answer_known,
    RequestValidationError: _answer_invalid,
    HTTPException: _answer_http,
    Exception: _answer_unknown,
}
"""For an application: every error is answered as `ErrorBody`."""


def route_pattern(scope: Scope) -> str:
    """The path of the route that answers, as it was declared; ``other`` where none does.

    Never the path itself: it may hold anything, spoken text too. FastAPI names only routes of its own in the scope.
    """
    route = scope.get("route")
    if route is None and "endpoint" in scope:
        route = next((r for r in scope["app"].routes if getattr(r, "endpoint", None) is scope["endpoint"]), None)
    return getattr(route, "path", "other")


class SpeechResponse(Response):
    """Speaks one utterance and gives its bytes to `deliver`; an error before that is a refusal.

    refuse makes the answer for an error of our tree. A speech that fails after the answer began leaves it
    without its end: the connection is closed, and a client sees a transfer that was cut off.
    """

    encoder: Encoder
    """Set when the answer begins."""
    num_samples = 0
    """Audio so far."""

    def __init__(
        self, engine: Engine, utterance: Utterance, *, refuse: Callable[[XttsRtcError], Response] = error_response
    ) -> None:
        super().__init__()
        self._engine = engine
        self.utterance = utterance
        self._refuse = refuse
        self._has_begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with asyncio.TaskGroup() as group:
            answer = group.create_task(self._answer(scope, receive, send))
            gone = group.create_task(_until_gone(receive))
            gone.add_done_callback(lambda _: answer.cancel())
            answer.add_done_callback(lambda _: gone.cancel())

    @abstractmethod
    async def deliver(self, speech: Speech, audio: AsyncIterator[bytes], send: Send) -> None:
        """Answer with the audio. Raises what the speech raises, before or after `begin`."""

    async def begin(self, send: Send, headers: dict[str, str]) -> None:
        """Send status 200 and the headers."""
        self._has_begun = True
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})

    async def break_off(self, error: XttsRtcError, send: Send) -> None:
        """The speech failed after `begin`: say so, where the format has words for it."""

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._speak(send)
        except XttsRtcError as error:
            await self._fail(error, scope, receive, send)
        except Exception as error:
            _log.exception("the speech for %s failed", scope.get("path"))
            failure = GenerationFailed(f"the speech failed inside the server ({type(error).__name__})")
            await self._fail(failure, scope, receive, send)

    async def _speak(self, send: Send) -> None:
        wanted = self.utterance
        encoder = self.encoder = wanted.encoding.make(wanted.sample_rate)
        speech = self._engine.open(
            voice=wanted.voice,
            language=wanted.language,
            sampling=wanted.sampling,
            sample_rate=wanted.sample_rate,
            realtime=wanted.realtime,
        )
        async with speech:
            speech.push_text(wanted.text)
            speech.end_input()
            async with aclosing(self._encoded(speech, encoder)) as audio:
                await self.deliver(speech, audio, send)

    async def _encoded(self, speech: Speech, encoder: Encoder) -> AsyncGenerator[bytes]:
        step = round(self.utterance.sample_rate * _SLICE_S)
        is_whole = False
        async for chunk in speech:
            is_whole = chunk.is_final
            pcm = to_int16(chunk.pcm)
            self.num_samples += len(pcm)
            for start in range(0, len(pcm), step):
                if data := encoder.push(pcm[start : start + step]):
                    yield data
                await asyncio.sleep(0)
        if not is_whole:  # a cancel just ends the iteration, and what is cut off must not look complete
            raise EngineUnavailable("the server stopped this speech before its end; try again in a moment")
        if data := encoder.finish():
            yield data

    async def _fail(self, error: XttsRtcError, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._has_begun:
            await self._refuse(error)(scope, receive, send)
            return
        _log.warning("an answer was broken off: %s", error.code)
        await self.break_off(error, send)


class StreamedSpeech(SpeechResponse):
    """The bytes as they are made; the headers leave with the first of them."""

    @property
    def content_type(self) -> str:
        """Of the whole answer."""
        return self.encoder.content_type

    def frame(self, data: bytes) -> bytes:
        """Encoded audio as it goes over the wire."""
        return data

    def last(self, speech: Speech) -> bytes:
        """What follows the audio when all was said."""
        return b""

    async def deliver(self, speech: Speech, audio: AsyncIterator[bytes], send: Send) -> None:
        async for data in audio:
            if not self._has_begun:
                # A proxy that gathers the answer would take away what streaming is for.
                headers = {"Content-Type": self.content_type, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
                await self.begin(send, headers)
            await send({"type": "http.response.body", "body": self.frame(data), "more_body": True})
        await send({"type": "http.response.body", "body": self.last(speech)})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


__all__ = [
    "ERROR_HANDLERS",
    "RETRY_AFTER_S",
    "ErrorBody",
    "Seed",
    "SpeechResponse",
    "StreamedSpeech",
    "Utterance",
    "Whole",
    "error_headers",
    "error_response",
    "invalid_body",
    "route_pattern",
    "whole",
]
