"""Calls over HTTP: what is answered, and every way to be refused; then many calls, and nothing left of them."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

pytest.importorskip("aiortc")

import httpx
import psutil
from starlette.applications import Starlette

from xtts_rtc.demo.phone import Phone, phoning
from xtts_rtc.transports.webrtc import Calls, IceOptions, Peer, call_routes
from xtts_rtc.transports.webrtc.peer import BadOffer
from xtts_rtc.transports.webrtc.routes import MAX_OFFER_BYTES

pytestmark = pytest.mark.net

SDP = {"Content-Type": "application/sdp"}


class Desk:
    """Calls behind HTTP; each caller hears nothing and is kept until it goes."""

    def __init__(self) -> None:
        self.options: list[dict[str, str]] = []
        self.calls = Calls(self._talk, max_calls=4, ice=IceOptions(addresses=("127.0.0.1",)))
        app = Starlette(routes=list(call_routes(self.calls)))
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://desk")
        self.locations: list[str] = []

    async def _talk(self, peer: Peer) -> None:
        self.options.append(peer.options)
        async for _ in peer.microphone():
            pass

    async def exchange(self, offer: str) -> str:
        response = await self.http.post("/call?voice=default&language=en", content=offer, headers=SDP)
        assert response.status_code == 201, response.text
        assert response.headers["content-type"].startswith("application/sdp")
        self.locations.append(response.headers["location"])
        return response.text

    async def until_empty(self) -> None:
        async with asyncio.timeout(5):
            while self.calls.num_calls:
                await asyncio.sleep(0.01)


@pytest.fixture
async def desk(no_leaked_tasks: None) -> AsyncIterator[Desk]:
    made = Desk()
    async with made.calls, made.http:
        yield made


async def test_a_post_opens_a_call_and_a_delete_ends_it(desk: Desk) -> None:
    async with phoning(desk.exchange) as phone:
        assert desk.options == [{"voice": "default", "language": "en"}]
        count = len(phone.frames)
        async with asyncio.timeout(5):
            while len(phone.frames) <= count + 10:
                await asyncio.sleep(0.01)
        ended = await desk.http.delete(desk.locations[0])
        assert ended.status_code == 200
        await desk.until_empty()
    again = await desk.http.delete(desk.locations[0])
    assert (again.status_code, again.json()["code"]) == (404, "no_such_call")


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"v=0", {"Content-Type": "application/json"}, 415, "not_sdp"),
        (b"v=0", {}, 415, "not_sdp"),
        (b"x" * (MAX_OFFER_BYTES + 1), SDP, 413, "offer_too_large"),
        (b"\xff\xfe", SDP, 400, "bad_offer"),
        (b"hello", SDP, 400, "bad_offer"),
    ],
)
async def test_what_is_no_offer_is_refused_with_a_reason(
    desk: Desk, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    response = await desk.http.post("/call", content=content, headers=headers)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.json()["error"]
    assert desk.calls.num_calls == 0


@pytest.mark.parametrize(
    ("client", "is_local"),
    [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("192.0.2.1", False), ("testclient", False)],
)
async def test_a_caller_on_this_machine_is_known_however_it_comes(
    client: str, is_local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[bool] = []

    async def refuse(calls: Calls, *values: object, is_local: bool) -> tuple[str, str]:
        found.append(is_local)
        raise BadOffer("not now")

    async def talk(peer: Peer) -> None: ...

    monkeypatch.setattr(Calls, "answer", refuse)
    app = Starlette(routes=list(call_routes(Calls(talk))))
    transport = httpx.ASGITransport(app, client=(client, 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://desk") as http:
        await http.post("/call", content=b"v=0", headers=SDP)
    assert found == [is_local]


async def test_a_full_server_says_when_to_call_again(desk: Desk) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(phoning(desk.exchange))
        response = await desk.http.post("/call", content=b"v=0", headers=SDP)
    assert (response.status_code, response.json()["code"]) == (503, "lines_busy")
    assert int(response.headers["retry-after"]) > 0
    await desk.until_empty()


async def one_call(exchange: Callable[[str], Awaitable[str]]) -> Phone:
    async with phoning(exchange) as phone:
        return phone


async def test_fifty_calls_one_after_another_and_four_at_once_leave_nothing_behind(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    process = psutil.Process()
    await one_call(desk.exchange)
    await desk.until_empty()
    await asyncio.gather(*(one_call(desk.exchange) for _ in range(4)))
    await desk.until_empty()
    before = _left(process)
    for number in range(50):
        phone = await one_call(desk.exchange)
        assert phone.frames
        if number == 20:
            await desk.until_empty()
            memory = _memory(process)
    await desk.until_empty()
    await asyncio.gather(*(one_call(desk.exchange) for _ in range(4)))
    await desk.until_empty()
    after, grown = _left(process), _memory(process) - memory
    with capsys.disabled():
        print(f"\nwebrtc: 54 calls; threads, tasks, sockets, peers {before} -> {after}; {grown / 2**20:+.1f} MiB in 33")
    assert after == before
    assert grown < 4 * 2**20


def _memory(process: psutil.Process) -> int:
    """What is really held: the allocator keeps pages of what was freed."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(process.memory_info().rss)


def _left(process: psutil.Process) -> tuple[int, int, int, int]:
    gc.collect()
    threads = [thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")]
    peers = sum(type(thing) is Peer for thing in gc.get_objects())
    return len(threads), len(asyncio.all_tasks()), len(process.net_connections("inet")), peers
