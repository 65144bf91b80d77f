"""All that stands between a socket and the routes, in the order in which a request meets it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from xtts_rtc.guard.envelope import HEADER, Envelope
from xtts_rtc.guard.keys import KeyRing, RequireKey
from xtts_rtc.guard.limits import LimitRequest
from xtts_rtc.guard.origin import RefuseForeignPages

OPEN_PATHS = ("/healthz", "/readyz", "/metrics", "/", "/page/", "/call/", "/docs", "/docs/", "/openapi.json")
"""Read without a key: load balancers and scrapers have none, and the pages ask for it themselves. It is for reading
only: `/call/` holds a page's files, and `DELETE /call/ID` wants the key that the page has anyway."""
_FORM_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """What a server allows.

    keys: who may ask; none, and all may. max_streams_per_key: utterances at once for one key (None: as many
    as there are). header_s, body_s: seconds that the header and the body of a request may take. unread_s: seconds
    after which a client is dropped that reads nothing of its answer. The sizes in bytes are of header and path,
    of a JSON body, and of an uploaded clip. cors_origins: web pages of other origins that may ask.
    may_change_voices: whether clips can be uploaded and deleted. is_local: only programs and pages of this
    machine are expected.
    """

    keys: KeyRing = field(default_factory=KeyRing)
    max_streams_per_key: int | None = None
    header_s: float = 10.0
    body_s: float = 60.0
    unread_s: float = 60.0
    max_header_bytes: int = 16 * 1024
    max_body_bytes: int = 2 * 2**20
    max_upload_bytes: int = 20_000_000
    max_connections: int = 1000
    cors_origins: Sequence[str] = ()
    may_change_voices: bool = True
    is_local: bool = False

    def around(self, *inner: Middleware) -> list[Middleware]:
        """Middlewares from the outside in; `inner` see every request and every refusal, but not the last resort."""
        cors = Middleware(
            CORSMiddleware,
            allow_origins=list(self.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", HEADER],
            expose_headers=[HEADER, "Retry-After"],
        )
        return [
            Middleware(Envelope),
            *inner,
            *([cors] if self.cors_origins else []),
            Middleware(RefuseForeignPages, allowed=self.cors_origins, is_local=self.is_local),
            Middleware(RequireKey, keys=self.keys, open_paths=OPEN_PATHS),
            Middleware(
                LimitRequest,
                max_header_bytes=self.max_header_bytes,
                max_bytes=self.max_body_bytes,
                timeout_s=self.body_s,
                larger={"/v1/voices": self.max_upload_bytes + _FORM_BYTES},
            ),
        ]


__all__ = ["OPEN_PATHS", "Guards"]
