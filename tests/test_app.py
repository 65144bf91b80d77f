from __future__ import annotations

import asyncio
import os
import signal
import socket

import pytest

from tests.fakes import hear, tone_engine
from xtts_rtc import app
from xtts_rtc.api import Engine
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.errors import EngineUnavailable

pytestmark = pytest.mark.net


def test_a_port_that_is_taken_is_an_error() -> None:
    with app.listen("127.0.0.1", 0) as first, pytest.raises(OSError):
        app.listen("127.0.0.1", first.getsockname()[1])


def test_the_kernel_holds_little_audio_for_a_slow_client() -> None:
    with app.listen("127.0.0.1", 0) as listener:
        # Linux doubles what it is asked for.
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * 128 * 1024


async def test_small_messages_leave_at_once() -> None:
    """Regression: of a listener without a named protocol asyncio leaves Nagle's algorithm on."""
    accepted: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    with app.listen("127.0.0.1", 0) as listener:
        server = await asyncio.start_server(lambda reader, writer: accepted.put_nowait(writer), sock=listener)
        async with server:
            _, client = await asyncio.open_connection(*listener.getsockname())
            served = await accepted.get()
            assert served.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for writer in (client, served):
                writer.close()
                await writer.wait_closed()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_sockets_then_the_engine_and_returns(number: signal.Signals) -> None:
    tone = ToneBackend(max_ahead_s=3.0)
    with app.listen("127.0.0.1", 0) as probe:
        port = probe.getsockname()[1]
    serving = asyncio.create_task(app.serve(lambda metrics: tone_engine(tone), port=port, grace_s=0))
    async with Engine.connect(f"http://127.0.0.1:{port}") as remote:
        async with asyncio.timeout(10):
            while not (await remote.status()).is_ready:
                await asyncio.sleep(0.01)
        speech = remote.open()
        speech.push_text("A sentence of some length. " * 50)
        await anext(aiter(speech))
        os.kill(os.getpid(), number)
        with pytest.raises(EngineUnavailable):
            await hear(speech)
    async with asyncio.timeout(10):
        await serving
    assert tone.is_dead and tone.num_streams == 0
