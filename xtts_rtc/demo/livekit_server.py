"""A real LiveKit server on 127.0.0.1, built from its Go module when it is not there yet."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from xtts_rtc.errors import ConfigError, SetupError

MODULE = "github.com/livekit/livekit-server/cmd/server@v1.11.0"
KEY, SECRET = "devkey", "secret-secret-secret-secret-secret"
"""The default secret of ``--dev`` is so short that signing with it warns."""
_REMEDY = "set LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET to one, or put livekit-server on the PATH"
_TOOLS = Path(__file__).parents[2] / ".tools" / "bin"
_BUILD_S = 600
_SETTLE_S = 1.5
"""A room that is opened right behind a worker's registration gets no agent: the server spreads the news first."""


@dataclass(frozen=True, slots=True)
class RoomServer:
    """Where rooms are, and with which key; `repr` leaves the secret out."""

    url: str
    key: str = KEY
    secret: str = field(default=SECRET, repr=False)

    @property
    def environment(self) -> dict[str, str]:
        return {"LIVEKIT_URL": self.url, "LIVEKIT_API_KEY": self.key, "LIVEKIT_API_SECRET": self.secret}

    def token(self, identity: str, room: str) -> str:
        """To join a room under this name."""
        from livekit import api

        grants = api.VideoGrants(room_join=True, room=room)
        return api.AccessToken(self.key, self.secret).with_identity(identity).with_grants(grants).to_jwt()


def binary() -> Path:
    """A livekit-server: what `make test` built, or the one on the PATH, or one that is built now.

    Raises SetupError when there is none and Go does not build it.
    """
    own, installed = _TOOLS / "livekit-server", shutil.which("livekit-server")
    if own.exists() or installed:
        return own if own.exists() else Path(str(installed))
    if shutil.which("go") is None:
        raise SetupError(f"no LiveKit server: {_REMEDY}, or install Go and one is built")
    print("building a LiveKit server, once; it takes some minutes ...", file=sys.stderr, flush=True)
    _TOOLS.mkdir(parents=True, exist_ok=True)
    build = ["go", "install", MODULE]
    try:
        subprocess.run(build, env={**os.environ, "GOBIN": str(_TOOLS)}, check=True, timeout=_BUILD_S)
    except (subprocess.SubprocessError, OSError):
        raise SetupError(f"a LiveKit server could not be built by `{' '.join(build)}`: {_REMEDY}") from None
    return (_TOOLS / "server").rename(own)


@contextlib.contextmanager
def reachable_server(log: Path, environ: Mapping[str, str]) -> Iterator[RoomServer]:
    """The server that LIVEKIT_URL names, else one of our own for the length of the block.

    Raises ConfigError when there is a url without its key, SetupError when there is no server.
    """
    if not environ.get("LIVEKIT_URL"):
        with running_server(log) as server:
            yield server
        return
    names = ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")
    if missing := [name for name in names if not environ.get(name)]:
        raise ConfigError(
            f"LIVEKIT_URL is set: set {' and '.join(missing)} too, or take it away for a server of our own"
        )
    yield RoomServer(*(environ[name] for name in names))


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_server(log: Path) -> Iterator[RoomServer]:
    port = free_port()
    udp_port = free_port(socket.SOCK_DGRAM)
    rtc = {
        "tcp_port": free_port(),
        "udp_port": udp_port,
        "enable_loopback_candidate": True,
        "stun_servers": [f"127.0.0.1:{udp_port}"],  # the default ones are on the internet
    }
    config = json.dumps({"port": port, "rtc": rtc, "keys": {KEY: SECRET}})
    command = [str(binary()), "--dev", "--bind", "127.0.0.1", "--node-ip", "127.0.0.1", "--config-body", config]
    with running(command, log, os.environ):
        wait_for_port(port)
        yield RoomServer(f"ws://127.0.0.1:{port}")


@contextlib.contextmanager
def running(command: list[str], log: Path, environment: dict[str, str] | os._Environ[str]) -> Iterator[int]:
    """A process for the length of the block; what it prints goes to `log`."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=dict(environment), start_new_session=True
        )
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                pass
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its own group: nobody else's process is in it
            process.wait(timeout=10)


def wait_for_line(log: Path, text: str, *, limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while text not in log.read_text(errors="replace"):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{log} never said {text!r}")
        time.sleep(0.05)


def wait_for_worker(log: Path, *, limit_s: float = 30.0) -> None:
    """Until a worker that writes to `log` gets the jobs of rooms that are opened from now on."""
    wait_for_line(log, "registered worker", limit_s=limit_s)
    time.sleep(_SETTLE_S)


def wait_for_port(port: int, *, limit_s: float = 20.0, pid: int | None = None) -> None:
    """Until something listens there. Raises OSError when nothing does in time, or the process `pid` has ended."""
    deadline = time.monotonic() + limit_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline or (pid is not None and _has_ended(pid)):
                raise
            time.sleep(0.05)


def _has_ended(pid: int) -> bool:
    """A child of ours that is only waiting to be collected."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


__all__ = [
    "KEY",
    "MODULE",
    "SECRET",
    "RoomServer",
    "binary",
    "free_port",
    "reachable_server",
    "running",
    "running_server",
    "wait_for_line",
    "wait_for_port",
    "wait_for_worker",
]
