"""What the demo's page needs from a server: itself, calls, and the engine's own routes for voices and health.

In: an engine, and `Calls` whose callers talk with it. Out: the engine server as everywhere, with another page
at `/`. It starts nothing: who calls it opens the `Calls`, serves, and closes the engine.
"""

from __future__ import annotations

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from xtts_rtc.api import Engine
from xtts_rtc.app import create_server
from xtts_rtc.guard.guards import Guards
from xtts_rtc.settings import VoiceSettings
from xtts_rtc.transports.pages import file_routes, page_routes
from xtts_rtc.transports.webrtc import Calls, call_routes


def demo_routes(engine: Engine, calls: Calls, voices: VoiceSettings) -> list[Route]:
    """The page of the voice agent at `/` with its files, `POST /call`, `DELETE /call/ID`, and `GET /call`.

    The last one answers ``{"languages", "voice", "language"}``: what a caller may choose beside the engine's voices,
    and what a call begins with where nothing is chosen. While the engine is loaded it is 503, and the page says so.
    """

    async def describe(request: Request) -> JSONResponse:
        return JSONResponse({"languages": engine.languages(), "voice": voices.voice, "language": voices.language})

    page = [*page_routes("call", "/", may_listen=True), *file_routes("page")]
    return [*page, *call_routes(calls), Route("/call", describe)]


def create_demo_server(
    engine: Engine, calls: Calls, voices: VoiceSettings, *, guards: Guards | None = None
) -> uvicorn.Server:
    """A server for sockets from `app.listen`; ``await server.serve(sockets=[...])`` runs it.

    The engine and the calls stay the caller's.
    """
    return create_server(engine, guards=guards, output_dir=None, front=demo_routes(engine, calls, voices))


__all__ = ["create_demo_server", "demo_routes"]
