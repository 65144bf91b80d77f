"""The client against a server that is restarted, that lies, or that is not there."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_websocket
from websockets.exceptions import ConnectionClosed

from tests.fakes import hear, joined, serving, tone_engine
from xtts_rtc.api import Engine
from xtts_rtc.client import RemoteSpeech, SpeechClient
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.errors import (
    ConfigError,
    EngineError,
    EngineFull,
    EngineUnavailable,
    ProtocolError,
    Unauthorized,
    XttsRtcError,
)
from xtts_rtc.types import StreamRequest

pytestmark = pytest.mark.net

TEXT = "The first sentence is here. A second one follows it!"


def say(client: SpeechClient, text: str = TEXT) -> RemoteSpeech:
    speech = client.open(StreamRequest())
    speech.push_text(text)
    speech.end_input()
    return speech


@contextlib.asynccontextmanager
async def client_of(port: int, **options: Any) -> AsyncIterator[SpeechClient]:
    client = SpeechClient(f"ws://127.0.0.1:{port}", **options)
    try:
        yield client
    finally:
        await client.aclose()


@contextlib.asynccontextmanager
async def scripted(script: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[int]:
    """A server that runs `script` for each socket."""

    async def handle(socket: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            await script(socket)

    async with serve_websocket(handle, "127.0.0.1", 0) as server:
        yield next(iter(server.sockets)).getsockname()[1]


@pytest.fixture
async def engine(no_leaked_tasks: None) -> AsyncIterator[Engine]:
    async with tone_engine(ToneBackend()) as made:
        yield made


async def test_utterances_share_a_socket_one_after_the_other(engine: Engine) -> None:
    async with serving(engine) as port, client_of(port) as client:
        lines = []
        for _ in range(4):
            async with say(client) as speech:
                await hear(speech)
            assert client.num_idle == 1
            line, is_reused = await client.take()
            assert is_reused
            lines.append(line)
            await client.give_back(line)
        assert len(set(lines)) == 1


async def test_a_socket_is_kept_through_a_cancel(engine: Engine) -> None:
    async with serving(engine) as port, client_of(port) as client:
        async with say(client, TEXT * 50) as speech:
            await anext(aiter(speech))
        assert client.num_idle == 1


async def test_no_more_sockets_are_kept_than_asked_for(engine: Engine) -> None:
    async with serving(engine) as port, client_of(port, max_idle=2) as client:
        await asyncio.gather(*(hear(say(client)) for _ in range(5)))
        async with asyncio.timeout(5):
            while client.num_idle != 2:
                await asyncio.sleep(0.001)


async def test_a_restarted_server_serves_the_next_utterance(engine: Engine) -> None:
    async with contextlib.AsyncExitStack() as first:
        port = await first.enter_async_context(serving(engine))
        async with client_of(port) as client:
            assert (await hear(say(client)))[-1].is_final
            idle, running = say(client), say(client, TEXT * 50)
            await hear(idle)
            await anext(aiter(running))
            await first.aclose()
            with pytest.raises(EngineUnavailable, match="lost"):
                await hear(running)
            with pytest.raises(EngineUnavailable, match="no engine"):
                await hear(say(client))
            async with serving(engine, port=port):
                assert (await hear(say(client)))[-1].is_final


async def test_a_kept_socket_that_died_unseen_is_replaced_without_a_word(no_leaked_tasks: None) -> None:
    heard: list[list[str]] = []

    async def one_utterance_each(socket: ServerConnection) -> None:
        kinds = []
        async for data in socket:
            message = json.loads(data)
            kinds.append(message["type"])
            if message["type"] == "end":
                heard.append(kinds)
                await socket.send(json.dumps({"type": "started", "id": message["id"]}))
                await socket.send(json.dumps({"type": "done", "id": message["id"], "metrics": {}}))
                await socket.recv()  # the next start, which it drops on the floor
                socket.transport.abort()
                return

    async with scripted(one_utterance_each) as port, client_of(port) as client:
        for _ in range(3):
            async with say(client) as speech:
                assert (await hear(speech))[-1].is_final
    assert heard == [["start", "text", "end"]] * 3


async def test_a_drop_in_mid_speech_is_an_error_that_may_be_retried(no_leaked_tasks: None) -> None:
    async def drops(socket: ServerConnection) -> None:
        start = json.loads(await socket.recv())
        await socket.send(json.dumps({"type": "started", "id": start["id"]}))
        await socket.send(b"\0\0" * 100)
        socket.transport.abort()

    async with scripted(drops) as port, client_of(port) as client, say(client) as speech:
        heard = []
        with pytest.raises(EngineUnavailable) as caught:
            async for chunk in speech:
                heard.append(chunk)
        assert caught.value.retryable and joined(heard).size == 100


@pytest.mark.parametrize(
    "replies",
    [
        ["this is not json"],
        ["[]"],
        [b"\0\0"],
        [json.dumps({"type": "started"}), b"\0\0\0"],
    ],
    ids=["not json", "no object", "audio before started", "half a sample"],
)
async def test_a_server_that_breaks_the_protocol_is_told_apart(
    no_leaked_tasks: None, replies: list[str | bytes]
) -> None:
    async def lies(socket: ServerConnection) -> None:
        await socket.recv()
        for reply in replies:
            await socket.send(reply)
        await socket.wait_closed()

    async with scripted(lies) as port, client_of(port) as client, say(client) as speech:
        with pytest.raises(ProtocolError, match=f"127.0.0.1:{port}"):
            await hear(speech)
        assert client.num_idle == 0


async def test_messages_of_another_utterance_are_not_heard(no_leaked_tasks: None) -> None:
    async def mixes(socket: ServerConnection) -> None:
        start = json.loads(await socket.recv())
        await socket.send(json.dumps({"type": "done", "id": "of yesterday"}))
        await socket.send(json.dumps({"type": "future message", "id": start["id"]}))
        await socket.send(json.dumps({"type": "started", "id": start["id"]}))
        await socket.send(json.dumps({"type": "segment", "id": start["id"], "index": 0, "text": TEXT}))
        await socket.send(json.dumps({"type": "done", "id": start["id"]}))
        await socket.wait_closed()

    async with scripted(mixes) as port, client_of(port) as client, say(client) as speech:
        chunks = await hear(speech)
    assert [chunk.text for chunk in chunks] == [TEXT]


async def test_a_cancel_without_an_answer_gives_the_socket_up(no_leaked_tasks: None) -> None:
    async def is_stuck(socket: ServerConnection) -> None:
        start = json.loads(await socket.recv())
        await socket.send(json.dumps({"type": "started", "id": start["id"]}))
        await socket.send(b"\0\0" * 100)
        await socket.wait_closed()

    async with scripted(is_stuck) as port, client_of(port) as client:
        speech = say(client)
        await anext(aiter(speech))
        started = asyncio.get_running_loop().time()
        await speech.aclose()
        assert asyncio.get_running_loop().time() - started < 1.5
        assert client.num_idle == 0 and await hear(speech) == []


@pytest.mark.parametrize(
    ("message", "kind", "retryable"),
    [
        ({"code": "engine_full", "message": "full", "retryable": True}, EngineFull, True),
        ({"code": "of_tomorrow", "message": "new", "retryable": True}, EngineError, True),
        ({"code": "error"}, XttsRtcError, False),
    ],
)
async def test_a_servers_error_becomes_ours(
    no_leaked_tasks: None, message: dict[str, object], kind: type[XttsRtcError], retryable: bool
) -> None:
    async def refuses(socket: ServerConnection) -> None:
        start = json.loads(await socket.recv())
        await socket.send(json.dumps({"type": "error", "id": start["id"], **message}))
        await socket.wait_closed()

    async with scripted(refuses) as port, client_of(port) as client, say(client) as speech:
        with pytest.raises(kind) as caught:
            await hear(speech)
        assert caught.value.retryable is retryable
        await speech.aclose()
        assert client.num_idle == 1, "an error ends the utterance, not the socket"


async def test_a_server_that_never_answers_is_given_up_in_time(no_leaked_tasks: None) -> None:
    async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(says_nothing, "127.0.0.1", 0)
    async with server, client_of(server.sockets[0].getsockname()[1], connect_timeout_s=0.1) as client:
        with pytest.raises(EngineUnavailable, match="within 0.1 s"):
            await hear(say(client))


async def test_nobody_there_is_unavailable_and_cancel_while_connecting_is_quiet(no_leaked_tasks: None) -> None:
    async with client_of(9) as client:
        with pytest.raises(EngineUnavailable, match=r"127\.0\.0\.1:9"):
            await hear(say(client))
        speech = say(client)
        await asyncio.sleep(0)
        speech.cancel()
        await speech.aclose()
        assert await hear(speech) == []


async def test_the_key_opens_and_is_in_no_message(engine: Engine) -> None:
    async with serving(engine, api_key="right-key") as port:
        async with client_of(port, api_key="wrong-key") as client:
            with pytest.raises(Unauthorized) as caught:
                await hear(say(client))
            assert "wrong-key" not in str(caught.value) and caught.value.__cause__ is None
            with pytest.raises(Unauthorized):
                await client.voices()
        async with client_of(port, api_key="right-key") as client:
            assert (await hear(say(client)))[-1].is_final
            assert await client.voices() == ["default"]


async def test_closing_the_client_cancels_what_runs(engine: Engine) -> None:
    async with serving(engine) as port:
        client = SpeechClient(f"http://127.0.0.1:{port}/")
        speech = say(client, TEXT * 50)
        await anext(aiter(speech))
        await client.aclose()
        await client.aclose()
        assert await hear(speech) == [] and (await engine.status()).num_streams == 0
        with pytest.raises(EngineUnavailable):
            client.open(StreamRequest())


async def test_closing_without_a_loop_ends_what_runs_with_an_error(engine: Engine) -> None:
    async with serving(engine) as port:
        remote = Engine.connect(f"http://127.0.0.1:{port}/")
        speech = remote.open()
        speech.push_text(TEXT * 50)
        await anext(aiter(speech))
        await asyncio.to_thread(remote.close)
        async with asyncio.timeout(5):
            with pytest.raises(EngineUnavailable, match="closed"):
                await hear(speech)
            while (await engine.status()).num_streams:
                await asyncio.sleep(0.01)


async def test_floats_arrive_bit_by_bit(engine: Engine) -> None:
    async with serving(engine) as port, client_of(port) as client:
        coarse = joined(await hear(say(client)))
        speech = client.open(StreamRequest(), encoding="pcm_f32le")
        speech.push_text(TEXT)
        speech.end_input()
        fine = joined(await hear(speech))
    assert coarse.size == fine.size
    assert (coarse * 32_768 == (coarse * 32_768).round()).all()
    assert not (fine * 32_768 == (fine * 32_768).round()).all()


def test_an_address_of_another_kind_is_refused() -> None:
    for url in ("ftp://host", "host:80", "http://", ""):
        with pytest.raises(ConfigError, match="http://host:port"):
            SpeechClient(url)
