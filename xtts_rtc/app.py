"""The engine server: routes around an engine, and the order in which it goes down.

In: an engine and an address. Out: a FastAPI application, or one that is being served. What a test would
want to look at lives in the transports: a route raises errors of our tree, and here they become answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware

from xtts_rtc.api import Engine
from xtts_rtc.http_answer import ERROR_HANDLERS
from xtts_rtc.transports.http_api import RequireKey, status_routes
from xtts_rtc.transports.metrics_api import CountRequests, metrics_route
from xtts_rtc.transports.openai_api import OpenAIErrors, openai_router
from xtts_rtc.transports.page import page_routes
from xtts_rtc.transports.tts_api import tts_router
from xtts_rtc.transports.ws_api import speech_route

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8020
DEFAULT_OUTPUT_DIR = Path("output")
_SEND_BUFFER_BYTES = 128 * 1024
"""Audio that the kernel may hold for a client without a window: about 1.4 s at 48 kHz; the default is a minute."""
_MAX_MESSAGE_BYTES = 2 * 2**20
"""A message of the longest text allowed fits, so that one over the limit is answered, not cut off."""
_SHUTDOWN_S = 5

_log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Leaves signals to `serve`: uvicorn raises them again at its end, before the engine could be closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def create_app(engine: Engine, *, api_key: str | None = None, output_dir: Path | None = DEFAULT_OUTPUT_DIR) -> FastAPI:
    """The routes; with a key, everything but the health checks asks for it. The engine stays the caller's.

    output_dir: where `/tts` keeps a file for who asks for JSON; None: it keeps none.
    """
    app = FastAPI(
        title="xtts-rtc",
        summary="The voice that can be interrupted.",
        version=metadata.version("xtts-rtc"),
        docs_url=None,
        redoc_url=None,
        middleware=[
            Middleware(OpenAIErrors),
            Middleware(CountRequests, metrics=engine.metrics),
            *([Middleware(RequireKey, key=api_key)] if api_key else []),
        ],
        exception_handlers=dict(ERROR_HANDLERS),
    )
    app.include_router(tts_router(engine, output_dir=output_dir))
    app.include_router(openai_router(engine))
    app.router.routes += [speech_route(engine), *status_routes(engine), metrics_route(engine), *page_routes()]
    return app


def create_server(engine: Engine, *, api_key: str | None = None) -> uvicorn.Server:
    """A server for sockets from `listen`; ``await server.serve(sockets=[...])`` runs it."""
    config = uvicorn.Config(
        create_app(engine, api_key=api_key),
        ws="websockets-sansio",
        ws_max_size=_MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=_SHUTDOWN_S,
        log_level="warning",
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


async def serve(
    engine: Engine, *, host: str = DEFAULT_HOST, port: int = DEFAULT_PORT, api_key: str | None = None
) -> None:
    """Serve until SIGINT or SIGTERM: first the sockets go, then the engine. Raises OSError."""
    listener = listen(host, port)
    _log.info("listening on %s port %d", *listener.getsockname()[:2])
    server = create_server(engine, api_key=api_key)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, setattr, server, "should_exit", True)
    try:
        await server.serve(sockets=[listener])
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        listener.close()
        await engine.aclose()


__all__ = ["DEFAULT_HOST", "DEFAULT_PORT", "create_app", "create_server", "listen", "serve"]
