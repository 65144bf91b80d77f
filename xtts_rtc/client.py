"""One utterance on a server: `Speech` over the WebSocket `/v1/speech`.

In: text. Out: `SpeechChunk`s. `SpeechClient` keeps a few open sockets; each carries one utterance at a
time and is used again only after the server said that the utterance is over. A cancel is one small
message. How much audio may be on its way is bounded by acknowledging what was read, so a slow reader
keeps its socket answering pings. Nothing here knows an engine, a segmenter or a transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import asdict, fields
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.protocol import State

from xtts_rtc.errors import EngineUnavailable, InvalidText, ProtocolError, XttsRtcError, error_of_code
from xtts_rtc.server_status import is_loopback, refusal, server_status, server_voices, speech_url
from xtts_rtc.types import (
    MAX_UTTERANCE_CHARS,
    OUTPUT_HZ,
    EngineStatus,
    Float32,
    SpeechChunk,
    StreamMetrics,
    StreamRequest,
)

_log = logging.getLogger(__name__)

WINDOW_S = 10.0
"""Audio that the server may have sent and nobody has read; more than the 3 s a real-time stream runs ahead."""
_CANCEL_ANSWER_S = 0.75
"""How long the answer to a cancel may take before its socket is given up, which cancels as well."""
_MAX_MESSAGE_BYTES = 4 * 2**20
_METRICS = {item.name for item in fields(StreamMetrics)}


class SpeechClient:
    """Opens utterances on one server over reused sockets. Use it on one event loop; `aclose` it at the end.

    url: ``http(s)://`` or ``ws(s)://``, host and port, with or without the path. Raises ConfigError for
    another kind of address.
    """

    def __init__(
        self, url: str, *, api_key: str | None = None, connect_timeout_s: float = 5.0, max_idle: int = 4
    ) -> None:
        self._url = speech_url(url)
        self._place = urlsplit(self._url).netloc.rpartition("@")[2]
        self._api_key = api_key
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._connect_timeout_s = connect_timeout_s
        self._max_idle = max_idle
        self._idle: list[ClientConnection] = []
        self._running: set[RemoteSpeech] = set()
        self._ids = itertools.count(1)
        self._is_closed = False

    @property
    def place(self) -> str:
        """Host and port, for messages."""
        return self._place

    @property
    def num_idle(self) -> int:
        """Open sockets that carry no utterance."""
        return len(self._idle)

    def open(
        self, request: StreamRequest, *, sample_rate: int = OUTPUT_HZ, encoding: str = "pcm_s16le"
    ) -> RemoteSpeech:
        """Start an utterance; what the server has against it is raised by its iteration."""
        if self._is_closed:
            raise EngineUnavailable("the client was closed; connect again")
        speech = RemoteSpeech(self, f"u{next(self._ids)}", request, sample_rate=sample_rate, encoding=encoding)
        self._running.add(speech)
        return speech

    async def voices(self) -> list[str]:
        """The ids of the server's voices. Raises EngineUnavailable or Unauthorized."""
        return await asyncio.to_thread(server_voices, self._url, self._api_key)

    async def status(self) -> EngineStatus:
        """What the server can take; one that cannot be reached is not ready."""
        return await asyncio.to_thread(server_status, self._url)

    async def take(self, *, is_fresh: bool = False) -> tuple[ClientConnection, bool]:
        """A socket, and whether it has served before. Raises EngineUnavailable, EngineFull or Unauthorized."""
        while self._idle and not is_fresh:
            line = self._idle.pop()
            if line.state is State.OPEN:
                return line, True
        return await self._connect(), False

    async def give_back(self, line: ClientConnection) -> None:
        """Keep a socket whose utterance is over for the next one."""
        if line.state is State.OPEN and len(self._idle) < self._max_idle and not self._is_closed:
            self._idle.append(line)
        else:
            await line.close()

    def forget(self, speech: RemoteSpeech) -> None:
        """The utterance is over."""
        self._running.discard(speech)

    async def aclose(self) -> None:
        """Cancel what runs and close the sockets. Idempotent."""
        self._is_closed = True
        for speech in list(self._running):
            await speech.aclose()
        while self._idle:
            await self._idle.pop().close()

    def abort(self) -> None:
        """As `aclose`, at once and from any thread; what still speaks ends with EngineUnavailable."""
        self._is_closed = True
        for speech in list(self._running):
            speech.abandon()
        while self._idle:
            self._idle.pop().transport.abort()

    async def _connect(self) -> ClientConnection:
        try:
            return await connect(
                self._url,
                additional_headers=self._headers,
                open_timeout=self._connect_timeout_s,
                close_timeout=1.0,
                compression=None,  # PCM does not shrink, and deflate costs a millisecond per chunk
                max_size=_MAX_MESSAGE_BYTES,
                proxy=None if is_loopback(self._url) else True,
            )
        except InvalidStatus as error:
            failure = refusal(self._place, error.response.status_code)
        except TimeoutError:
            failure = EngineUnavailable(f"{self._place} did not answer within {self._connect_timeout_s:g} s")
        except (OSError, InvalidHandshake, InvalidURI) as error:
            failure = EngineUnavailable(f"no engine can be reached at {self._place} ({type(error).__name__})")
        # Not chained: the causes carry request headers, and with them the key.
        raise failure from None


class RemoteSpeech:
    """`Speech` on a server. Made by `SpeechClient.open`; one task of its own until it is over."""

    def __init__(
        self, client: SpeechClient, utterance: str, request: StreamRequest, *, sample_rate: int, encoding: str
    ) -> None:
        self._client = client
        self._id = utterance
        self._sample_rate = sample_rate
        self._encoding = encoding
        self._outbox: asyncio.Queue[str] = asyncio.Queue()
        self._unanswered: list[str] = []
        self._num_chars = 0
        self._is_ended = False
        self._is_started = False
        self._is_cancelled = False
        self._buffer: deque[SpeechChunk] = deque()
        self._buffered_samples = 0
        self._segment = 0
        self._text = ""
        self._changed = asyncio.Event()
        self._error: XttsRtcError | None = None
        self._metrics: StreamMetrics | None = None
        self._is_over = False
        self._deadline: asyncio.TimerHandle | None = None
        self._send(
            "start",
            voice=request.voice,
            language=request.language,
            sample_rate=sample_rate,
            encoding=encoding,
            realtime=request.is_realtime,
            window_s=WINDOW_S,
            sampling={name: value for name, value in asdict(request.sampling).items() if value is not None},
        )
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._session(), name=f"xtts-rtc speech {utterance}")
        self._task.add_done_callback(self._end)

    @property
    def metrics(self) -> StreamMetrics | None:
        return self._metrics

    @property
    def is_idle(self) -> bool:
        return self._is_over

    def push_text(self, text: str) -> None:
        if not text or self._is_done:
            return
        if self._is_ended:
            raise InvalidText("text was pushed after end_input(); open another speech for it")
        if self._num_chars + len(text) > MAX_UTTERANCE_CHARS:
            limit = MAX_UTTERANCE_CHARS
            raise InvalidText(f"the text is over the limit of {limit:,} characters for one utterance; split it")
        self._num_chars += len(text)
        self._send("text", text=text)

    def flush(self) -> None:
        if not self._is_ended and not self._is_done:
            self._send("flush")

    def end_input(self) -> None:
        if not self._is_ended and not self._is_done:
            self._is_ended = True
            self._send("end")

    def cancel(self) -> None:
        if self._is_cancelled:
            return
        self._is_cancelled = True
        self._buffer.clear()
        self._changed.set()
        if self._is_over:
            return
        while not self._outbox.empty():
            self._outbox.get_nowait()
        if self._unanswered:
            self._send("cancel")
            self._deadline = self._loop.call_later(_CANCEL_ANSWER_S, self._task.cancel)
        else:  # the server has not heard of it yet
            self._task.cancel()

    async def aclose(self) -> None:
        if not self._is_over or self._buffer:
            self.cancel()
        await asyncio.wait([self._task])

    def abandon(self) -> None:
        """End it with EngineUnavailable and drop its socket, which cancels it on the server. From any thread."""
        with contextlib.suppress(RuntimeError):  # its loop is closed: so is the socket
            self._loop.call_soon_threadsafe(self._lose)

    def __aiter__(self) -> AsyncIterator[SpeechChunk]:
        return self

    async def __anext__(self) -> SpeechChunk:
        while not self._is_cancelled:
            if self._buffer:
                chunk = self._buffer.popleft()
                self._buffered_samples -= chunk.pcm.size
                if chunk.pcm.size and not self._is_over:
                    self._send("read", samples=chunk.pcm.size)
                return chunk
            if self._error is not None:
                raise self._error
            if self._is_over:
                break
            self._changed.clear()
            await self._changed.wait()
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def _is_done(self) -> bool:
        return self._is_cancelled or self._is_over or self._error is not None

    def _send(self, kind: str, **values: object) -> None:
        self._outbox.put_nowait(json.dumps({"type": kind, "id": self._id, **values}))

    async def _session(self) -> None:
        try:
            line, is_reused = await self._client.take()
            is_clean = await self._converse(line)
            if not is_clean and is_reused and not self._is_started and not self._is_done:
                # A kept socket may have died unseen, for instance when the server was restarted.
                line, _ = await self._client.take(is_fresh=True)
                is_clean = await self._converse(line)
            if not is_clean and not self._is_cancelled and self._error is None:
                self._error = EngineUnavailable(f"the connection to {self._client.place} was lost; try again")
        except XttsRtcError as error:
            self._error = error

    def _lose(self) -> None:
        if not self._is_over:
            self._error = self._error or EngineUnavailable("the client was closed; connect again")
            self._task.cancel()

    def _end(self, task: asyncio.Task[None]) -> None:
        """After the session, also when it was cancelled before it began and ran no line of its own."""
        if not task.cancelled() and (failure := task.exception()) is not None:
            _log.error("utterance %s failed", self._id, exc_info=failure)
            self._error = EngineUnavailable(f"the connection to {self._client.place} failed; try again")
        if self._deadline is not None:
            self._deadline.cancel()
        self._is_over = True
        self._client.forget(self)
        self._changed.set()

    async def _converse(self, line: ClientConnection) -> bool:
        """The utterance over one socket; True when it ended in order, and the socket was kept."""
        is_clean = False
        try:
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(self._write(line))
                is_clean = await self._read(line)
                writer.cancel()
        finally:
            if is_clean:
                await self._client.give_back(line)
            else:
                line.transport.abort()
        return is_clean

    async def _write(self, line: ClientConnection) -> None:
        try:
            for message in self._unanswered:
                await line.send(message)
            while True:
                message = await self._outbox.get()
                if not self._is_started:
                    self._unanswered.append(message)
                await line.send(message)
        except ConnectionClosed:
            pass  # the reader sees it too, and decides

    async def _read(self, line: ClientConnection) -> bool:
        try:
            while True:
                message = await line.recv()
                if isinstance(message, bytes):
                    self._hear(self._decode(message))
                elif self._obey(message):
                    return True
        except ConnectionClosed:
            return False
        except ProtocolError as error:
            self._error = error
            return False

    def _decode(self, data: bytes) -> Float32:
        width = 2 if self._encoding == "pcm_s16le" else 4
        if not self._is_started or len(data) % width:
            raise ProtocolError(f"{self._client.place} sent {len(data)} bytes of audio out of place")
        if width == 4:
            return np.frombuffer(data, "<f4").astype(np.float32)
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32_768)

    def _hear(self, pcm: Float32, *, is_final: bool = False) -> None:
        if self._is_cancelled:
            return
        text, self._text = self._text, ""
        self._buffer.append(SpeechChunk(pcm, self._sample_rate, self._segment, text, is_final))
        self._buffered_samples += pcm.size
        self._changed.set()
        if self._buffered_samples > 6 * WINDOW_S * self._sample_rate:
            raise ProtocolError(f"{self._client.place} sends more than the window of {WINDOW_S:g} s")

    def _obey(self, data: str) -> bool:
        """One control message; True when the utterance is over."""
        try:
            message = json.loads(data)
            kind = message["type"]
            index = int(message["index"]) if kind == "segment" else 0
        except (ValueError, TypeError, KeyError):
            raise ProtocolError(f"{self._client.place} sent a message that is not a JSON object with a type") from None
        if message.get("id", self._id) != self._id:
            return False
        if kind == "started":
            self._is_started = True
        elif kind == "segment":
            if self._text:  # the one before had no audio of its own
                self._hear(np.zeros(0, np.float32))
            self._segment, self._text = index, str(message.get("text", ""))
        elif kind == "done":
            self._hear(np.zeros(0, np.float32), is_final=True)
        elif kind == "error" and not self._is_cancelled:
            text = str(message.get("message", "the server gave no reason"))
            self._error = error_of_code(str(message.get("code")), text, is_retryable=message.get("retryable"))
        if kind in ("done", "cancelled"):
            given = message.get("metrics") or {}
            self._metrics = StreamMetrics(**{name: given[name] for name in _METRICS & given.keys()})
        return kind in ("done", "cancelled", "error")


__all__ = ["WINDOW_S", "RemoteSpeech", "SpeechClient"]
