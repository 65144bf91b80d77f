"""The pages for people: a folder of `assets` each, with files that are read once and served by name.

In: requests for those files, so no path comes from a request. Out: the files, with a content security policy
that lets a page speak to its own server and nobody else. This file knows no page and what none of them asks for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

ASSETS = Path(__file__).parent.parent / "assets"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What is served, by the ending of its name."""
_HEADERS = {
    "Cache-Control": "no-cache",  # kept by the browser, asked after each time: a new version shows at once
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_DEAF = {"Permissions-Policy": "camera=(), geolocation=(), microphone=()"}
_HEARING = {"Permissions-Policy": "camera=(), geolocation=(), microphone=(self)"}


def page_routes(name: str, at: str, *, may_listen: bool = False) -> list[Route]:
    """The page of the folder NAME at a path, and its files under `/NAME/`; all of them are answered without a key.

    may_listen: the page may ask for the microphone.
    """
    headers = {**_HEADERS, **(_HEARING if may_listen else _DEAF)}
    return [Route(at, _file(ASSETS / name / "index.html", headers)), *file_routes(name)]


def file_routes(name: str) -> list[Route]:
    """The files of the folder NAME under `/NAME/`, without its page."""
    files = sorted(path for path in (ASSETS / name).iterdir() if path.suffix in CONTENT_TYPES)
    return [Route(f"/{name}/{path.name}", _file(path, _HEADERS)) for path in files if path.name != "index.html"]


def _file(path: Path, common: Mapping[str, str]) -> Callable[[Request], Awaitable[Response]]:
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**common, "ETag": etag}

    async def answer(request: Request) -> Response:
        if _is_known(request.headers.get("if-none-match", ""), etag):
            return Response(status_code=304, headers=headers)
        return Response(content, headers={**headers, "Content-Type": CONTENT_TYPES[path.suffix]})

    return answer


def _is_known(if_none_match: str, etag: str) -> bool:
    """RFC 9110, 13.1.2: a list of tags, or any; weak ones (a proxy may have made them so) count as well."""
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or "*" in tags


__all__ = ["ASSETS", "CONTENT_TYPES", "file_routes", "page_routes"]
