"""The engine server: routes around an engine, and the order in which it comes up and goes down.

In: an engine or how to load one, and an address. Out: a FastAPI application, or one that is being served. What
a test would want to look at lives below: a route raises errors of our tree, and here they become answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.routing import Route

from xtts_rtc.api import Engine
from xtts_rtc.errors import ConfigError
from xtts_rtc.guard.connection import guarded_protocol
from xtts_rtc.guard.gate import GatedEngine
from xtts_rtc.guard.guards import Guards
from xtts_rtc.guard.keys import KeyRing, can_be_sent
from xtts_rtc.http_answer import ERROR_HANDLERS
from xtts_rtc.metrics import Metrics
from xtts_rtc.settings import Settings
from xtts_rtc.transports.health_api import health_routes
from xtts_rtc.transports.metrics_api import CountRequests, metrics_route
from xtts_rtc.transports.openai_api import OpenAIErrors, openai_router
from xtts_rtc.transports.pages import page_routes
from xtts_rtc.transports.tts_api import tts_router
from xtts_rtc.transports.voices_api import voices_router
from xtts_rtc.transports.ws_api import speech_route

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8020
DEFAULT_OUTPUT_DIR = Path("output")
DEFAULT_GRACE_S = 30.0
_SEND_BUFFER_BYTES = 128 * 1024
"""Audio that the kernel may hold for a client without a window: about 1.4 s at 48 kHz; the default is a minute."""
_MAX_MESSAGE_BYTES = 2 * 2**20
"""A message of the longest text allowed fits, so that one over the limit is answered, not cut off."""
_SHUTDOWN_S = 5
_ERRORS_OUT_S = 1.0
"""How long answers that end with an error may take to leave, once the engine was stopped under them."""

_log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Leaves signals to `serve`: uvicorn raises them again at its end, before the engine could be closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def guards_of(settings: Settings) -> Guards:
    """Keys and limits of a server. Raises ConfigError for a key, or a file of them, that cannot be used."""
    server = settings.server
    keys = {"default": server.api_key.get_secret_value()} if server.api_key else {}
    if not all(map(can_be_sent, keys.values())):
        raise ConfigError("XTTS_API_KEY must be ASCII characters without spaces; make one with: openssl rand -hex 24")
    return Guards(
        keys=KeyRing.load(server.api_keys_file, others=keys) if server.api_keys_file else KeyRing(keys),
        max_streams_per_key=server.max_streams_per_key,
        header_s=server.header_s,
        body_s=server.body_s,
        max_header_bytes=server.max_header_bytes,
        max_body_bytes=server.max_body_bytes,
        max_upload_bytes=server.max_upload_bytes,
        max_connections=server.max_connections,
        cors_origins=server.cors_origins,
    )


def create_app(
    engine: Engine,
    *,
    guards: Guards | None = None,
    output_dir: Path | None = DEFAULT_OUTPUT_DIR,
    front: Sequence[Route] | None = None,
) -> FastAPI:
    """The routes behind their guards. The engine stays the caller's.

    output_dir: where `/tts` keeps a file for who asks for JSON; None: it keeps none. front: the page at `/` and
    what it needs beside the API; None is the page that speaks a text.
    """
    guards = guards or Guards()
    gate = engine if isinstance(engine, GatedEngine) else _gate(guards, engine)
    app = FastAPI(
        title="xtts-rtc",
        summary="The voice that can be interrupted.",
        version=metadata.version("xtts-rtc"),
        docs_url=None,
        redoc_url=None,
        middleware=guards.around(Middleware(OpenAIErrors), Middleware(CountRequests, metrics=gate.metrics)),
        exception_handlers=dict(ERROR_HANDLERS),
    )
    app.include_router(tts_router(gate, output_dir=output_dir))
    app.include_router(openai_router(gate))
    app.include_router(voices_router(gate, may_change=guards.may_change_voices, max_clip_bytes=guards.max_upload_bytes))
    app.router.routes += [speech_route(gate), *health_routes(gate), metrics_route(gate)]
    app.router.routes += [*(page_routes("page", "/") if front is None else front), *page_routes("docs", "/docs")]
    return app


def _gate(guards: Guards, engine: Engine | None = None) -> GatedEngine:
    return GatedEngine(engine, max_streams_per_key=guards.max_streams_per_key)


def create_server(
    engine: Engine,
    *,
    guards: Guards | None = None,
    output_dir: Path | None = DEFAULT_OUTPUT_DIR,
    front: Sequence[Route] | None = None,
) -> uvicorn.Server:
    """A server for sockets from `listen`; ``await server.serve(sockets=[...])`` runs it. The rest as `create_app`."""
    guards = guards or Guards()
    config = uvicorn.Config(
        create_app(engine, guards=guards, output_dir=output_dir, front=front),
        http=guarded_protocol(
            header_s=guards.header_s, unread_s=guards.unread_s, max_connections=guards.max_connections
        ),
        h11_max_incomplete_event_size=guards.max_header_bytes,
        ws="websockets-sansio",
        ws_max_size=_MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=_SHUTDOWN_S,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
    )
    return _Server(config)


def listen(host: str = DEFAULT_HOST, port: int = DEFAULT_PORT) -> socket.socket:
    """A listening socket with small send buffers; port 0 takes a free one. Raises OSError when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only where the protocol is named; without it the first audio waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    listener.listen(128)
    return listener


def guards_at(listener: socket.socket, guards: Guards) -> Guards:
    """The same for this address: without keys, one that others reach too lets nobody change the voices, with a
    warning in the log, and one on the loopback is for pages of this machine only.
    """
    is_local = ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback
    if guards.keys:
        return guards
    if not is_local:
        _log.warning(
            "everybody who reaches %s can speak here: set XTTS_API_KEY or XTTS_API_KEYS_FILE, or listen on %s;"
            " without a key voices cannot be uploaded or deleted", listener.getsockname()[0], DEFAULT_HOST,
        )  # fmt: skip
    return replace(guards, is_local=is_local, may_change_voices=guards.may_change_voices and is_local)


async def serve(
    load: Callable[[Metrics], Engine],
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    guards: Guards | None = None,
    output_dir: Path | None = DEFAULT_OUTPUT_DIR,
    grace_s: float = DEFAULT_GRACE_S,
    phone: Callable[[Engine], contextlib.AbstractAsyncContextManager[object]] | None = None,
) -> bool:
    """Serve until SIGINT or SIGTERM; `phone` answers calls for as long. False: at a second signal
    the engine was still being loaded.

    `load` makes the engine on a thread of its own, counting in the metrics it is given; until it returns the
    health checks are answered and everything else is told to wait. After a signal new speech is refused and
    running speech may end for `grace_s` seconds; a second signal ends it at once. Raises OSError, and what
    `load` raises. After False a thread still runs inside the model's libraries, and the interpreter must not
    take them down under it: end the process with `os._exit`.
    """
    guards = guards or Guards()
    listener = listen(host, port)
    guards = guards_at(listener, guards)
    gate = _gate(guards)
    _log.info("listening on %s port %d", *listener.getsockname()[:2])
    life = _Life(create_server(gate, guards=guards, output_dir=output_dir), gate, grace_s)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, life.stop)
    try:
        async with phone(gate) if phone else contextlib.nullcontext():
            return await life.run(listener, load)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        listener.close()


class _Life:
    """One server from its first socket to the end of its engine."""

    def __init__(self, server: uvicorn.Server, gate: GatedEngine, grace_s: float) -> None:
        self._server = server
        self._gate = gate
        self._grace_s = grace_s
        self._is_asked = asyncio.Event()
        self._is_pressed = asyncio.Event()
        self._has_ended = False

    def stop(self) -> None:
        """The first call asks, the second presses."""
        if self._is_asked.is_set():
            self._is_pressed.set()
            self._server.force_exit = True
        self._gate.close_gate()
        self._is_asked.set()

    async def run(self, listener: socket.socket, load: Callable[[Metrics], Engine]) -> bool:
        """As `serve`."""
        loading = asyncio.get_running_loop().create_future()
        loading.add_done_callback(self._take)
        arguments = (load, self._gate.metrics, loading)
        threading.Thread(target=_load, args=arguments, name="xtts-load", daemon=True).start()
        serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        asked = asyncio.create_task(self._is_asked.wait())
        try:
            await asyncio.wait([serving, asked], return_when=asyncio.FIRST_COMPLETED)
            await self._quieten(loading)
        finally:
            self._server.should_exit = True
            await serving
            asked.cancel()
            await self._gate.aclose()
            self._has_ended = True
        if loading.done():
            loading.result()
        return loading.done()

    def _take(self, loading: asyncio.Future[Engine]) -> None:
        if loading.exception() is not None:
            self.stop()
        elif self._has_ended:
            loading.result().close()
        else:
            self._gate.let_in(loading.result())

    async def _quieten(self, loading: asyncio.Future[Engine]) -> None:
        """Let running speech end, or end it: the engine tells every stream, so that nobody takes a part for all."""
        self._gate.close_gate()
        if self._gate.num_unheard:
            _log.info("shutting down: %d utterances may end within %g s", self._gate.num_unheard, self._grace_s)
        pressed = asyncio.create_task(self._is_pressed.wait())
        quiet = asyncio.create_task(self._gate.wait_until_quiet())
        waits = asyncio.gather(quiet, asyncio.wait([loading]))
        either: list[asyncio.Future[Any]] = [pressed, waits]
        await asyncio.wait(either, timeout=self._grace_s, return_when=asyncio.FIRST_COMPLETED)
        if not quiet.done() and not self._is_pressed.is_set():
            _log.warning("%d utterances are cut off after %g s", self._gate.num_unheard, self._grace_s)
        await asyncio.to_thread(self._gate.close)
        if not quiet.done():
            await asyncio.wait([quiet], timeout=_ERRORS_OUT_S)
        for task in (pressed, quiet, waits):
            task.cancel()
        await asyncio.wait([pressed, quiet])


def _load(load: Callable[[Metrics], Engine], metrics: Metrics, loading: asyncio.Future[Engine]) -> None:
    loop, began = loading.get_loop(), time.monotonic()
    try:
        engine = load(metrics)
    except BaseException as error:
        deliver = partial(loading.set_exception, error)
    else:
        _log.info("ready after %.1f s", time.monotonic() - began)
        deliver = partial(loading.set_result, engine)
    with contextlib.suppress(RuntimeError):  # the server did not wait for us
        loop.call_soon_threadsafe(deliver)


__all__ = [
    "DEFAULT_GRACE_S",
    "DEFAULT_HOST",
    "DEFAULT_PORT",
    "create_app",
    "create_server",
    "guards_at",
    "guards_of",
    "listen",
    "serve",
]
