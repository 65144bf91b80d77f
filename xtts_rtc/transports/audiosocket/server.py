"""Answers AudioSocket connections, many at once, each with a handler of its own.

In: TCP connections of an Asterisk. Out: for each a `Call`, given to the handler; the call ends when the
handler returns, the caller hangs up, or the connection does what it must not. However it ends, its tasks,
its speech and its socket are gone then, and one line in the log says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from ipaddress import ip_address

from xtts_rtc.api import Engine
from xtts_rtc.errors import ProtocolError, XttsRtcError
from xtts_rtc.transports.audiosocket.call import Call
from xtts_rtc.transports.audiosocket.frames import Audio, Hangup, Identity, Message
from xtts_rtc.transports.audiosocket.line import Line

CallHandler = Callable[[Call], Awaitable[None]]
"""Answers one call; the call is hung up when it returns and it is cancelled when the caller hangs up."""

_log = logging.getLogger(__name__)
_SEND_BUFFER_BYTES = 8_192
"""What the kernel may hold of a call (it doubles this): a cut is not heard before that is played."""
_FIRST_AUDIO_S = 0.5
_DEFAULT_HZ = 8_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """What a call, and all of them together, may take.

    max_calls: at once; one more is hung up on. hello_s: the call's UUID must have come by then.
    silent_s: hang up when nothing at all came for so long; write_s: when nothing could be written;
    longest_s: however lively it is.
    """

    max_calls: int = 16
    hello_s: float = 5.0
    silent_s: float = 60.0
    write_s: float = 2.0
    longest_s: float = 3_600.0


@dataclass(frozen=True, slots=True)
class _Ending:
    why: str
    is_fault: bool = False


class AudioSocketServer:
    """The calls of one listening socket, at `port`. Made by `answering`."""

    def __init__(self, engine: Engine, handler: CallHandler, limits: CallLimits, port: int) -> None:
        self.port = port
        self._engine = engine
        self._handler = handler
        self._limits = limits
        self._calls: dict[asyncio.Task[None], Call | None] = {}

    @property
    def num_calls(self) -> int:
        """Connections that are open now, those included that have not said yet which call they are."""
        return len(self._calls)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection has come: it becomes a task, which `close` waits for. For `answering`."""
        if len(self._calls) >= 2 * self._limits.max_calls:  # as many again may be told that all lines are taken
            writer.transport.abort()
            return
        is_free = len(self._calls) < self._limits.max_calls
        line = Line(reader, writer, write_s=self._limits.write_s)
        task = asyncio.create_task(self._connection(line, is_free))
        self._calls[task] = None
        task.add_done_callback(self._calls.pop)

    async def close(self, grace_s: float) -> None:
        """Let the calls end by themselves for so long, then hang up. For `answering`."""
        if self._calls and grace_s > 0:
            await asyncio.wait(list(self._calls), timeout=grace_s)
        for task, call in list(self._calls.items()):
            if call is None:
                task.cancel()
            else:
                call.hang_up()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _connection(self, line: Line, is_free: bool) -> None:
        try:
            if not is_free:
                _log.warning("a call was refused: all %d lines are taken", self._limits.max_calls)
                return
            ending = await _ending(self._serve(line))
            if ending.is_fault:
                _log.warning("a connection from %s was closed: %s", line.peer, ending.why)
        finally:
            await line.aclose()

    async def _serve(self, line: Line) -> _Ending:
        """From the first byte on; what went wrong before it was a call."""
        try:
            first = await line.read(self._limits.hello_s)
        except TimeoutError:
            return _Ending(f"it did not say within {self._limits.hello_s:g} s which call it is", is_fault=True)
        if first is None:
            return _Ending("it asked for nothing")  # somebody looked whether the port is open
        if not isinstance(first, Identity):
            raise ProtocolError("the first frame must be the call's UUID, kind 0x01; is the peer an Asterisk?")
        call = Call(self._engine, first.id, await _line_hz(line))
        task = asyncio.current_task()
        assert task is not None
        self._calls[task] = call
        ending = await self._run(call, line)
        _log.log(
            logging.WARNING if ending.is_fault else logging.INFO,
            "call %s: %s; %.1f s at %d Hz, %d interruptions, %d underruns, %d skips",
            *(call.id, ending.why, call.num_frames_sent / 50, call.hz),
            *(call.num_interruptions, call.num_underruns, call.num_skips),
        )
        return _Ending("")

    async def _run(self, call: Call, line: Line) -> _Ending:
        """Until the first of these ends; the others are cancelled."""
        works = (self._listen(call, line), _send(call, line), self._answer(call), _until_hung_up(call))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_ending(work)) for work in works]
            longest_s = self._limits.longest_s
            done, _ = await asyncio.wait(tasks, timeout=longest_s, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
        too_long = _Ending(f"it was over the {longest_s:g} s that a call may last", is_fault=True)
        return next((task.result() for task in tasks if task in done), too_long)

    async def _listen(self, call: Call, line: Line) -> _Ending:
        while True:
            try:
                message = await line.read(self._limits.silent_s)
            except TimeoutError:
                return _Ending(f"nothing came for {self._limits.silent_s:g} s", is_fault=True)
            if message is None:
                return _Ending("the caller's side closed the connection")
            if isinstance(message, Hangup):
                code = message.error_code
                return _Ending(f"Asterisk reported error {code}", True) if code else _Ending("the caller hung up")
            if isinstance(message, Identity):
                raise ProtocolError("a second UUID came; one connection is one call")
            call.take(message)

    async def _answer(self, call: Call) -> _Ending:
        try:
            await self._handler(call)
        except XttsRtcError as error:
            return _Ending(f"it could not be answered: {error.message}", is_fault=True)
        except Exception as error:
            _log.exception("call %s: its handler failed", call.id)
            return _Ending(f"its handler failed ({type(error).__name__})", is_fault=True)
        return _Ending("all was said")


@contextlib.asynccontextmanager
async def answering(
    engine: Engine,
    handler: CallHandler,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    limits: CallLimits | None = None,
    grace_s: float = 0.0,
) -> AsyncIterator[AudioSocketServer]:
    """Answer calls on host and port (0 takes a free one) while the block runs, then end them.

    grace_s: how long calls may go on after the block. The protocol knows no key: whoever reaches the port
    can make the engine speak, so keep it on the loopback or a network of its own. Raises OSError.
    """
    listener = _listener(host, port)
    exchange = AudioSocketServer(engine, handler, limits or CallLimits(), int(listener.getsockname()[1]))
    server = await asyncio.start_server(exchange.accept, sock=listener)
    _log.info("answering calls on %s port %d", host, exchange.port)
    if not _is_loopback(host):
        _log.warning("AudioSocket has no password: let only your Asterisk reach %s port %d", host, exchange.port)
    try:
        yield exchange
    finally:
        server.close()
        await exchange.close(grace_s)


async def _ending(work: Awaitable[_Ending]) -> _Ending:
    """What ends one part of a call, whatever it raises: it must not end the others' group by itself."""
    try:
        return await work
    except ProtocolError as error:
        return _Ending(error.message, is_fault=True)
    except TimeoutError:
        return _Ending("the other side no longer reads", is_fault=True)
    except ConnectionError:
        return _Ending("the connection was lost")


async def _line_hz(line: Line) -> int:
    """The rate of the caller's first audio, which is left to be read; 8 kHz when none comes soon."""
    early: list[Message] = []
    try:
        async with asyncio.timeout(_FIRST_AUDIO_S):
            while (message := await line.read(None)) is not None:
                early.append(message)
                if isinstance(message, Audio):
                    return message.hz
                if isinstance(message, Hangup):
                    break
    except TimeoutError:
        pass  # a muted phone that sends nothing
    finally:
        line.give_back(early)
    return _DEFAULT_HZ


async def _send(call: Call, line: Line) -> _Ending:
    """A frame each 20 ms, silence too: Asterisk drops a call in which neither side sent anything for 2 s."""
    while True:
        await call.until_due()
        await line.write(call.next_frame())


async def _until_hung_up(call: Call) -> _Ending:
    await call.until_hung_up()
    return _Ending("hung up here")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named; without it frames wait for one another's ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


__all__ = ["AudioSocketServer", "CallHandler", "CallLimits", "answering"]
