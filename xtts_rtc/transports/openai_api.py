"""`POST /v1/audio/speech` and `GET /v1/models` in the schema of OpenAI's API.

In: OpenAI's request. Out: audio, or server-sent events with audio in them, and errors in OpenAI's form, so that
its own clients raise their proper classes. What the engine cannot do that the schema can is refused with the
parameter's name, never passed over. How audio becomes HTTP is `http_answer`'s.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Coroutine
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xtts_rtc.api import Engine
from xtts_rtc.audio.encode import find_encoding
from xtts_rtc.errors import InvalidParameter, InvalidRequest, UnsupportedMedia, XttsRtcError
from xtts_rtc.http_answer import Seed, StreamedSpeech, Utterance, error_headers, invalid_body
from xtts_rtc.types import LANGUAGES, MAX_UTTERANCE_CHARS, OUTPUT_HZ, SamplingParams, Speech

MODEL = "xtts"
ALIASES = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
"""Names that clients have built in. Whatever is asked for, the one model that was loaded speaks."""
_MIN_SPEED, _MAX_SPEED = 0.5, 2.0
_KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_PARAMS = {"invalid_text": "input", "model_not_found": "model", "voice_not_found": "voice", "invalid_voice_id": "voice"}


class VoiceId(BaseModel):
    """A voice as an object."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    id: str


class SpeechBody(BaseModel):
    """OpenAI's request for speech, and `language` and `seed` of our own."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    model: str = Field(
        description="GET /v1/models lists them; all mean the one that is loaded.",
        json_schema_extra={"enum": [MODEL, *ALIASES]},  # not a Literal: another one is 404 and not 400
    )
    input: str = Field(max_length=MAX_UTTERANCE_CHARS, pattern=r"\S", description="What to say.")
    voice: str | VoiceId = Field(description="The id of a voice: GET /v1/voices lists them.")
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = Field(
        default="mp3", description="pcm is 24 kHz, 16 bit, little-endian."
    )
    speed: float = Field(
        default=1.0,
        ge=_MIN_SPEED,
        le=_MAX_SPEED,
        allow_inf_nan=False,
        description="OpenAI's 0.25 to 4 is not in reach.",
    )
    stream_format: Literal["audio", "sse"] = "audio"
    instructions: str | None = Field(
        default=None, max_length=0, description="The model takes none; a text here is refused."
    )
    language: Literal[LANGUAGES] = "en"  # type: ignore[valid-type]
    seed: Seed | None = Field(default=None, description="Equal seeds give equal audio; null: any.")


class Model(BaseModel):
    """One model."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "xtts-rtc"


class Models(BaseModel):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[Model]


class OpenAIError(BaseModel):
    """What went wrong, in OpenAI's form."""

    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIErrorBody(BaseModel):
    """The body of a refusal."""

    error: OpenAIError


class OpenAIRoute(APIRoute):
    """Takes JSON bodies only, and refuses in OpenAI's form: 400 for whatever is wrong with a parameter."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def shaped(request: Request) -> Response:
            try:
                kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
                if request.method == "POST" and kind != "application/json":
                    raise UnsupportedMedia("the body must be JSON: send it with Content-Type: application/json")
                return await handle(request)
            except RequestValidationError as error:
                return refuse(_invalid(error), param=_param_of(error))
            except XttsRtcError as error:
                return refuse(error)

        return shaped


class _Audio(StreamedSpeech):
    """Plain audio under OpenAI's names for its types."""

    @property
    def content_type(self) -> str:
        return "audio/pcm" if self.utterance.encoding.name == "pcm" else super().content_type


class SpeechEvents(StreamedSpeech):
    """Server-sent events: `speech.audio.delta` with base64 audio, then `speech.audio.done`."""

    @property
    def content_type(self) -> str:
        return "text/event-stream; charset=utf-8"

    def frame(self, data: bytes) -> bytes:
        return _event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})

    def last(self, speech: Speech) -> bytes:
        made = speech.metrics.num_tokens if speech.metrics is not None else 0
        # Text tokens are counted per segment inside the engine and do not come out.
        usage = {"input_tokens": 0, "output_tokens": made, "total_tokens": made}
        return _event({"type": "speech.audio.done", "usage": usage})

    async def break_off(self, error: XttsRtcError, send: Send) -> None:
        await send({"type": "http.response.body", "body": _event(_error_body(error)), "more_body": True})


class OpenAIErrors:
    """ASGI middleware: what others refuse on OpenAI's paths (keys, limits, methods) takes OpenAI's form too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(("/v1/audio/", "/v1/models")):
            await self._app(scope, receive, send)
            return
        start: Message | None = None
        body = b""

        async def reshape(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and message["status"] >= 400:
                start = message
            elif start is None:
                await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body", False):
                    headers, body = _reshaped(start, body)
                    await send({**start, "headers": headers})
                    await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, reshape)


def openai_router(engine: Engine) -> APIRouter:
    """The routes for an engine."""
    router = APIRouter(route_class=OpenAIRoute, tags=["openai"])

    @router.post("/v1/audio/speech", responses=_answers(), response_class=Response, summary="Speech, OpenAI's way")
    async def speech(body: SpeechBody) -> Response:
        """For a listener, as `/tts_stream`; `stream_format: sse` sends `speech.audio.delta` and `speech.audio.done`."""
        _require_model(body.model)
        utterance = Utterance(
            text=body.input,
            voice=body.voice if isinstance(body.voice, str) else body.voice.id,
            language=body.language,
            sampling=SamplingParams(speed=body.speed, seed=body.seed),
            encoding=find_encoding(body.response_format),
            sample_rate=OUTPUT_HZ,
        )
        kind = SpeechEvents if body.stream_format == "sse" else _Audio
        return kind(engine, utterance, refuse=refuse)

    @router.get("/v1/models", response_model=Models, summary="The model, by all its names")
    async def models() -> Models:
        return Models(data=[Model(id=name) for name in (MODEL, *ALIASES)])

    @router.get(
        "/v1/models/{model}",
        response_model=Model,
        summary="One name of it",
        responses={404: _ERROR | {"description": "No such model"}},
    )
    async def model(model: str) -> Model:
        _require_model(model)
        return Model(id=model)

    return router


def refuse(error: XttsRtcError, *, param: str | None = None) -> Response:
    """An error in OpenAI's form, with the status that OpenAI gives it."""
    status = 400 if isinstance(error, InvalidRequest) and error.status == 422 else error.status
    return JSONResponse(_error_body(error, param), status_code=status, headers=error_headers(error))


class _ModelNotFound(InvalidRequest):
    """No model has this name."""

    code = "model_not_found"
    status = 404


def _require_model(name: str) -> None:
    if name != MODEL and name not in ALIASES:
        known = ", ".join((MODEL, *ALIASES))
        raise _ModelNotFound(f"The model {name[:100]!r} does not exist; here are {known}")


def _invalid(error: RequestValidationError) -> XttsRtcError:
    name = _param_of(error)
    if name == "speed":
        return InvalidParameter(f"speed must be a number from {_MIN_SPEED:g} to {_MAX_SPEED:g}; the model has no other")
    if name == "instructions":
        return InvalidParameter("instructions cannot be followed by this model; leave them out")
    return invalid_body(error)


def _param_of(error: RequestValidationError) -> str | None:
    path = error.errors()[0]["loc"][1:2]
    return path[0][:100] if path and isinstance(path[0], str) else None


def _error_body(error: XttsRtcError, param: str | None = None) -> dict[str, object]:
    kind = _KINDS.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    about = {"message": error.message, "type": kind, "param": param or _PARAMS.get(error.code), "code": error.code}
    return {"error": about}


def _reshaped(start: Message, body: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body of a refusal; one that is not in our form stays as it is."""
    headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
    try:
        ours = json.loads(body)
        message, code = ours["error"], ours["code"]
    except (ValueError, TypeError, KeyError):
        return start["headers"], body
    if not isinstance(message, str):
        return start["headers"], body
    status = start["status"]
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    shaped = json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()
    return [*headers, (b"content-length", str(len(shaped)).encode())], shaped


def _event(body: dict[str, object]) -> bytes:
    return f"data: {json.dumps(body, separators=(',', ':'))}\n\n".encode()


_ERROR: dict[str, Any] = {"model": OpenAIErrorBody}


def _answers() -> dict[int | str, dict[str, Any]]:
    """The answers to a request for speech, as OpenAPI describes them."""
    audio: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
    kinds = ("audio/mpeg", "audio/ogg", "audio/aac", "audio/flac", "audio/wav", "audio/pcm")
    events: dict[str, Any] = {"text/event-stream": {}}
    errors = {
        400: "No text, or a parameter out of its range",
        401: "The key is missing or wrong",
        404: "No such voice or model",
        413: "The body is over the limit",
        415: "The body is not JSON",
        429: "All streams are taken; see Retry-After",
        503: "Not ready; see Retry-After",
    }
    fine: dict[str, Any] = {"description": "The audio, as it is made.", "content": dict.fromkeys(kinds, audio) | events}
    return {200: fine, **{status: _ERROR | {"description": text} for status, text in errors.items()}}


__all__ = [
    "ALIASES",
    "MODEL",
    "Model",
    "Models",
    "OpenAIError",
    "OpenAIErrorBody",
    "OpenAIErrors",
    "OpenAIRoute",
    "SpeechBody",
    "SpeechEvents",
    "VoiceId",
    "openai_router",
    "refuse",
]
