"""What an engine server says of itself over plain HTTP, and how its address is written.

In: an address. Out: its WebSocket address, its status, its voices. Blocking calls with a time limit, for
threads and for callers without an event loop; the speech itself goes through `client`.
"""

from __future__ import annotations

import ipaddress
import json
import urllib.error
import urllib.request
from urllib.parse import urlsplit, urlunsplit

from xtts_rtc.errors import ConfigError, EngineFull, EngineUnavailable, Unauthorized, XttsRtcError
from xtts_rtc.types import EngineStatus

_SPEECH_PATH = "/v1/speech"


def speech_url(url: str) -> str:
    """The WebSocket address of `/v1/speech` on a server. Raises ConfigError."""
    parts = urlsplit(url)
    schemes = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
    if parts.scheme not in schemes or not parts.hostname:
        raise ConfigError("the server's address must look like http://host:port or ws://host:port")
    path = parts.path.rstrip("/").removesuffix(_SPEECH_PATH) + _SPEECH_PATH
    return urlunsplit((schemes[parts.scheme], parts.netloc, path, "", ""))


def is_loopback(url: str) -> bool:
    """Whether the address is this machine's own, which no proxy may stand before."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def server_status(url: str, *, timeout_s: float = 2.0) -> EngineStatus:
    """What a server can take now; one that cannot be reached is not ready."""
    try:
        body = _object(_fetch(url, "/readyz", None, timeout_s))
    except urllib.error.HTTPError as error:
        with error:
            body = _object(error.read())
    except (OSError, ValueError) as error:
        return EngineStatus(is_ready=False, reason=f"the engine server cannot be reached ({type(error).__name__})")
    return EngineStatus(
        is_ready=body.get("ready") is True,
        num_streams=_count(body.get("streams")),
        max_streams=_count(body.get("max_streams")),
        reason=str(body.get("reason", "")),
    )


def server_voices(url: str, api_key: str | None = None, *, timeout_s: float = 5.0) -> list[str]:
    """The ids of a server's voices, sorted. Raises EngineUnavailable or Unauthorized."""
    try:
        found = _object(_fetch(url, "/v1/voices", api_key, timeout_s)).get("voices")
    except urllib.error.HTTPError as error:
        error.close()
        raise refusal(_place(url), error.code) from None  # not chained: the cause carries the key
    except (OSError, ValueError) as error:
        raise EngineUnavailable(f"the engine server cannot be reached ({type(error).__name__})") from None
    voices = found if isinstance(found, list) else []
    return sorted(str(voice["id"]) for voice in voices if isinstance(voice, dict) and "id" in voice)


def refusal(place: str, status: int) -> XttsRtcError:
    """Why a server answered with this status in place of what was asked for; `place` names it."""
    if status in (401, 403):
        return Unauthorized(f"{place} refused the key; set XTTS_API_KEY or api_key to the server's")
    if status == 429:
        return EngineFull(f"{place} is full; try again in a moment")
    if status == 503:
        return EngineUnavailable(f"{place} is not ready (503): it loads, or it shuts down; try again in a moment")
    return EngineUnavailable(f"{place} answered {status}; is it xtts-rtc serve?")


def _fetch(url: str, path: str, api_key: str | None, timeout_s: float) -> bytes:
    parts = urlsplit(speech_url(url))
    scheme = {"ws": "http", "wss": "https"}[parts.scheme]
    address = urlunsplit((scheme, parts.netloc, parts.path.removesuffix(_SPEECH_PATH) + path, "", ""))
    proxies = urllib.request.ProxyHandler({}) if is_loopback(url) else urllib.request.ProxyHandler()
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    request = urllib.request.Request(address, headers=headers)
    with urllib.request.build_opener(proxies).open(request, timeout=timeout_s) as answer:
        return bytes(answer.read())


def _place(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _object(data: bytes) -> dict[str, object]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


__all__ = ["is_loopback", "refusal", "server_status", "server_voices", "speech_url"]
