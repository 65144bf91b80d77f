"""schemathesis reads the server's own description and tries what it allows and what it forbids.

FUZZ_EXAMPLES sets how many cases are tried, about; those at the boundaries of each parameter come on top.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.fakes import serving, tone_engine
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.types import Event, StreamRequest

pytestmark = [pytest.mark.slow, pytest.mark.net]

NUM_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))
NUM_ROUTES = 10
MAX_GROWTH_BYTES = 48 * 2**20
"""The libraries' caches, filled by the first requests; the text and audio of 10,000 would be ten times as much."""


class Anybody(ToneBackend):
    """Has every voice there is, so that made-up names reach the speech."""

    def open(self, request: StreamRequest, on_event: Callable[[Event], None]) -> int:
        return super().open(replace(request, voice="default"), on_event)


async def fuzz(port: int, folder: Path, *options: str) -> tuple[int, str]:
    """Exit code and output of a run, which leaves its files in the folder."""
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"http://127.0.0.1:{port}/openapi.json"]
    process = await asyncio.create_subprocess_exec(
        *command,
        *(
            "--max-examples",
            str(-(-NUM_EXAMPLES // NUM_ROUTES)),
            "--seed",
            "1",
            "--no-color",
            "--continue-on-failure",
            *options,
        ),
        cwd=folder,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--exclude-path-regex", "/v1/voices"], id="speech"),
        # A clip is more than its schema says: one that is no sound is refused.
        pytest.param(
            ["--include-path-regex", "/v1/voices", "--exclude-checks", "positive_data_acceptance"], id="voices"
        ),
    ],
)
async def test_every_answer_is_one_that_the_description_allows(
    options: list[str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.WARNING)
    tone = Anybody(max_streams=64)
    before = psutil.Process().memory_info().rss
    async with tone_engine(tone) as engine, serving(engine) as port:
        code, out = await fuzz(port, tmp_path, *options)
        async with asyncio.timeout(5):
            while tone.num_streams:
                await asyncio.sleep(0.01)
    num_tried = int(found[1]) if (found := re.search(r"(\d+) generated", out)) else 0
    growth = psutil.Process().memory_info().rss - before
    print(f"{num_tried} requests, {tone.num_steps} steps of the engine, {growth / 2**20:.0f} MiB more")
    assert code == 0, out[-6_000:]
    assert num_tried > 100
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert growth < MAX_GROWTH_BYTES
