"""Every test leaves the process as it found it: no thread, no task."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

_SLOW = ("bench", "demo", "model/onnx", "model/test_convert.py", "model/torch", "reference", "room", "transports")
SLOW_ROOMS = tuple(Path(__file__).parent / room for room in _SLOW)
"""All of their tests are slow: a built model, a server, or a package that takes seconds to import."""

# Not ours to end: the loop's default executor, and threads of LiveKit's native library, dummies when they log.
_FOREIGN = ("asyncio_", "ThreadPoolExecutor", "ffi", "livekit", "Dummy-")


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not thread.name.startswith(_FOREIGN)}


def _is_in_a_slow_room(path: Path) -> bool:
    return any(path.is_relative_to(room) for room in SLOW_ROOMS)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """The fast run does not even import them: torch alone takes seconds."""
    return True if "not slow" in config.option.markexpr and _is_in_a_slow_room(collection_path) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _is_in_a_slow_room(item.path):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def no_leaked_threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = _threads()
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("no_leaked_tasks")
    yield
    left = _threads() - before
    for thread in left:
        thread.join(timeout=2.0)
    assert not [thread.name for thread in left if thread.is_alive()], "threads outlive the test"


@pytest.fixture
async def no_leaked_tasks() -> AsyncIterator[None]:
    # Made before the test's other fixtures, so it looks after they were torn down.
    yield
    for _ in range(3):
        await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left, "tasks outlive the test"
