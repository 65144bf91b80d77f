"""What the demo's page needs from a server: itself, calls, and the engine's own routes for voices and health.

In: an engine, and `Calls` whose callers talk with it. Out: the engine server as everywhere, with another page
at `/`. It starts nothing: who calls it opens the `Calls`, serves, and closes the engine.
"""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from xtts_rtc.api import Engine
from xtts_rtc.app import create_app, create_server
from xtts_rtc.guard.guards import Guards
from xtts_rtc.transports.pages import file_routes, page_routes
from xtts_rtc.transports.webrtc import Calls, call_routes


def demo_routes(engine: Engine, calls: Calls) -> list[Route]:
    """The page of the voice agent at `/` with its files, `POST /call`, `DELETE /call/ID`, and `GET /call`.

    The last one answers ``{"languages", "lines", "free"}``: what a caller may choose, how many can talk at once, and
    how many more can now.
    """

    async def describe(request: Request) -> JSONResponse:
        free = max(0, calls.max_calls - calls.num_calls)
        return JSONResponse({"languages": engine.languages(), "lines": calls.max_calls, "free": free})

    page = [*page_routes("call", "/", may_listen=True), *file_routes("page")]
    return [*page, *call_routes(calls), Route("/call", describe)]


def create_demo_app(engine: Engine, calls: Calls, *, guards: Guards | None = None) -> FastAPI:
    """The demo as an ASGI application. The engine and the calls stay the caller's."""
    return create_app(engine, guards=guards, output_dir=None, front=demo_routes(engine, calls))


def create_demo_server(engine: Engine, calls: Calls, *, guards: Guards | None = None) -> uvicorn.Server:
    """The same as a server for sockets from `app.listen`; ``await server.serve(sockets=[...])`` runs it."""
    return create_server(engine, guards=guards, output_dir=None, front=demo_routes(engine, calls))


__all__ = ["create_demo_app", "create_demo_server", "demo_routes"]
