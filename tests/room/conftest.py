"""A LiveKit server for each file of room tests, and a worker on it for an engine's port."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import xtts_rtc.demo
from xtts_rtc.demo.livekit_server import RoomServer, running, running_server, wait_for_worker

WORKER = Path(xtts_rtc.demo.__file__).with_name("worker.py")
"""The worker of the demo; run as a script, as LiveKit's own examples are."""


@pytest.fixture(scope="module")
def room_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RoomServer]:
    # Not one for all: after its last worker has gone, a server believes for a minute that there is none,
    # and a room that is opened right behind the next worker's registration gets no agent.
    with running_server(tmp_path_factory.mktemp("livekit") / "server.log") as server:
        yield server


@contextlib.contextmanager
def working(script: Path, command: str, room_server: RoomServer, engine_port: int, log: Path) -> Iterator[None]:
    """A worker process that is registered, speaking through the engine server on a port."""
    environment = {**os.environ, **room_server.environment, "XTTS_URL": f"http://127.0.0.1:{engine_port}"}
    with running([sys.executable, str(script), command], log, environment):
        wait_for_worker(log)
        yield
