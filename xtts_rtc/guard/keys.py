"""Who may ask: keys with names, and the door that asks for one.

In: a key, or a file of them. Out: the name behind a key. A key itself is kept as a hash only, and stands in
no message.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Self

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from xtts_rtc.errors import ConfigError, Unauthorized
from xtts_rtc.guard.context import CALLER
from xtts_rtc.http_answer import error_response

MIN_KEY_CHARS = 16
"""Of a key in a file; ``openssl rand -hex 24`` makes a good one."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_FILE_BYTES = 1_000_000


class KeyRing:
    """Keys by name. An empty one asks for nothing."""

    def __init__(self, keys: Mapping[str, str] | None = None) -> None:
        self._digests = {name: _digest(key) for name, key in (keys or {}).items()}

    @classmethod
    def load(cls, path: Path, *, others: Mapping[str, str] | None = None) -> Self:
        """Read a file of ``NAME:KEY`` lines; blank ones and those that start with # are passed over.

        `others` are keys from elsewhere. Raises ConfigError that names the line, never what stands in it.
        """
        keys = dict(others or {})
        for number, line in enumerate(_lines(path), 1):
            if not line or line.startswith("#"):
                continue
            name, colon, key = (part.strip() for part in line.partition(":"))
            if not colon or not _NAME.fullmatch(name):
                raise ConfigError(f"{path}, line {number} is not NAME:KEY; a name is 1 to 64 of A-Z, a-z, 0-9, _ and -")
            if len(key) < MIN_KEY_CHARS or not can_be_sent(key):
                raise ConfigError(
                    f"{path}, line {number}: the key must be {MIN_KEY_CHARS} or more ASCII characters without spaces;"
                    " make one with: openssl rand -hex 24"
                )
            if name in keys or key in keys.values():
                raise ConfigError(f"{path}, line {number}: the name or the key stands there twice")
            keys[name] = key
        if not keys:
            raise ConfigError(f"{path} holds no key; add a line NAME:KEY or take the option away")
        return cls(keys)

    def __bool__(self) -> bool:
        return bool(self._digests)

    def name_of(self, key: str) -> str | None:
        """The name behind a key, or None. Takes the same time for every wrong key."""
        given, found = _digest(key), None
        for name, digest in self._digests.items():
            if hmac.compare_digest(digest, given):
                found = name
        return found


class RequireKey:
    """ASGI middleware: every path but the open ones needs ``Authorization: Bearer KEY``, or 401.

    open_paths can be read by anybody (GET, HEAD); one that ends with a slash stands for all below it.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing, open_paths: Collection[str]) -> None:
        self._app = app
        self._keys = keys
        self._open = frozenset(open_paths)
        self._open_below = tuple(path for path in open_paths if path.endswith("/") and path != "/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not self._keys or self._is_open(scope):
            await self._app(scope, receive, send)
            return
        scheme, _, key = HTTPConnection(scope).headers.get("authorization", "").partition(" ")
        name = self._keys.name_of(key) if scheme.lower() == "bearer" else None
        if name is not None:
            CALLER.set(name)
            await self._app(scope, receive, send)
            return
        refusal = error_response(Unauthorized("the key is missing or wrong; send it as 'Authorization: Bearer KEY'"))
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(refusal)
        else:
            await refusal(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            return False
        path: str = scope["path"]
        return path in self._open or path.startswith(self._open_below)


def can_be_sent(key: str) -> bool:
    """Whether a header brings it over as it is, whatever client sends it: ASCII without spaces."""
    return key.isascii() and key.isprintable() and " " not in key


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
        if len(data) > _MAX_FILE_BYTES:
            raise ConfigError(f"{path} is over {_MAX_FILE_BYTES // 1000} kB; is it the file of keys?")
        return [line.strip() for line in data.decode("utf-8-sig").splitlines()]
    except OSError as error:
        raise ConfigError(f"the file of keys {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the file of keys {path} is not UTF-8 text") from None


__all__ = ["MIN_KEY_CHARS", "KeyRing", "RequireKey", "can_be_sent"]
