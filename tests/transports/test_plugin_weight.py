"""What an agent's job process carries when it speaks through a server: no torch, no runtime."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest

from tests.fakes import serving, tone_engine
from xtts_rtc.engine.tone import ToneBackend

pytest.importorskip("livekit.agents")

_HEAVY = ("torch", "torchaudio", "TTS", "transformers", "onnxruntime", "xtts_rtc.engine", "xtts_rtc.model")
_SPEAK = """
import asyncio, json, os, sys
from pathlib import Path

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

import livekit.agents
bare_mb = resident_mb()
from livekit.plugins import xtts

async def main():
    num_samples = 0
    if len(sys.argv) > 2:
        async with xtts.TTS(base_url=sys.argv[2]) as voice:
            async for event in voice.synthesize("A sentence through a server."):
                num_samples += event.frame.samples_per_channel
    loaded = [name for name in json.loads(sys.argv[1]) if name in sys.modules]
    print(json.dumps({"loaded": loaded, "samples": num_samples, "bare_mb": bare_mb, "mb": resident_mb()}))

asyncio.run(main())
"""


async def run(*arguments: str) -> dict[str, object]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SPEAK, json.dumps(_HEAVY), *arguments, stdout=subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return dict(json.loads(out))


@pytest.mark.net
async def test_speaking_through_a_server_loads_no_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    async with tone_engine(ToneBackend()) as engine, serving(engine) as port:
        found = await run(f"http://127.0.0.1:{port}")
    with capsys.disabled():
        print(f"\nplugin: livekit.agents alone {found['bare_mb']:.0f} MB, after speaking {found['mb']:.0f} MB")
    assert found["samples"] and found["loaded"] == []
    assert float(str(found["mb"])) - float(str(found["bare_mb"])) < 60
