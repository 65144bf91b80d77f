"""What a hostile or slow peer does to a real server on loopback, and what others notice of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.fakes import hear, serving, tone_engine
from xtts_rtc.api import Engine
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.guard.guards import Guards

pytestmark = pytest.mark.net


@pytest.fixture
async def engine(no_leaked_tasks: None) -> AsyncIterator[Engine]:
    async with tone_engine(ToneBackend()) as made:
        yield made


async def talk(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Send the parts and return what comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = asyncio.create_task(_all_of(reader))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
            if received.done():
                break
    except ConnectionError:
        pass
    try:
        return await asyncio.wait_for(received, 5)
    finally:
        writer.close()


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    """Up to the end or to a reset, which is what a peer gets that goes on sending after the answer."""
    received = b""
    try:
        while data := await reader.read(65536):
            received += data
    except ConnectionError:
        pass
    return received


def parse(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["code"]


async def test_a_header_that_trickles_in_is_given_up_and_nobody_else_waits(engine: Engine) -> None:
    drops = [b"GET /healthz HTTP/1.1\r\n", *[b"x-a: b\r\n"] * 100]
    async with serving(engine, guards=Guards(header_s=0.4)) as port:
        slow = [asyncio.create_task(talk(port, *drops, pause_s=0.02)) for _ in range(20)]
        async with httpx.AsyncClient() as client:
            while not slow[0].done():
                assert (await client.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
                await asyncio.sleep(0.05)
        assert {parse(answer) for answer in await asyncio.gather(*slow)} == {(408, "request_timeout")}


async def test_a_connection_that_says_nothing_is_closed(engine: Engine) -> None:
    async with serving(engine, guards=Guards(header_s=0.1)) as port:
        assert parse(await talk(port)) == (408, "request_timeout")


async def test_a_second_request_on_a_connection_has_the_same_limit(engine: Engine) -> None:
    async with serving(engine, guards=Guards(header_s=0.3)) as port:
        whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        answer = await talk(port, whole, b"GET /healthz HTTP/1.1\r\n", b"", pause_s=0.1)
        first, second = answer.split(b"HTTP/1.1 408")
        assert first.startswith(b"HTTP/1.1 200") and b"request_timeout" in second


async def test_speech_goes_on_longer_than_a_header_may_take(engine: Engine) -> None:
    async with (
        serving(engine, guards=Guards(header_s=0.1)) as port,
        Engine.connect(f"http://127.0.0.1:{port}") as remote,
    ):
        async with remote.open() as speech:
            await asyncio.sleep(0.4)
            speech.push_text("Still here. ")
            speech.end_input()
            assert (await hear(speech))[-1].is_final


async def test_a_body_that_trickles_in_is_given_up(engine: Engine) -> None:
    head = b"POST /tts HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    async with serving(engine, guards=Guards(body_s=0.3)) as port:
        assert parse(await talk(port, head, *[b" "] * 100, pause_s=0.02)) == (408, "request_timeout")


async def test_an_answer_that_nobody_reads_is_given_up(engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    body = json.dumps({"text": "word " * 600, "format": "wav", "sample_rate": 48000}).encode()
    head = b"POST /tts HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with serving(engine, guards=Guards(unread_s=0.3)) as port:
        with contextlib.closing(socket.socket()) as idler, caplog.at_level(logging.INFO, "xtts_rtc.access"):
            idler.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            idler.connect(("127.0.0.1", port))
            idler.sendall(head + body)
            async with asyncio.timeout(20):
                while "POST /tts 200" not in caplog.text:  # the line comes when nothing of the request is left
                    await asyncio.sleep(0.05)


async def test_an_upload_in_chunks_is_stopped_at_the_limit(engine: Engine) -> None:
    head = (
        b"POST /v1/voices/anna HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    start = b'--b\r\nContent-Disposition: form-data; name="clip"; filename="a.wav"\r\n\r\n'
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in (start, *[b"\0" * 50_000] * 1000)]
    sent = 0

    async with serving(engine, guards=Guards(max_upload_bytes=200_000)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        answer = asyncio.create_task(reader.read(4000))
        for chunk in chunks:
            if answer.done():
                break
            writer.write(chunk)
            sent += len(chunk)
            try:
                await writer.drain()
            except ConnectionError:
                break
            await asyncio.sleep(0)
        assert parse(await answer) == (413, "too_large")
        writer.close()
    assert sent < 5_000_000  # of 50 MB; what the kernel's buffers take is sent in vain


async def test_an_upload_that_is_given_up_is_no_failure_of_the_server(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    head = (
        b"POST /v1/voices/anna HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
    )
    with caplog.at_level(logging.INFO):
        async with serving(engine) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head)
            await asyncio.sleep(0.1)
            writer.close()
            async with asyncio.timeout(5):
                while "POST /v1/voices/{voice_id} 499" not in caplog.text:
                    await asyncio.sleep(0.01)
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 40_000, 400),
        (b"GET /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: " + b"y" * 20_000 + b"\r\n\r\n", 431),
        (b"POST /tts HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n", 413),
    ],
)
async def test_what_is_no_request_is_told_so_in_our_form(engine: Engine, sent: bytes, status: int) -> None:
    async with serving(engine, guards=Guards(header_s=2)) as port:
        assert parse(await talk(port, sent))[0] == status


async def test_one_connection_too_many_is_refused_and_the_others_live(engine: Engine) -> None:
    async with serving(engine, guards=Guards(max_connections=3)) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        assert parse(await talk(port)) == (503, "engine_unavailable")
        for reader, writer in held:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"200 OK" in await reader.read()
            writer.close()
        assert b"200 OK" in await talk(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


async def test_started_and_the_handshake_carry_the_request_id(engine: Engine) -> None:
    from websockets.asyncio.client import connect

    async with serving(engine, api_key="the-key") as port:
        headers = {"Authorization": "Bearer the-key", "X-Request-ID": "call-7"}
        async with connect(f"ws://127.0.0.1:{port}/v1/speech", additional_headers=headers, proxy=None) as line:
            assert line.response is not None and line.response.headers["X-Request-ID"] == "call-7"
            await line.send(json.dumps({"type": "start", "id": "u1"}))
            assert json.loads(await line.recv())["request_id"] == "call-7"
