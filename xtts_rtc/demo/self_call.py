"""The command `demo --self-call`: a recorded caller calls the agent over real WebRTC, and measures it.

The engine, the agent with its models, the HTTP server that the call is offered to, and the caller run in this
process, on 127.0.0.1. What goes between the two ends is RTP: directly, or through a LiveKit server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx
import uvicorn
from starlette.applications import Starlette

from xtts_rtc.api import Engine
from xtts_rtc.app import listen
from xtts_rtc.composition import engine_of
from xtts_rtc.demo import report, script, timeline
from xtts_rtc.demo.livekit_server import RoomServer, reachable_server
from xtts_rtc.demo.peer_session import converse
from xtts_rtc.demo.phone import phoning
from xtts_rtc.demo.recogniser import Recogniser
from xtts_rtc.demo.rehearsal import rehearse
from xtts_rtc.demo.room_line import calling_in
from xtts_rtc.demo.room_session import answering_in
from xtts_rtc.demo.session import Kit, load_kit
from xtts_rtc.errors import SetupError
from xtts_rtc.settings import Settings
from xtts_rtc.transports.webrtc import Calls, IceOptions, Peer, call_routes
from xtts_rtc.transports.webrtc.peer import LOOPBACK

_START_S = 20.0


class Switchboard:
    """Keeps the peers, so that their own counts can be read after the call."""

    def __init__(self, kit: Kit) -> None:
        self.peers: list[Peer] = []
        self._kit = kit

    async def talk(self, peer: Peer) -> None:
        self.peers.append(peer)
        await converse(self._kit, peer)


async def measure(settings: Settings, engine: Engine) -> report.Call:
    """One call by the script. Raises TimeoutError when the agent does not answer."""
    kit = await asyncio.to_thread(load_kit, settings, engine, num_calls=1)
    board = Switchboard(kit)
    try:
        await rehearse(kit)
        async with Calls(board.talk, max_calls=1, ice=IceOptions(addresses=(LOOPBACK,))) as calls:
            async with _serving(calls) as url, httpx.AsyncClient(base_url=url) as http:
                async with phoning(partial(offer_to, http), limit_s=_START_S) as phone:
                    exchanges = await script.play(phone)
    finally:
        await kit.aclose()
    underruns = sum(peer.playout.num_underruns for peer in board.peers)
    return report.Call(phone, exchanges, underruns, phone.concealed_samples())


@contextlib.asynccontextmanager
async def _serving(calls: Calls) -> AsyncIterator[str]:
    """`POST /call` on a free port; its address."""
    listener = listen(LOOPBACK, 0)
    config = uvicorn.Config(Starlette(routes=list(call_routes(calls))), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            await asyncio.sleep(0.005)
        yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
        listener.close()


async def offer_to(http: httpx.AsyncClient, offer: str) -> str:
    """The answer of a server with `call_routes`. Raises httpx.HTTPStatusError when it takes no call."""
    answer = await http.post("/call", content=offer, headers={"Content-Type": "application/sdp"}, timeout=_START_S)
    answer.raise_for_status()
    return answer.text


async def measure_in_room(settings: Settings, engine: Engine, server: RoomServer) -> report.Call:
    """The same in a room of a LiveKit server. Raises SetupError too, when it cannot be used."""
    kit = await asyncio.to_thread(load_kit, settings, engine, num_calls=1)
    name = f"self-call-{secrets.token_hex(4)}"
    try:
        await rehearse(kit)
        async with answering_in(kit, server, name) as gaps, calling_in(server, name) as line:
            exchanges = await script.play(line)
            concealed = await line.concealed_samples()
    finally:
        await kit.aclose()
    return report.Call(line, exchanges, gaps.num_underruns, concealed, transport="livekit")


def perform(settings: Settings, out: Path, transport: str = "webrtc") -> str:
    """Call, measure, write `out`/call.wav, call.json and call.png; the table.

    transport: webrtc, straight from caller to agent, or livekit, in a room. Raises SetupError, ConfigError.
    """
    timeline.need_matplotlib()
    with contextlib.ExitStack() as stack:
        room_server = None
        if transport == "livekit":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            room_server = stack.enter_context(reachable_server(folder / "livekit.log", os.environ))
        engine = engine_of(settings)
        stack.callback(engine.close)
        recogniser = Recogniser()
        stack.callback(recogniser.close)
        measuring = measure_in_room(settings, engine, room_server) if room_server else measure(settings, engine)
        try:
            call = asyncio.run(measuring)
        except TimeoutError:
            raise SetupError("the agent did not answer in time; is this machine busy with something else?") from None
        document = report.document(call, recogniser)
    out.mkdir(parents=True, exist_ok=True)
    (out / "call.wav").write_bytes(report.stereo(call))
    (out / "call.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    timeline.draw(document, out / "call.png")
    return f"{report.table(document['summary'])}\n\n{out}: call.wav, call.json, call.png"


__all__ = ["Switchboard", "measure", "measure_in_room", "offer_to", "perform"]
