"""The Asterisk of the tests: a channel that sends 20 ms frames on its own clock and keeps what it hears."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np

from xtts_rtc.types import Float32

LOUD = 300.0
"""Root mean square of int16 samples that counts as sound."""


@dataclass(slots=True)
class Heard:
    at: float
    kind: int
    payload: bytes

    @property
    def pcm(self) -> np.ndarray:  # type: ignore[type-arg]
        return np.frombuffer(self.payload, "<i2")

    @property
    def is_loud(self) -> bool:
        return bool(np.sqrt(np.mean(self.pcm.astype(np.float64) ** 2)) > LOUD)


@dataclass(slots=True, eq=False)
class Phone:
    """Written from the protocol's description alone: it shares no code with the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    hz: int
    kind: int
    heard: list[Heard] = field(default_factory=list)
    to_say: deque[bytes] = field(default_factory=deque)
    began_at: list[float] = field(default_factory=list)
    hung_up_at: float | None = None
    was_told: bool = False
    sent_at: deque[float] = field(default_factory=lambda: deque(maxlen=8))

    def send(self, kind: int, payload: bytes = b"") -> None:
        self.writer.write(struct.pack(">BH", kind, len(payload)) + payload)

    def say(self, pcm: Float32) -> None:
        """Audio at `hz`, sent in time after what already waits."""
        size = self.hz // 50
        whole = np.pad(pcm, (0, -len(pcm) % size))
        samples = np.clip(np.rint(whole * 32_768), -32_768, 32_767).astype("<i2").reshape(-1, size)
        self.to_say.extend(frame.tobytes() for frame in samples)

    def press(self, digit: str) -> None:
        self.send(0x03, digit.encode())

    def audio(self) -> Float32:
        parts = [np.zeros(0, np.int16), *(one.pcm for one in self.heard)]
        pcm: Float32 = (np.concatenate(parts) / 32_768).astype(np.float32)
        return pcm

    def loud_times(self, since: float = 0.0) -> list[float]:
        return [one.at for one in self.heard if one.at >= since and one.is_loud]

    async def until_loud(self, since: float = 0.0, limit_s: float = 10.0) -> float:
        async with asyncio.timeout(limit_s):
            while not (times := self.loud_times(since)):
                await asyncio.sleep(0.002)
        return times[0]

    async def until_hung_up(self, limit_s: float = 20.0) -> float:
        async with asyncio.timeout(limit_s):
            while self.hung_up_at is None:
                await asyncio.sleep(0.002)
        return self.hung_up_at

    async def listen(self) -> None:
        try:
            while self.hung_up_at is None:
                kind, length = struct.unpack(">BH", await self.reader.readexactly(3))
                payload = await self.reader.readexactly(length)
                if kind == 0x00:
                    self.was_told = True
                    break
                self.heard.append(Heard(time.monotonic(), kind, payload))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        self.hung_up_at = time.monotonic()

    async def talk(self) -> None:
        """Silence, or what is to be said, each 20 ms."""
        due = time.monotonic()
        while self.hung_up_at is None:
            if self.to_say and len(self.began_at) == 0:
                self.began_at.append(time.monotonic())
            self.send(self.kind, self.to_say.popleft() if self.to_say else bytes(self.hz // 50 * 2))
            due += 0.02
            await asyncio.sleep(max(0.0, due - time.monotonic()))


@contextlib.asynccontextmanager
async def calling(
    port: int, *, hz: int = 8_000, kind: int = 0x10, talks: bool = True, id: uuid.UUID | None = None
) -> AsyncIterator[Phone]:
    """A call to a port of this machine; hung up at the end of the block."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    phone = Phone(reader, writer, hz, kind)
    phone.send(0x01, (id or uuid.uuid4()).bytes)
    tasks = [asyncio.create_task(phone.listen())]
    if talks:
        tasks.append(asyncio.create_task(phone.talk()))
    try:
        yield phone
    finally:
        with contextlib.suppress(OSError):
            phone.send(0x00)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def until(condition: object, limit_s: float = 5.0) -> None:
    """Until a callable says yes."""
    assert callable(condition)
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.005)
