"""Every test leaves the process as it found it: no thread, no task."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

# Not ours to end: the loop's default executor, and the thread of LiveKit's native library.
_FOREIGN = ("asyncio_", "ThreadPoolExecutor", "ffi", "livekit")


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not thread.name.startswith(_FOREIGN)}


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
