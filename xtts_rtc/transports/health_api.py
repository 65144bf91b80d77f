"""`/healthz` and `/readyz`: is the server alive, and can it take a stream.

In: requests. Out: JSON. Written against `Engine`; it knows no model and no settings.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from xtts_rtc.api import Engine


def health_routes(engine: Engine) -> list[Route]:
    """`/healthz` (200 while the process answers) and `/readyz` (200 or 503, with the load and the reason)."""

    async def healthz(request: Request) -> JSONResponse:
        return JSONResponse({"alive": True})

    async def readyz(request: Request) -> JSONResponse:
        status = await engine.status()
        body = {
            "ready": status.is_ready,
            "streams": status.num_streams,
            "max_streams": status.max_streams,
            "load": status.load,
            "reason": status.reason,
        }
        return JSONResponse(body, status_code=200 if status.is_ready else 503)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


__all__ = ["health_routes"]
