"""The command `demo`: a page to talk to, served on this machine until Ctrl+C.

In: settings, the same as agent.py's. Out: lines for people, one of them the address once it answers. What the
page is and what a call is stand elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import uvicorn

from xtts_rtc.app import guards_at, guards_of, listen
from xtts_rtc.composition import calls_of, engine_of
from xtts_rtc.demo.page_server import create_demo_server
from xtts_rtc.demo.peer_session import converse
from xtts_rtc.demo.rehearsal import rehearse
from xtts_rtc.demo.session import Kit, load_kit
from xtts_rtc.errors import ConfigError
from xtts_rtc.guard.gate import GatedEngine
from xtts_rtc.settings import Settings, WebRtcSettings
from xtts_rtc.transports.webrtc import Peer

Say = Callable[[str], None]
_WILDCARDS = ("0.0.0.0", "::")
_INTERRUPTED = 130
_PACKAGED_HINT = ", whose answers are weak; OPENAI_API_KEY or OPENAI_BASE_URL names another"


def _print(line: str) -> None:
    print(line, flush=True)


def perform(settings: Settings, say: Say = _print) -> None:
    """Load, say the address, serve until SIGINT or SIGTERM.

    Raises ConfigError for an address, a port or TLS files that cannot be used, before anything is loaded, and
    MissingExtra for a model that is not installed. A second signal ends the process at once.
    """
    check_tls(settings.webrtc)
    with listen_for(settings.webrtc, say) as listener:
        asyncio.run(_host(settings, listener, say))


def check_tls(webrtc: WebRtcSettings) -> None:
    """Raises ConfigError when the files do not make a server of https."""
    if webrtc.tls_cert is None or webrtc.tls_key is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            webrtc.tls_cert, webrtc.tls_key, password=lambda: ""
        )
    except (OSError, ssl.SSLError) as error:
        missing = next((path for path in (webrtc.tls_cert, webrtc.tls_key) if not Path(path).is_file()), None)
        why = f"{missing} is not there" if missing else f"{error.strerror or error}".split(" (_ssl")[0]
        raise ConfigError(
            f"tls_cert and tls_key cannot be used: {why}; both are PEM files, without a password"
        ) from None


def listen_for(webrtc: WebRtcSettings, say: Say) -> socket.socket:
    """A listening socket. A port that nobody asked for gives way when it is taken, and says so.

    Raises ConfigError when the address is not of this machine, or the port that was asked for is taken.
    """
    try:
        return listen(webrtc.host, webrtc.port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            why = (error.strerror or str(error)).lower()
            raise ConfigError(f"cannot listen on {webrtc.host} port {webrtc.port}: {why}") from None
        if "port" in webrtc.model_fields_set:
            raise ConfigError(
                f"port {webrtc.port} of {webrtc.host} is taken; name another, or 0 for a free one"
            ) from None
    listener = listen(webrtc.host, 0)
    say(f"port {webrtc.port} is taken: another one is used")
    return listener


def addresses(webrtc: WebRtcSettings, port: int) -> list[str]:
    """Where a browser finds the page: on this machine first."""
    scheme = "https" if webrtc.tls_cert else "http"
    hosts = [webrtc.host]
    if webrtc.host in _WILDCARDS:
        from aioice.ice import get_host_addresses

        hosts = ["127.0.0.1", *get_host_addresses(use_ipv4=True, use_ipv6=False)]
    return [f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}" for host in hosts]


async def _host(settings: Settings, listener: socket.socket, say: Say) -> None:
    """The page is there at once and says that models are loaded; calls are taken when they are."""
    guards = guards_at(listener, guards_of(settings))
    gate = GatedEngine(max_streams_per_key=guards.max_streams_per_key)
    loaded: asyncio.Future[Kit] = asyncio.get_running_loop().create_future()

    async def talk(peer: Peer) -> None:
        await converse(await loaded, peer, idle_s=settings.webrtc.idle_s)

    calls = calls_of(settings, talk)
    server = create_demo_server(gate, calls, settings.voices, guards=guards)
    # uvicorn makes its TLS context of these when it starts.
    server.config.ssl_certfile, server.config.ssl_keyfile = settings.webrtc.tls_cert, settings.webrtc.tls_key
    ending = _Ending(say)
    with ending.at_signals():
        async with contextlib.AsyncExitStack() as models, _serving(server, listener):
            say("loading the models ...")
            kit = await _load(settings, gate, models, ending)
            loaded.set_result(kit)
            gate.let_in(kit.engine)
            async with calls:
                if not ending.asked.is_set():
                    _announce(settings, kit, listener, ending.say)
                await ending.asked.wait()
                server.should_exit = True  # no new calls, while those that there are end


@contextlib.asynccontextmanager
async def _serving(server: uvicorn.Server, listener: socket.socket) -> AsyncIterator[None]:
    """It answers when the block begins. Raises what it fails with."""
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if not serving.done():
            yield
    finally:
        server.should_exit = True
        await serving


async def _load(settings: Settings, gate: GatedEngine, models: contextlib.AsyncExitStack, ending: _Ending) -> Kit:
    """`models` closes them. On a thread: a signal in the middle of a model's library is then no exception in it."""
    engine = await asyncio.to_thread(partial(engine_of, settings, metrics=gate.metrics))
    models.push_async_callback(engine.aclose)
    kit = await asyncio.to_thread(partial(load_kit, settings, engine, num_calls=settings.webrtc.max_calls))
    models.push_async_callback(kit.aclose)
    ending.has_loaded = True
    await rehearse(kit)
    return kit


def _announce(settings: Settings, kit: Kit, listener: socket.socket, say: Say) -> None:
    host, port = listener.getsockname()[:2]
    say(f"language model: {kit.brain.name}{_PACKAGED_HINT if kit.brain.is_packaged else ''}")
    if settings.webrtc.tls_cert is None and not ip_address(host.partition("%")[0]).is_loopback:
        say("a browser gives its microphone to https and to localhost only: others need --tls-cert and --tls-key")
    say(f"talk to it at {', '.join(addresses(settings.webrtc, port))} (Ctrl+C ends it)")


class _Ending:
    """SIGINT and SIGTERM: the first one asks, the second ends the process. So does the first while models are loaded:
    nobody is on the line, and threads inside their libraries cannot be stopped in any other way.
    """

    def __init__(self, say: Say) -> None:
        self.asked = asyncio.Event()
        self.has_loaded = False
        self.say = say

    @contextlib.contextmanager
    def at_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._take)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _take(self) -> None:
        if self.asked.is_set() or not self.has_loaded:
            os._exit(_INTERRUPTED)
        self.say("closing ... (again: at once)")
        self.asked.set()


__all__ = ["addresses", "check_tls", "listen_for", "perform"]
