"""From the first socket to the end of the engine: what is answered at each moment, and who is told what."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tests.fakes import hear, tone_engine
from tests.server_process import START_S, free_port, server_process
from xtts_rtc import app
from xtts_rtc.api import Engine
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.errors import CheckpointError, ConfigError, EngineUnavailable
from xtts_rtc.guard.guards import Guards
from xtts_rtc.guard.keys import KeyRing
from xtts_rtc.metrics import Metrics
from xtts_rtc.server_status import server_status
from xtts_rtc.settings import load_settings

pytestmark = pytest.mark.net

LONG = "A sentence of some length. " * 50


def test_a_port_that_is_taken_is_an_error() -> None:
    with app.listen("127.0.0.1", 0) as first, pytest.raises(OSError):
        app.listen("127.0.0.1", first.getsockname()[1])


def test_the_kernel_holds_little_audio_for_a_slow_client() -> None:
    with app.listen("127.0.0.1", 0) as listener:
        # Linux doubles what it is asked for.
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * 128 * 1024


@contextlib.asynccontextmanager
async def living(
    load: Callable[[Metrics], Engine], **options: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, asyncio.Task[bool]]]:
    """`serve` in this process, and a client of it; ended with a signal if it still runs."""
    port = free_port()
    serving = asyncio.create_task(app.serve(load, port=port, **options))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(httpx.ConnectError):
                    await client.get("/healthz")
                    break
                await asyncio.sleep(0.01)
        try:
            yield client, serving
        finally:
            if not serving.done():
                os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(10):
                await asyncio.wait([serving])


async def until_ready(client: httpx.AsyncClient) -> Engine:
    async with asyncio.timeout(10):
        while (await client.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.01)
    return Engine.connect(str(client.base_url))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_engine_then_the_sockets_and_returns(number: signal.Signals) -> None:
    tone = ToneBackend(max_ahead_s=3.0)
    async with living(lambda metrics: tone_engine(tone), grace_s=0) as (client, serving):
        async with await until_ready(client) as remote:
            speech = remote.open()
            speech.push_text(LONG)
            await anext(aiter(speech))
            os.kill(os.getpid(), number)
            with pytest.raises(EngineUnavailable, match="closed|shutting down"):
                await hear(speech)
        async with asyncio.timeout(10):
            await serving
    assert tone.is_dead and tone.num_streams == 0


async def test_the_server_answers_while_the_engine_loads() -> None:
    may_load = threading.Event()

    def load(metrics: Metrics) -> Engine:
        assert may_load.wait(10)
        return tone_engine(ToneBackend())

    async with living(load) as (client, _):
        assert (await client.get("/healthz")).status_code == 200
        ready = await client.get("/readyz")
        assert ready.status_code == 503 and "loading" in ready.json()["reason"]
        for answer in (
            await client.post("/tts", json={"text": "Hello."}),
            await client.post("/v1/audio/speech", json={"model": "tts-1", "input": "Hello.", "voice": "default"}),
            await client.get("/v1/voices"),
        ):
            assert answer.status_code == 503 and "loading" in answer.text and int(answer.headers["retry-after"]) >= 1
        async with Engine.connect(str(client.base_url)) as early:
            with pytest.raises(EngineUnavailable, match="loading"):
                await hear(early.open())
        may_load.set()
        async with await until_ready(client):
            pass
        answer = await client.post("/tts", json={"text": "Hello."})
        assert answer.status_code == 200 and answer.content[:4] == b"RIFF"


async def test_an_engine_that_cannot_be_loaded_ends_the_server_with_its_error() -> None:
    def load(metrics: Metrics) -> Engine:
        raise CheckpointError("no model there")

    with pytest.raises(CheckpointError, match="no model there"):
        await asyncio.wait_for(app.serve(load, port=free_port()), 10)


async def test_running_speech_ends_in_peace_and_new_speech_is_refused() -> None:
    tone = ToneBackend(max_ahead_s=0.5)
    async with living(lambda metrics: tone_engine(tone), grace_s=20) as (client, serving):
        async with await until_ready(client) as remote:
            speech = remote.open()
            speech.push_text("About two seconds of speech. ")
            speech.end_input()
            chunks = [await anext(aiter(speech))]
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.05)
            refused = await client.post("/tts", json={"text": "Hello."})
            assert refused.status_code == 503 and "shutting down" in refused.json()["error"]
            ready = await client.get("/readyz")
            assert ready.status_code == 503 and "shutting down" in ready.json()["reason"]
            with pytest.raises(EngineUnavailable, match="shutting down"):
                await hear(remote.open())
            assert not serving.done()
            chunks += await hear(speech)
        assert chunks[-1].is_final and sum(chunk.pcm.size for chunk in chunks) > 24_000
        async with asyncio.timeout(5):
            await serving
    assert tone.is_dead


async def test_an_answer_over_http_is_cut_and_not_ended_when_the_grace_is_over() -> None:
    async with living(lambda metrics: tone_engine(ToneBackend(max_ahead_s=0.5)), grace_s=0.3) as (client, serving):
        await (await until_ready(client)).aclose()
        signalled: list[float] = []
        with pytest.raises(httpx.RemoteProtocolError):  # a transfer without its last chunk
            async with client.stream("POST", "/tts_stream", json={"text": LONG}) as answer:
                assert answer.status_code == 200
                async for _ in answer.aiter_bytes():
                    if not serving.done() and not signalled:
                        signalled.append(time.monotonic())
                        os.kill(os.getpid(), signal.SIGTERM)
        assert 0.2 < time.monotonic() - signalled[0] < 3


async def test_a_second_signal_ends_it_at_once() -> None:
    async with living(lambda metrics: tone_engine(ToneBackend()), grace_s=600) as (client, serving):
        async with await until_ready(client) as remote:
            speech = remote.open()
            speech.push_text(LONG)
            await anext(aiter(speech))
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.1)
            assert not serving.done()
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(3):
                await serving
            with pytest.raises(EngineUnavailable):
                await hear(speech)


async def test_a_server_without_a_key_on_a_public_address_warns_and_keeps_its_voices(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    public = ipaddress.ip_address("203.0.113.7")
    monkeypatch.setattr(app.ipaddress, "ip_address", lambda text: public)
    for keys in (KeyRing(), KeyRing({"anna": "annas-key"})):
        caplog.clear()
        async with living(lambda metrics: tone_engine(ToneBackend()), guards=Guards(keys=keys)) as (client, _):
            await until_ready(client)
            client.headers["Authorization"] = "Bearer annas-key"
            answer = await client.delete("/v1/voices/zoe")
        assert (answer.json()["code"] == "forbidden") == (not keys)
        assert ("everybody who reaches" in caplog.text) == (not keys)


@pytest.mark.parametrize("key", ["schlüssel", "trailing ", "two words", "tab\there"])
def test_a_key_that_no_client_can_send_stops_the_start(key: str) -> None:
    settings = load_settings({"server": {"api_key": SecretStr(key)}}, environ={}, dotenv=None)
    with pytest.raises(ConfigError, match="XTTS_API_KEY must be ASCII") as refused:
        app.guards_of(settings)
    assert key not in str(refused.value)


async def test_a_server_for_this_machine_alone_knows_a_page_by_its_host() -> None:
    for keys in (KeyRing(), KeyRing({"anna": "annas-key"})):
        async with living(lambda metrics: tone_engine(ToneBackend()), guards=Guards(keys=keys)) as (client, _):
            await until_ready(client)
            headers = {"Authorization": "Bearer annas-key", "Origin": "http://evil.example", "Host": "evil.example"}
            answer = await client.post("/tts", json={"text": "Hello."}, headers=headers)
        assert answer.status_code == (200 if keys else 403)  # a key is what a foreign page has not


def test_sigterm_in_mid_speech_of_the_real_program_ends_it_cleanly(tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = ("--log-format", "json", "--grace", "20", "--output-dir", str(tmp_path))
    with server_process(log, *options, XTTS_API_KEY="the-secret-key") as server:
        headers = {"Authorization": "Bearer the-secret-key", "X-Request-ID": "call-1"}
        body = {"text": "These words are spoken and never logged."}
        with httpx.stream("POST", f"{server.url}/tts_stream", json=body, headers=headers, timeout=60) as answer:
            parts = answer.iter_bytes()
            num_bytes = len(next(parts))
            os.kill(server.pid, signal.SIGTERM)
            num_bytes += sum(len(part) for part in parts)
        assert answer.headers["x-request-id"] == "call-1" and num_bytes > 24_000
        assert server.stop() == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    spoken = next(line for line in lines if line.get("path") == "/tts_stream")
    assert (spoken["request_id"], spoken["key"], spoken["status"]) == ("call-1", "default", 200)
    text = log.read_text()
    assert "secret" not in text and "spoken" not in text and "Traceback" not in text


def test_a_signal_while_it_loads_ends_the_program_when_it_has_loaded(tmp_path: Path) -> None:
    server = _starting(tmp_path / "log")
    server.terminate()
    assert server.wait(START_S) == 0


def test_a_second_signal_while_it_loads_ends_the_program_at_once(tmp_path: Path) -> None:
    server = _starting(tmp_path / "log")
    server.terminate()
    time.sleep(0.02)
    server.terminate()
    # It once was -6: the interpreter took the libraries down under the thread that loads.
    assert server.wait(START_S) in (0, 130)


def _starting(log: Path) -> subprocess.Popen[bytes]:
    """A server whose sockets are open and whose engine is not there yet."""
    port = free_port()
    with log.open("ab") as file:
        command = [sys.executable, "-m", "xtts_rtc.cli", "serve", "--port", str(port)]
        process = subprocess.Popen(command, stdout=file, stderr=file)
    deadline = time.monotonic() + START_S
    while "loading" not in server_status(f"http://127.0.0.1:{port}").reason:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.005)
    return process
