"""The page at `/docs`: the API's description as a page, and a form to try each route.

In: requests for the files in `assets/docs`, read once and served by name, so no path comes from a request.
Out: those files. The page reads `/openapi.json` in the browser; nothing comes from another host.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

DOCS_FOLDER = Path(__file__).parent.parent / "assets" / "docs"
_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
}
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src blob:; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def docs_routes() -> list[Route]:
    """`/docs` and the files under `/docs/` that it loads."""
    routes = [Route("/docs", _file(DOCS_FOLDER / "index.html"))]
    files = sorted(path for path in DOCS_FOLDER.iterdir() if path.suffix in _CONTENT_TYPES and path.stem != "index")
    return routes + [Route(f"/docs/{path.name}", _file(path)) for path in files]


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    content = path.read_bytes()

    async def answer(request: Request) -> Response:
        return Response(content, headers={**_HEADERS, "Content-Type": _CONTENT_TYPES[path.suffix]})

    return answer


__all__ = ["DOCS_FOLDER", "docs_routes"]
