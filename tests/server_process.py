"""`xtts-rtc serve` in a process of its own, as users run it, on loopback."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from xtts_rtc.app import listen
from xtts_rtc.server_status import server_status

START_S = 60.0


def free_port() -> int:
    """One that nobody listened on a moment ago."""
    with listen("127.0.0.1", 0) as probe:
        port: int = probe.getsockname()[1]
    return port


class ServerProcess:
    """Started and ready; `kill` is kill -9, `stop` is polite. `log` holds what it wrote."""

    def __init__(self, port: int, log: Path, *args: str, **variables: str) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("XTTS_")}
        command = [sys.executable, "-m", "xtts_rtc.cli", "serve", "--port", str(port), *args]
        with log.open("ab") as file:
            self._process = subprocess.Popen(command, env={**inherited, **variables}, stdout=file, stderr=file)
        deadline = time.monotonic() + START_S
        while not server_status(self.url).is_ready:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the server did not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


@contextlib.contextmanager
def server_process(log: Path, *args: str, **variables: str) -> Iterator[ServerProcess]:
    """A server on a free port, gone at the end."""
    server = ServerProcess(free_port(), log, *args, **variables)
    try:
        yield server
    finally:
        if server.is_running:
            server.stop()
