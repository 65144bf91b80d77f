"""What a phone line does wrong: one clear line in the log, a hang-up, and nobody else hears it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
import uuid
from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest

from tests.fakes import tone_engine
from tests.transports.audiosocket.phone import calling, until
from xtts_rtc.api import Engine
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.errors import EngineFull
from xtts_rtc.transports.audiosocket import Announcer, Call, CallLimits, answering

pytestmark = [pytest.mark.net, pytest.mark.slow]

SENTENCE = "This is a test. "
"""One second of a beep."""
NAME = "xtts_rtc.transports.audiosocket.server"


@pytest.fixture
def tone() -> ToneBackend:
    return ToneBackend(max_streams=64)


@pytest.fixture
async def engine(no_leaked_tasks: None, tone: ToneBackend) -> AsyncIterator[Engine]:
    async with tone_engine(tone) as engine:
        yield engine
        assert tone.num_streams == 0


@pytest.fixture(autouse=True)
def warnings_seen(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The lines of the log at WARNING and over."""
    seen: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: seen.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger(NAME).addHandler(handler)
    yield seen
    logging.getLogger(NAME).removeHandler(handler)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "kind 0x47 is not one of AudioSocket's; is the peer an Asterisk?"),
        (b"\x10\x00\x02\x00\x00", "the first frame must be the call's UUID"),
        (b"\x01\x00\x0f" + bytes(15), "holds 15 bytes; it must hold 16"),
        (b"\x01\x00\x10" + bytes(16) + b"\x10\x00\x03\x00\x00\x00", "3 bytes does not hold whole 16-bit samples"),
        (b"\x01\x00\x10" + bytes(16) + b"\x10\x00\x00\x01\x00\x10" + bytes(16), "a second UUID came"),
        (b"\x01\x00\x10" + bytes(16) + b"\x03\x00\x0012", "holds 0 bytes; it must hold 1"),
        (b"\x01\x00\x10" + bytes(16) + b"\xff\x00\x01\x02", "Asterisk reported error 2"),
    ],
)
async def test_a_bad_frame_closes_its_connection_with_one_line(
    engine: Engine, warnings_seen: list[str], data: bytes, words: str
) -> None:
    announcer = Announcer(greeting=SENTENCE * 2)
    async with answering(engine, announcer) as server, calling(server.port) as other:
        await other.until_loud()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(data)
        async with asyncio.timeout(3):
            rest = await reader.read()
        if data[-4:-3] != b"\xff":
            assert rest.endswith(b"\x00\x00\x00"), "it is hung up on, not just cut off"
        writer.close()
        await writer.wait_closed()
        assert len(warnings_seen) == 1 and words in warnings_seen[0]
        assert other.hung_up_at is None
        at = [one.at for one in other.heard]
        assert at[-1] - at[0] == pytest.approx((len(at) - 1) * 0.02, abs=0.06), "the other call keeps its pace"


async def test_a_connection_that_says_nothing_is_closed(engine: Engine, warnings_seen: list[str]) -> None:
    limits = CallLimits(hello_s=0.2)
    async with answering(engine, Announcer(greeting=SENTENCE), limits=limits) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        async with asyncio.timeout(2):
            assert await reader.read() == b"\x00\x00\x00"
        writer.close()
        await writer.wait_closed()
        assert "did not say within 0.2 s which call it is" in warnings_seen[0]
        await until(lambda: server.num_calls == 0)


async def test_a_look_whether_the_port_is_open_is_not_worth_a_warning(engine: Engine, warnings_seen: list[str]) -> None:
    async with answering(engine, Announcer(greeting=SENTENCE)) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.close()
        await writer.wait_closed()
        await until(lambda: server.num_calls == 0)
        assert warnings_seen == []


async def test_a_line_that_went_dead_is_hung_up_on(engine: Engine, warnings_seen: list[str]) -> None:
    limits = CallLimits(silent_s=0.4)
    announcer = Announcer(greeting=SENTENCE * 5)
    async with answering(engine, announcer, limits=limits) as server, calling(server.port, talks=False) as phone:
        await phone.until_hung_up(limit_s=3)
        assert phone.was_told
        assert "nothing came for 0.4 s" in warnings_seen[0]


async def test_half_a_frame_is_not_a_sign_of_life(engine: Engine, warnings_seen: list[str]) -> None:
    limits = CallLimits(silent_s=0.4)
    announcer = Announcer(greeting=SENTENCE * 5)
    async with answering(engine, announcer, limits=limits) as server, calling(server.port, talks=False) as phone:
        started = time.monotonic()
        phone.writer.write(b"\x10\xff\xfe")
        while phone.hung_up_at is None and time.monotonic() - started < 3:
            phone.writer.write(b"\x00")
            await asyncio.sleep(0.05)
        assert phone.was_told and phone.hung_up_at is not None and phone.hung_up_at - started < 2


async def test_a_peer_that_does_not_read_is_closed(engine: Engine, tone: ToneBackend, warnings_seen: list[str]) -> None:
    limits = CallLimits(write_s=0.3)
    announcer = Announcer(greeting=SENTENCE, hangs_up=False)
    async with answering(engine, announcer, limits=limits) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        frame = b"\x16\x07\x80" + bytes(1_920)
        writer.write(b"\x01\x00\x10" + uuid.uuid4().bytes + frame)
        async with asyncio.timeout(30):
            while not warnings_seen:  # the kernel takes some seconds of audio of its own
                writer.write(frame)
                await asyncio.sleep(0.05)
        assert "the other side no longer reads" in warnings_seen[0]
        await until(lambda: server.num_calls == 0)
        writer.transport.abort()


async def test_one_call_too_many_is_told_so_and_the_others_go_on(engine: Engine, warnings_seen: list[str]) -> None:
    limits = CallLimits(max_calls=2)
    announcer = Announcer(greeting=SENTENCE * 5)
    async with answering(engine, announcer, limits=limits) as server:
        async with calling(server.port) as first, calling(server.port) as second:
            await asyncio.gather(first.until_loud(), second.until_loud())
            async with calling(server.port) as third:
                await third.until_hung_up(limit_s=2)
                assert third.was_told and not third.heard
            assert warnings_seen == ["a call was refused: all 2 lines are taken"]
            assert first.hung_up_at is None and second.hung_up_at is None
        await until(lambda: server.num_calls == 0)
        async with calling(server.port) as fourth:
            await fourth.until_loud()


async def test_a_call_is_not_endless(engine: Engine, warnings_seen: list[str]) -> None:
    announcer = Announcer(greeting=SENTENCE, hangs_up=False)
    async with answering(engine, announcer, limits=CallLimits(longest_s=0.5)) as server:
        async with calling(server.port) as phone:
            await phone.until_hung_up(limit_s=3)
            assert phone.was_told and "over the 0.5 s that a call may last" in warnings_seen[0]


async def test_an_engine_that_is_full_or_fails_hangs_up_with_its_reason(
    engine: Engine, tone: ToneBackend, warnings_seen: list[str]
) -> None:
    async with answering(engine, Announcer(greeting=SENTENCE)) as server:
        tone.fail_next(EngineFull("all 4 streams are taken"))
        async with calling(server.port) as phone:
            await phone.until_hung_up(limit_s=3)
            assert phone.was_told and not phone.loud_times()
        assert "it could not be answered: all 4 streams are taken" in warnings_seen[0]
        async with calling(server.port) as phone:
            await phone.until_loud()


async def test_a_handler_that_breaks_costs_its_own_call(engine: Engine, warnings_seen: list[str]) -> None:
    async def answer(call: Call) -> None:
        raise RuntimeError("a bug")

    async with answering(engine, answer) as server, calling(server.port) as phone:
        await phone.until_hung_up(limit_s=3)
        assert phone.was_told
        assert any("its handler failed (RuntimeError)" in line for line in warnings_seen)


@pytest.mark.parametrize("grace_s", [0.0, 30.0])
async def test_a_shutdown_hangs_up_or_lets_the_calls_end(engine: Engine, grace_s: float) -> None:
    async with contextlib.AsyncExitStack() as phones:
        async with answering(engine, Announcer(greeting=SENTENCE), grace_s=grace_s) as server:
            phone = await phones.enter_async_context(calling(server.port))
            await phone.until_loud()
            leaving = time.monotonic()
        await phone.until_hung_up(limit_s=1)
        assert phone.was_told
        loud_s = len(phone.loud_times()) * 0.02
        if grace_s:
            assert loud_s == pytest.approx(1.0, abs=0.1)
        else:
            assert loud_s < 0.7 and time.monotonic() - leaving < 1.5


async def test_a_hundred_calls_leave_no_task_no_stream_and_no_socket(engine: Engine, tone: ToneBackend) -> None:
    """A third hangs up in mid-speech, a third breaks off, a third hears the end; the last fifty are measured."""

    async def call(port: int, kind: int) -> None:
        async with calling(port) as phone:
            await phone.until_loud()
            if kind == 0:
                phone.send(0x00)
            elif kind == 1:
                phone.writer.transport.abort()
            else:
                await phone.until_hung_up()
                assert phone.was_told

    def resources() -> tuple[int, int]:
        return len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))

    limits = CallLimits(max_calls=32)
    async with answering(engine, Announcer(greeting="Hello."), limits=limits) as server:
        before = (0, 0)
        for batch in range(5):
            await asyncio.gather(*(call(server.port, number % 3) for number in range(20)))
            await until(lambda: server.num_calls == 0 and tone.num_streams == 0)
            await asyncio.sleep(0.05)
            if batch == 1:
                before = resources()
        assert resources() == before


async def test_four_hundred_random_peers_raise_nothing_and_leave_nothing(engine: Engine, tone: ToneBackend) -> None:
    rng = np.random.default_rng(11)
    failures: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))

    async def peer(port: int, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        good = b"\x01\x00\x10" + rng.bytes(16) + (b"\x10\x01\x40" + rng.bytes(320)) * int(rng.integers(0, 4))
        data = (good if number % 2 else b"") + rng.bytes(int(rng.integers(0, 600)))
        for piece in np.array_split(np.frombuffer(data, np.uint8), int(rng.integers(1, 5))):
            writer.write(piece.tobytes())
            await asyncio.sleep(0)
        if number % 3 == 0:
            writer.transport.abort()
        elif number % 3 == 1:
            writer.write_eof()
        await asyncio.sleep(0.01)
        writer.close()

    limits = CallLimits(max_calls=64, hello_s=0.2)
    async with answering(engine, Announcer(greeting=SENTENCE), limits=limits) as server:
        for _ in range(8):
            await asyncio.gather(*(peer(server.port, number) for number in range(50)))
        await until(lambda: server.num_calls == 0 and tone.num_streams == 0)
        assert failures == []
        async with calling(server.port) as phone:
            await phone.until_loud()
