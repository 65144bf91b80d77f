"""A small application behind the guards, and a client that is no server's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from xtts_rtc.errors import EngineFull, GenerationFailed
from xtts_rtc.guard.guards import Guards
from xtts_rtc.http_answer import ERROR_HANDLERS


async def echo(request: Request) -> Response:
    return JSONResponse({"bytes": len(await request.body()), "id": request.state.request_id})


async def page(request: Request) -> Response:
    return HTMLResponse("<p>page</p>")


async def full(request: Request) -> Response:
    raise EngineFull("all are taken")


async def broken(request: Request) -> Response:
    raise ZeroDivisionError("spoken text")


async def breaks_off(request: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        raise GenerationFailed("it failed in mid-stream")

    return StreamingResponse(body())


Endpoint = Callable[[Request], Awaitable[Response]]
ROUTES: Sequence[tuple[str, Endpoint]] = (
    ("/echo", echo), ("/v1/voices/x", echo), ("/", page), ("/page/a", page), ("/full", full), ("/broken", broken),
    ("/breaks-off", breaks_off), ("/healthz", page),
)  # fmt: skip


def guarded(guards: Guards | None = None) -> Starlette:
    routes = [Route(path, endpoint, methods=["GET", "POST", "DELETE"]) for path, endpoint in ROUTES]
    return Starlette(routes=routes, middleware=(guards or Guards()).around(), exception_handlers=dict(ERROR_HANDLERS))


@asynccontextmanager
async def client_of(guards: Guards | None = None) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(guarded(guards), raise_app_exceptions=True)
    async with httpx.AsyncClient(transport=transport, base_url="http://server.test") as client:
        yield client
