"""One connection: messages in, frames out, each with a time limit, and an end that the peer gets to see.

It knows the protocol's frames and the socket, and neither call nor engine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable

from xtts_rtc.errors import ProtocolError
from xtts_rtc.transports.audiosocket.frames import HANGUP, FrameParser, Hangup, Message, frame

_READ_BYTES = 2_048
_LINGER_S = 1.0


class Line:
    """A connection of its own; `aclose` it. write_s is how long a frame may take to leave."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, write_s: float) -> None:
        self._reader = reader
        self._writer = writer
        self._write_s = write_s
        self._parser = FrameParser()
        self._pending: deque[Message] = deque()
        self._error: ProtocolError | None = None
        self._is_over = False
        self.peer: object = writer.get_extra_info("peername")
        # Nothing waits in this process: what the kernel does not take yet is not sent yet.
        writer.transport.set_write_buffer_limits(high=0)

    async def read(self, limit_s: float | None) -> Message | None:
        """The next message; None when the peer has closed. Raises TimeoutError and ProtocolError."""
        async with asyncio.timeout(limit_s):
            while not self._pending:
                if self._error is not None:
                    raise self._error
                # StreamReader gives what it has without a turn of the event loop, and a flood is 256 KiB of it.
                await asyncio.sleep(0)
                try:
                    data = await self._reader.read(_READ_BYTES)
                except ConnectionError:
                    data = b""
                if not data:
                    self._is_over = True
                    return None
                self._parse(data)
        message = self._pending.popleft()
        self._is_over = self._is_over or isinstance(message, Hangup)
        return message

    def give_back(self, messages: Iterable[Message]) -> None:
        """Read these again first."""
        self._pending.extendleft(reversed(list(messages)))

    async def write(self, data: bytes) -> None:
        """Raises TimeoutError when the peer does not read, ConnectionError when it has gone."""
        self._writer.write(data)
        async with asyncio.timeout(self._write_s):
            await self._writer.drain()

    async def aclose(self) -> None:
        """Hang up, unless the peer did, and close.

        Closed at once, with audio on its way to us, TCP would reset the connection: Asterisk would lose the
        hang-up, log an error and drop the channel in place of going on in its dialplan.
        """
        try:
            if not self._is_over:
                async with asyncio.timeout(_LINGER_S):
                    self._writer.write(frame(HANGUP))
                    self._writer.write_eof()
                    while await self._reader.read(_READ_BYTES):
                        await asyncio.sleep(0)
        except (OSError, TimeoutError):
            pass  # it has gone, or does not care
        finally:
            if self._writer.transport.get_write_buffer_size():
                self._writer.transport.abort()  # the peer does not read: a close would wait for it
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    def _parse(self, data: bytes) -> None:
        try:
            self._pending.extend(self._parser.push(data))
        except ProtocolError as error:
            self._error = error  # after the messages before it, which `extend` has kept


__all__ = ["Line"]
