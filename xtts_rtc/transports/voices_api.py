"""`/v1/voices`: which voices there are, a new one from a clip, and one less.

In: an id, a clip as a multipart upload. Out: JSON, with the report on the clip. The clip's bytes go to the
engine as they came: what can be wrong with them is found there, in a thread, before much of it is decoded.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from xtts_rtc.api import Engine
from xtts_rtc.errors import (
    EngineUnavailable,
    Forbidden,
    InvalidParameter,
    StorageFailed,
    TooLarge,
    UnsupportedMedia,
    VoiceNotFound,
)
from xtts_rtc.http_answer import ErrorBody

MAX_UPLOADS = 2
"""Clips that are received and checked at once; further uploads wait unread, so they cost neither disk nor memory."""
UPLOAD_WAIT_S = 10.0
"""How long they wait; who sends slowly keeps a place for longer."""
_ERRORS: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}}
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["clip"],
                    "properties": {
                        "clip": {"type": "string", "format": "binary", "description": "WAV, FLAC, OGG, MP3, M4A, WebM"},
                        "id": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
                        "replace": {"type": "string", "enum": ["true", "false"], "default": "false"},
                    },
                }
            }
        },
    }
}


class VoiceItem(BaseModel):
    """One voice."""

    id: str


class VoiceProblem(BaseModel):
    """Something in the folder of voices that cannot be used, or the folder itself."""

    name: str
    reason: str


class VoiceList(BaseModel):
    """All voices, and what is known to be wrong with them."""

    voices: list[VoiceItem]
    problems: list[VoiceProblem] = []


class Voice(BaseModel):
    """One voice, and why it cannot be used; empty when it can, as far as it was tried."""

    id: str
    problem: str = ""


class FindingBody(BaseModel):
    """One thing about a clip: note, warning or error, and a sentence for its owner."""

    what: str
    severity: str
    advice: str


class CheckBody(BaseModel):
    """What a clip is like; shares are 0 to 1."""

    is_good: bool
    duration_s: float
    sample_rate: int
    channels: int
    clipped_share: float
    level_dbfs: float
    noise_dbfs: float
    snr_db: float
    silence_share: float
    findings: list[FindingBody]


class NewVoice(BaseModel):
    """A voice that can speak from now on."""

    id: str
    check: CheckBody


_VoiceId = Annotated[str, Path(description="1 to 64 of A-Z, a-z, 0-9, _ and -", max_length=256)]


def voices_router(engine: Engine, *, may_change: bool = True, max_clip_bytes: int = 20_000_000) -> APIRouter:
    """The routes for an engine. may_change False: uploads and deletes are refused with 403."""
    router = APIRouter(tags=["voices"], responses=_ERRORS)
    uploads = asyncio.Semaphore(MAX_UPLOADS)

    @router.get("/v1/voices")
    async def list_voices() -> VoiceList:
        problems = await engine.voice_problems()
        return VoiceList(
            voices=[VoiceItem(id=voice_id) for voice_id in await engine.voices()],
            problems=[VoiceProblem(name=name, reason=reason) for name, reason in sorted(problems.items())],
        )

    @router.get("/v1/voices/{voice_id}")
    async def show_voice(voice_id: _VoiceId) -> Voice:
        if voice_id not in await engine.voices():
            raise VoiceNotFound(f"Speaker {ascii(voice_id)[:80]} not found; GET /v1/voices lists those there are")
        return Voice(id=voice_id, problem=(await engine.voice_problems()).get(voice_id, ""))

    @router.post("/v1/voices", status_code=201, openapi_extra=_FORM)
    async def add_voice(request: Request) -> NewVoice:
        _require_change(may_change)
        async with _place(uploads):
            return await _add(engine, request, None, max_clip_bytes)

    @router.post("/v1/voices/{voice_id}", status_code=201, openapi_extra=_FORM)
    async def add_named_voice(request: Request, voice_id: _VoiceId) -> NewVoice:
        _require_change(may_change)
        async with _place(uploads):
            return await _add(engine, request, voice_id, max_clip_bytes)

    @router.delete("/v1/voices/{voice_id}", status_code=204, response_class=Response)
    async def remove_voice(voice_id: _VoiceId) -> Response:
        _require_change(may_change)
        await engine.remove_voice(voice_id)
        return Response(status_code=204)

    return router


def _require_change(may_change: bool) -> None:
    if not may_change:
        raise Forbidden(
            "this server is open to others and asks for no key, so its voices cannot be changed:"
            " set XTTS_API_KEY or XTTS_API_KEYS_FILE, or let it listen on 127.0.0.1"
        )


@contextlib.asynccontextmanager
async def _place(uploads: asyncio.Semaphore) -> AsyncIterator[None]:
    """One of the places, held while the block runs. Raises EngineUnavailable when none is free soon."""
    try:
        async with asyncio.timeout(UPLOAD_WAIT_S):
            await uploads.acquire()
    except TimeoutError:
        raise EngineUnavailable("other clips are being received and checked; try again in a moment") from None
    try:
        yield
    finally:
        uploads.release()


async def _add(engine: Engine, request: Request, voice_id: str | None, max_clip_bytes: int) -> NewVoice:
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise UnsupportedMedia("send the clip as multipart/form-data in a field named clip")
    try:
        async with request.form(max_files=1, max_fields=3, max_part_size=1024) as form:
            clip = form.get("clip")
            if not isinstance(clip, UploadFile):
                raise InvalidParameter("the form has no file in a field named clip")
            if (clip.size or 0) > max_clip_bytes:
                raise TooLarge(f"the clip is over the limit of {max_clip_bytes:,} bytes; cut out 6 to 30 s of speech")
            given = voice_id or str(form.get("id") or "") or (clip.filename or "").rpartition(".")[0]
            is_replacing = _flag(str(form.get("replace", "false")))
            data = await clip.read()
    except OSError as error:  # large clips are spooled to the temporary folder
        raise StorageFailed(f"the clip could not be received: {error.strerror}") from error
    report = await engine.add_voice(given, data, is_replacing=is_replacing)
    check = CheckBody(is_good=report.is_good, snr_db=report.snr_db, **asdict(report))
    return NewVoice(id=given, check=check)


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise InvalidParameter("replace must be true or false")
    return text.lower() == "true"


__all__ = [
    "MAX_UPLOADS",
    "CheckBody",
    "FindingBody",
    "NewVoice",
    "Voice",
    "VoiceItem",
    "VoiceList",
    "VoiceProblem",
    "voices_router",
]
