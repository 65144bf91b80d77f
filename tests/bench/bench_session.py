"""A session over the model of four numbers."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.engine.fake_runtime import FakeFrontend, FakeRuntime, FakeVoices
from xtts_rtc.bench.session import Session
from xtts_rtc.engine.runtimes import LoadedRuntime


def fake_session(
    runtime: FakeRuntime | None = None,
    *,
    backend: str = "onnx",
    precision: str = "int8-row",
    clock: Callable[[], float] = time.monotonic,
) -> Session:
    loaded = LoadedRuntime(
        runtime=runtime or FakeRuntime(),
        frontend=FakeFrontend(),  # type: ignore[arg-type]
        backend=backend,
        precision=precision,
        conditioning_key="fake",
    )
    return Session(loaded, FakeVoices().get("default"), clock=clock)
