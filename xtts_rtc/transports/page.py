"""The page at `/`: a text is spoken in the browser and can be stopped at any word.

In: requests for the files in `assets/page`, read once and served by name, so no path comes from a request.
Out: those files, with a content security policy that lets the page speak to its own server and nobody else.
The page itself uses `/v1/voices` and `/tts_stream`; this file knows neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PAGE_FOLDER = Path(__file__).parent.parent / "assets" / "page"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What is served, by the ending of its name."""
PAGE_HEADERS = {
    "Cache-Control": "no-cache",  # kept by the browser, asked after each time: a new version shows at once
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_Endpoint = Callable[[Request], Awaitable[Response]]


def page_routes() -> list[Route]:
    """`/` and the files under `/page/` that it loads; all of them are answered without a key."""
    routes = [Route("/", _file(PAGE_FOLDER / "index.html"))]
    for path in sorted(PAGE_FOLDER.iterdir()):
        if path.suffix in CONTENT_TYPES and path.name != "index.html":
            routes.append(Route(f"/page/{path.name}", _file(path)))
    return routes


def _file(path: Path) -> _Endpoint:
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**PAGE_HEADERS, "ETag": etag}

    async def answer(request: Request) -> Response:
        if _is_known(request.headers.get("if-none-match", ""), etag):
            return Response(status_code=304, headers=headers)
        return Response(content, headers={**headers, "Content-Type": CONTENT_TYPES[path.suffix]})

    return answer


def _is_known(if_none_match: str, etag: str) -> bool:
    """RFC 9110, 13.1.2: a list of tags, or any; weak ones (a proxy may have made them so) count as well."""
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or "*" in tags


__all__ = ["CONTENT_TYPES", "PAGE_FOLDER", "PAGE_HEADERS", "page_routes"]
