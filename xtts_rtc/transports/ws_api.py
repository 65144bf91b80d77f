"""The server's end of `/v1/speech`: one utterance at a time over a WebSocket that is used again.

In: JSON text frames (start, text, flush, end, cancel, read). Out: started, segment, binary audio, and
exactly one of done, cancelled or error per utterance. What breaks the protocol is answered and survived.
Written against `Speech` alone: it knows no engine, model or segmenter.

`read` is for clients that gave a `window_s` with start: at most so many seconds are sent that were not
acknowledged. A client without it is held back by TCP alone; either way a slow reader rests only its own
stream.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from xtts_rtc.api import Engine
from xtts_rtc.audio.frames import to_int16
from xtts_rtc.errors import GenerationFailed, InvalidParameter, InvalidText, ProtocolError, XttsRtcError
from xtts_rtc.types import OUTPUT_HZ, Float32, SamplingParams, Speech, SpeechChunk

ENCODINGS = ("pcm_s16le", "pcm_f32le")
"""Little-endian 16-bit integers and 32-bit floats, mono."""

_log = logging.getLogger(__name__)
_MAX_WINDOW_S = 3600
_SAMPLING = {item.name: item for item in fields(SamplingParams)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A checked ``start`` message. window_s None: no acknowledgements will come."""

    id: str
    voice: str = "default"
    language: str = "en"
    sample_rate: int = OUTPUT_HZ
    encoding: str = "pcm_s16le"
    realtime: bool = True
    window_s: float | None = None
    sampling: SamplingParams = field(default_factory=SamplingParams)


@dataclass(slots=True, eq=False)
class _Utterance:
    start: Start
    speech: Speech
    segment: int = -1
    unread_samples: int = 0
    is_cancelled: bool = False
    error: XttsRtcError | None = None
    may_send: asyncio.Event = field(default_factory=asyncio.Event)

    def cancel(self) -> None:
        self.is_cancelled = True
        self.speech.cancel()
        self.may_send.set()

    def fail(self, error: XttsRtcError) -> None:
        self.error = error
        self.cancel()

    def acknowledge(self, samples: int) -> None:
        self.unread_samples = max(0, self.unread_samples - samples)
        self.may_send.set()

    async def room_for(self, samples: int) -> bool:
        """Wait until so many may be sent; False when the utterance was cancelled meanwhile."""
        window_s = self.start.window_s
        while window_s is not None and not self.is_cancelled and self.unread_samples:
            if self.unread_samples + samples <= window_s * self.start.sample_rate:
                break
            self.may_send.clear()
            await self.may_send.wait()
        self.unread_samples += samples
        return not self.is_cancelled


class SpeechSocket:
    """One accepted socket, for as long as it lives."""

    def __init__(self, engine: Engine, socket: WebSocket) -> None:
        self._engine = engine
        self._socket = socket
        self._running: _Utterance | None = None
        self._task: asyncio.Task[None] | None = None

    async def serve(self) -> None:
        """Until the client goes; then whatever it had running is cancelled."""
        await self._socket.accept()
        last = None
        async with asyncio.TaskGroup() as group:
            try:
                while (message := await self._socket.receive())["type"] == "websocket.receive":
                    await self._answer(message.get("text"), group)
            finally:
                last = self._running
                if last is not None:
                    last.cancel()
                if self._task is not None:
                    self._task.cancel()  # it may be stuck in a write to a peer that no longer reads
        if last is not None:
            await last.speech.aclose()  # its task may have been cancelled before it began

    async def _answer(self, data: str | None, group: asyncio.TaskGroup) -> None:
        utterance = ""
        try:
            message = _parse(data)
            utterance = _text_of(message, "id", "")
            kind = _text_of(message, "type", "")
            if kind == "start":
                await self._start(parse_start(message), group)
            elif self._running is not None and utterance == self._running.start.id:
                self._command(self._running, kind, message)
            elif kind not in ("text", "flush", "end", "cancel", "read"):
                raise ProtocolError(f"unknown message type {kind[:40]!r}")
            # Otherwise it is about an utterance that ended while the message was on its way.
        except InvalidText as error:
            assert self._running is not None
            self._engine.metrics.refused_message(error)
            self._running.fail(error)  # the client cannot take the text back, so its utterance ends here
        except XttsRtcError as error:
            self._engine.metrics.refused_message(error)
            await self._tell(_error_message(utterance, error))

    async def _start(self, start: Start, group: asyncio.TaskGroup) -> None:
        if self._task is not None and self._running is not None and self._running.is_cancelled:
            await asyncio.wait([self._task])  # a start right behind a cancel
        if self._running is not None:
            raise ProtocolError(f"utterance {self._running.start.id!r} still runs on this socket; cancel it first")
        speech = self._engine.open(
            voice=start.voice,
            language=start.language,
            sampling=start.sampling,
            sample_rate=start.sample_rate,
            realtime=start.realtime,
        )
        self._running = _Utterance(start, speech)
        self._task = group.create_task(self._speak(self._running))

    def _command(self, running: _Utterance, kind: str, message: Mapping[str, object]) -> None:
        if kind == "text":
            running.speech.push_text(_text_of(message, "text", ""))
        elif kind == "flush":
            running.speech.flush()
        elif kind == "end":
            running.speech.end_input()
        elif kind == "cancel":
            running.cancel()
        elif kind == "read":
            running.acknowledge(_whole_of(message, "samples", 0))
        else:
            raise ProtocolError(f"unknown message type {kind[:40]!r}")

    async def _speak(self, running: _Utterance) -> None:
        utterance = running.start.id
        try:
            async with running.speech as speech:
                await self._tell({"type": "started", "id": utterance, **self._request_id()})
                async for chunk in speech:
                    await self._send(running, chunk)
            if running.error is not None:
                raise running.error
            kind = "cancelled" if running.is_cancelled else "done"
            metrics = {} if speech.metrics is None else asdict(speech.metrics)
            last: dict[str, object] = {"type": kind, "id": utterance, "metrics": metrics}
        except XttsRtcError as error:
            last = _error_message(utterance, error)
        except WebSocketDisconnect:
            return
        except Exception as error:
            _log.exception("utterance %s failed", utterance)
            failure = GenerationFailed(f"the speech failed inside the server ({type(error).__name__})")
            last = _error_message(utterance, failure)
        finally:
            self._running = None
        await self._tell(last)

    def _request_id(self) -> dict[str, str]:
        """The socket's id in the server's log; none where nobody gives ids."""
        request_id = getattr(self._socket.state, "request_id", "")
        return {"request_id": request_id} if request_id else {}

    async def _send(self, running: _Utterance, chunk: SpeechChunk) -> None:
        if not await running.room_for(chunk.pcm.size):
            return
        if chunk.text or chunk.segment != running.segment:
            running.segment = chunk.segment
            utterance = running.start.id
            await self._tell({"type": "segment", "id": utterance, "index": chunk.segment, "text": chunk.text})
        if chunk.pcm.size:
            data = encode(chunk.pcm, running.start.encoding)
            try:
                await self._socket.send_bytes(data)
            except RuntimeError:  # what the server says of a socket that was closed meanwhile
                raise WebSocketDisconnect(1006) from None

    async def _tell(self, message: Mapping[str, object]) -> None:
        try:
            await self._socket.send_text(json.dumps(message))
        except (WebSocketDisconnect, RuntimeError):
            pass  # the client has gone; `serve` sees it and cleans up


def encode(pcm: Float32, encoding: str) -> bytes:
    """pcm [S] float32 as one of `ENCODINGS`."""
    return pcm.astype("<f4").tobytes() if encoding == "pcm_f32le" else to_int16(pcm).astype("<i2").tobytes()


def parse_start(message: Mapping[str, object]) -> Start:
    """Check a ``start`` message. Raises ProtocolError for its form and InvalidParameter for a value."""
    utterance = _text_of(message, "id", "")
    if not 0 < len(utterance) <= 64:
        raise ProtocolError("start needs an id of 1 to 64 characters")
    encoding = _text_of(message, "encoding", ENCODINGS[0])
    if encoding not in ENCODINGS:
        raise InvalidParameter(f"encoding is {encoding[:40]!r}; it must be one of {', '.join(ENCODINGS)}")
    window_s = message.get("window_s")
    if window_s is not None and not (_is_number(window_s) and 0 < window_s <= _MAX_WINDOW_S):  # type: ignore[operator]
        raise InvalidParameter(f"window_s must be a number of seconds over 0 and at most {_MAX_WINDOW_S}, or absent")
    return Start(
        id=utterance,
        voice=_text_of(message, "voice", "default"),
        language=_text_of(message, "language", "en"),
        sample_rate=_whole_of(message, "sample_rate", OUTPUT_HZ),
        encoding=encoding,
        realtime=message.get("realtime", True) is not False,
        window_s=None if window_s is None else float(window_s),  # type: ignore[arg-type]
        sampling=parse_sampling(message.get("sampling") or {}),
    )


def parse_sampling(values: object) -> SamplingParams:
    """A JSON object to SamplingParams. Raises InvalidParameter for an unknown name or a value out of range."""
    if not isinstance(values, dict):
        raise InvalidParameter("sampling must be an object of names and numbers")
    for name, value in values.items():
        if name not in _SAMPLING:
            raise InvalidParameter(f"sampling has no {str(name)[:40]!r}; it has {', '.join(sorted(_SAMPLING))}")
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not (is_whole if name in ("top_k", "seed") else _is_number(value)):
            raise InvalidParameter(f"sampling.{name} must be a number")
    return SamplingParams(**values)


def speech_route(engine: Engine) -> WebSocketRoute:
    """The route of `/v1/speech` for an engine."""

    async def speak(socket: WebSocket) -> None:
        await SpeechSocket(engine, socket).serve()

    return WebSocketRoute("/v1/speech", speak)


def _parse(data: str | None) -> Mapping[str, object]:
    if data is None:
        raise ProtocolError("binary frames are not understood; send JSON text frames")
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):  # the latter for "[[[[..." without end
        raise ProtocolError("the message is not JSON") from None
    if not isinstance(message, dict):
        raise ProtocolError("the message must be a JSON object")
    return message


def _text_of(message: Mapping[str, object], name: str, otherwise: str) -> str:
    value = message.get(name, otherwise)
    if not isinstance(value, str):
        raise ProtocolError(f"{name} must be a string")
    return value


def _whole_of(message: Mapping[str, object], name: str, otherwise: int) -> int:
    value = message.get(name, otherwise)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidParameter(f"{name} must be a whole number, 0 or more")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _error_message(utterance: str, error: XttsRtcError) -> dict[str, object]:
    message: dict[str, object] = {
        "type": "error",
        "code": error.code,
        "message": error.message,
        "retryable": error.retryable,
    }
    return {**message, "id": utterance} if utterance else message


__all__ = ["ENCODINGS", "SpeechSocket", "Start", "encode", "parse_sampling", "parse_start", "speech_route"]
