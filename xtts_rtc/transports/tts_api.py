"""`POST /tts` and `POST /tts_stream`: a text in JSON, its speech as a file or as it is made.

In: a checked body and the Accept header. Out: audio in one of the named formats; `/tts` may keep it in a
folder and answer where. Written against `Engine`; how audio and errors become HTTP is `http_answer`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

from xtts_rtc.api import Engine
from xtts_rtc.audio.encode import ENCODINGS, Encoding, find_encoding, length_patch
from xtts_rtc.audio.resample import RATES_HZ
from xtts_rtc.errors import NotAcceptable, StorageFailed, UnsupportedMedia
from xtts_rtc.http_answer import ErrorBody, Seed, SpeechResponse, StreamedSpeech, Utterance, Whole, whole
from xtts_rtc.types import LANGUAGES, MAX_UTTERANCE_CHARS, SamplingParams, Speech

_PUBLISHED = SamplingParams()
_SPOOL_BYTES = 8 * 2**20
"""Audio of `/tts` that is held in memory, nearly three minutes of WAV; what is longer goes to a temporary file."""
_BLOCK_BYTES = 64 * 1024
MAX_KEPT_FILES = 1_000
"""In the output folder; then the oldest go, so that a server that runs for months does not fill its disk."""
_KEPT_NAME = re.compile(r"[0-9a-f]{32}\.[a-z0-9]+")

_MEDIA_TYPES: dict[str, str] = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/wave": "wav",
    "audio/vnd.wave": "wav",
    "audio/pcmu": "mulaw",
    "audio/basic": "mulaw",
    "audio/pcma": "alaw",
    "audio/ogg": "opus",
    "audio/opus": "opus",
    "audio/mpeg": "mp3",
    "audio/mp3": "mp3",
    "audio/flac": "flac",
    "audio/x-flac": "flac",
    "audio/aac": "aac",
}
_MADE = ("audio/L16", "audio/wav", "audio/PCMU", "audio/PCMA", "audio/ogg", "audio/mpeg", "audio/flac", "audio/aac")
_JSON = "application/json"
_OPUS_HAS_NOT: dict[str, Any] = {
    "properties": {"format": {"const": "opus"}, "sample_rate": {"enum": [44_100, 32_000, 22_050]}},
    "required": ["format", "sample_rate"],
}


JsonMeans = Literal["a file", "errors", "nothing"]
"""What a client gets that accepts JSON: a kept file; errors only, so that `curl --json` hears speech; nothing."""


class TtsBody(BaseModel):
    """What to say and how; the defaults are the published ones."""

    model_config = ConfigDict(
        extra="forbid", strict=True, hide_input_in_errors=True, json_schema_extra={"not": _OPUS_HAS_NOT}
    )

    text: str = Field(max_length=MAX_UTTERANCE_CHARS, pattern=r"\S", description="What to say; any length up to this.")
    speaker: str = Field(default="default", description="The id of a voice: GET /v1/voices lists them.")
    language: Literal[LANGUAGES] = "en"  # type: ignore[valid-type]  # a tuple of literals, one list for all
    temperature: float = Field(default=_PUBLISHED.temperature, gt=0, le=2, allow_inf_nan=False)
    repetition_penalty: float = Field(default=_PUBLISHED.repetition_penalty, ge=1, le=20, allow_inf_nan=False)
    top_k: Whole = Field(default=_PUBLISHED.top_k, ge=1, le=1026)
    top_p: float = Field(default=_PUBLISHED.top_p, gt=0, le=1, allow_inf_nan=False)
    speed: float = Field(default=_PUBLISHED.speed, ge=0.5, le=2, allow_inf_nan=False)
    seed: Seed | None = Field(default=None, description="Equal seeds give equal audio; null: any.")
    format: Literal[tuple(ENCODINGS)] | None = Field(  # type: ignore[valid-type]
        default=None, description="null: what the Accept header asks for, else wav (/tts) or pcm (/tts_stream)."
    )
    sample_rate: Annotated[Literal[RATES_HZ], BeforeValidator(whole)] | None = Field(  # type: ignore[valid-type]
        default=None, description="Hz; null: 24000, 8000 for mulaw and alaw."
    )

    def sampling(self) -> SamplingParams:
        """The same as the engine takes it."""
        return SamplingParams(
            temperature=self.temperature,
            repetition_penalty=self.repetition_penalty,
            top_k=self.top_k,
            top_p=self.top_p,
            speed=self.speed,
            seed=self.seed,
        )


class Kept(BaseModel):
    """Where the speech was put."""

    message: Literal["TTS completed"] = "TTS completed"
    output_path: str


@dataclass(frozen=True, slots=True)
class Choice:
    """What a request's answer will be: audio, or (`is_json`) a file and a JSON body that names it."""

    encoding: Encoding
    sample_rate: int
    is_json: bool = False


@dataclass(frozen=True, slots=True)
class _Range:
    """One media range of an Accept header."""

    kind: str
    quality: float = 1.0
    rate_hz: int | None = None
    byteorder: str = ""

    @property
    def format(self) -> str | None:
        """The format that is meant; RFC 2586's audio/L16 is in network order unless it says otherwise."""
        if self.kind == "audio/l16":
            return "pcm" if self.byteorder == "little-endian" else "l16be"
        return _MEDIA_TYPES.get(self.kind)

    @property
    def rank(self) -> int:
        """Among equals: 2 a format, 1 any audio, 0 no audio."""
        return 2 if self.format is not None else 1 if self.kind in ("*/*", "audio/*") else 0


class JsonRoute(APIRoute):
    """Takes JSON bodies only, and says so with 415."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != _JSON and not (kind.startswith("application/") and kind.endswith("+json")):
                raise UnsupportedMedia("the body must be JSON: send it with Content-Type: application/json")
            return await handle(request)

        return checked


class RecordedSpeech(SpeechResponse):
    """The whole speech with its length, after the last sample was made."""

    async def deliver(self, speech: Speech, audio: AsyncIterator[bytes], send: Send) -> None:
        with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as file:
            size = await self.record(audio, file)
            file.seek(0)
            await self.begin(send, {"Content-Type": self.encoder.content_type, "Content-Length": str(size)})
            while block := file.read(_BLOCK_BYTES):
                await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def record(self, audio: AsyncIterator[bytes], file: IO[bytes]) -> int:
        """All of it into `file`; gives the number of bytes. Raises StorageFailed."""
        try:
            async for data in audio:
                file.write(data)
            size = file.tell()
            wanted = self.utterance
            if patch := length_patch(wanted.encoding.name, wanted.sample_rate, self.num_samples):
                file.seek(patch[0])
                file.write(patch[1])
            file.flush()
        except OSError as error:
            raise _storage_failed(error) from error
        return size


class KeptSpeech(RecordedSpeech):
    """The speech in a folder, under a name of its own, and a JSON body that says where."""

    def __init__(self, engine: Engine, utterance: Utterance, *, folder: Path) -> None:
        super().__init__(engine, utterance)
        self._folder = folder

    async def deliver(self, speech: Speech, audio: AsyncIterator[bytes], send: Send) -> None:
        path = self._folder / f"{uuid.uuid4().hex}.{self.utterance.encoding.name}"
        part = path.with_name(f".{path.name}.part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with part.open("xb") as file:
                await self.record(audio, file)
            part.replace(path)
            with contextlib.suppress(OSError):  # this one is kept, whatever becomes of the old ones
                await asyncio.to_thread(keep_newest, self._folder)
        except OSError as error:
            raise _storage_failed(error) from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink()
        body = Kept(output_path=str(path)).model_dump_json().encode()
        await self.begin(send, {"Content-Type": _JSON, "Content-Length": str(len(body))})
        await send({"type": "http.response.body", "body": body})


def keep_newest(folder: Path, count: int = MAX_KEPT_FILES) -> None:
    """Delete the oldest kept files beyond so many; files under other names are not ours. Raises OSError."""
    kept = [path for path in folder.iterdir() if _KEPT_NAME.fullmatch(path.name)]
    if len(kept) <= count:
        return
    times = {}
    for path in kept:
        with contextlib.suppress(FileNotFoundError):  # another request was faster
            times[path] = path.stat().st_mtime
    for path in sorted(times, key=times.__getitem__)[: len(times) - count]:
        path.unlink(missing_ok=True)


def choose(accept: str, body: TtsBody, *, default: str, on_json: JsonMeans) -> Choice:
    """What to answer with: the body's format, else the best of the Accept header, else `default`.

    Among equals a named type goes before a wildcard, and audio before JSON. Raises NotAcceptable when nothing of
    the header can be made.
    """
    has_json = on_json != "nothing"
    ranges = [_parse_range(item) for item in accept.split(",") if item.strip()] or [_Range("*/*")]
    fine = [one for one in ranges if one.quality > 0 and (one.rank > 0 or (has_json and one.kind == _JSON))]
    best = max(fine, key=lambda one: (one.quality, one.rank), default=None)
    if best is None and body.format is None:
        known = ", ".join(sorted({"audio/L16", *_MEDIA_TYPES}))
        raise NotAcceptable(f"nothing in the Accept header can be made here; ask for one of {known}")
    encoding = find_encoding(body.format or (best and best.format) or default)
    rate_hz = best.rate_hz if best is not None and best.format == encoding.name else None
    is_json = on_json == "a file" and best is not None and best.kind == _JSON
    return Choice(encoding, body.sample_rate or rate_hz or encoding.default_hz, is_json)


def tts_router(engine: Engine, *, output_dir: Path | None = None) -> APIRouter:
    """`/tts` and `/tts_stream` for an engine. output_dir: where `/tts` keeps files, None: it keeps none."""
    router = APIRouter(route_class=JsonRoute, tags=["speech"])

    @router.post("/tts", responses=_answers(kept=True), response_class=Response, summary="Speech as a file")
    async def tts(body: TtsBody, request: Request) -> Response:
        """The whole speech, made as fast as the engine can beside those who listen.

        With `Accept: application/json` the server keeps the file and answers where.
        """
        on_json: JsonMeans = "nothing" if output_dir is None else "a file"
        choice = choose(request.headers.get("accept", ""), body, default="wav", on_json=on_json)
        utterance = _utterance(body, choice, realtime=False)
        if choice.is_json and output_dir is not None:
            return KeptSpeech(engine, utterance, folder=output_dir)
        return RecordedSpeech(engine, utterance)

    @router.post("/tts_stream", responses=_answers(), response_class=Response, summary="Speech as it is made")
    async def tts_stream(body: TtsBody, request: Request) -> Response:
        """For a listener: audio from the first clause on, made a few seconds ahead of real time at most.

        Closing the connection stops the engine's work within one step. A transfer that ends without its last
        chunk failed half-way.
        """
        choice = choose(request.headers.get("accept", ""), body, default="pcm", on_json="errors")
        return StreamedSpeech(engine, _utterance(body, choice, realtime=True))

    return router


def _utterance(body: TtsBody, choice: Choice, *, realtime: bool) -> Utterance:
    return Utterance(
        text=body.text,
        voice=body.speaker,
        language=body.language,
        sampling=body.sampling(),
        encoding=choice.encoding,
        sample_rate=choice.sample_rate,
        realtime=realtime,
    )


def _parse_range(item: str) -> _Range:
    """Of nonsense, a range that means nothing here."""
    kind, *given = (part.strip().lower() for part in item.split(";"))
    params = {name.strip(): value.strip().strip('"') for name, _, value in (part.partition("=") for part in given)}
    try:
        quality = float(params.get("q", "1"))
    except ValueError:
        quality = 0.0
    rate = params.get("rate", "")
    rate_hz = next((hz for hz in RATES_HZ if str(hz) == rate), None)
    return _Range(kind, quality, rate_hz, params.get("endianness", ""))


def _storage_failed(error: OSError) -> StorageFailed:
    return StorageFailed(f"the audio could not be written to the disk ({error.strerror}); free some space there")


def _answers(*, kept: bool = False) -> dict[int | str, dict[str, Any]]:
    """The answers of a route, as OpenAPI describes them."""
    audio: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
    fine: dict[str, Any] = {"description": "The audio.", "content": dict.fromkeys(_MADE, audio)}
    if kept:
        fine["model"] = Kept
    errors = {
        400: "No text, or bad text",
        401: "The key is missing or wrong",
        404: "No such speaker",
        406: "No format of the Accept header can be made",
        413: "The body is over the limit",
        415: "The body is not JSON",
        422: "A parameter is out of its range",
        429: "All streams are taken; see Retry-After",
        503: "Not ready; see Retry-After",
        507: "The disk is full",
    }
    return {200: fine, **{status: {"model": ErrorBody, "description": text} for status, text in errors.items()}}


__all__ = [
    "MAX_KEPT_FILES",
    "Choice",
    "JsonMeans",
    "JsonRoute",
    "Kept",
    "KeptSpeech",
    "RecordedSpeech",
    "TtsBody",
    "choose",
    "keep_newest",
    "tts_router",
]
