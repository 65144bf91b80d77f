"""A worker whose LLM is a stand-in that writes what it is told, word by word, and that is steered by RPC.

Methods: ``reply`` {"text", "interval_s", "seed"} begins a turn, without a seed a new take of it; ``interrupt`` cuts
it; ``report`` says when what happened (seconds since the epoch, to compare with the listener's clock) and what the
process has loaded.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli, llm
from livekit.agents.voice.room_io import AudioOutputOptions, RoomOptions

from livekit import rtc
from livekit.plugins import xtts


class StandInLLM(llm.LLM[str]):
    """Only there because a session wants one; `Writer.llm_node` writes."""

    def chat(self, **options: Any) -> Any:
        raise NotImplementedError


class Writer(Agent):
    def __init__(self) -> None:
        super().__init__(instructions="")
        self.order: dict[str, Any] = {}
        self.times: dict[str, float] = {}

    async def llm_node(self, *given: Any) -> AsyncIterator[str]:
        order = self.order
        for word in order["text"].split(" "):
            yield word + " "
            await asyncio.sleep(order["interval_s"])
        self.times["llm_ended"] = time.time()


class Steering:
    def __init__(self, session: AgentSession[None], writer: Writer, voice: xtts.TTS) -> None:
        self._session = session
        self._writer = writer
        self._voice = voice

    async def reply(self, call: rtc.RpcInvocationData) -> str:
        self._writer.order = json.loads(call.payload)
        self._writer.times = {"replied": time.time()}
        self._voice.update_options(seed=self._writer.order.get("seed"))
        self._session.generate_reply(user_input="go on")
        return "{}"

    async def interrupt(self, call: rtc.RpcInvocationData) -> str:
        self._writer.times["interrupted"] = time.time()
        await self._session.interrupt()
        self._writer.times["interrupt_done"] = time.time()
        return json.dumps(self._writer.times)

    async def report(self, call: rtc.RpcInvocationData) -> str:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        items = [item for item in self._session.history.items if item.type == "message" and item.role == "assistant"]
        return json.dumps(
            {
                **self._writer.times,
                "rss_mb": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
                "torch": any(name in sys.modules for name in ("torch", "onnxruntime", "transformers")),
                "history": [item.text_content for item in items],
            }
        )


async def enter(job: JobContext) -> None:
    voice = xtts.TTS()
    session: AgentSession[None] = AgentSession(
        tts=voice,
        llm=StandInLLM(),
        vad=None,
        turn_handling={"turn_detection": None},
        aec_warmup_duration=None,
    )
    writer = Writer()
    steering = Steering(session, writer, voice)
    options = RoomOptions(
        audio_output=AudioOutputOptions(
            sample_rate=48_000,
            # Without silence suppression every 20 ms are sent, so a gap at the receiver is a real gap.
            track_publish_options=rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False),
        )
    )
    await session.start(writer, room=job.room, room_options=options)
    for name in ("reply", "interrupt", "report"):
        job.room.local_participant.register_rpc_method(name, getattr(steering, name))


server = AgentServer(
    load_fnc=lambda: 0.0, num_idle_processes=1, port=0, host="127.0.0.1", initialize_process_timeout=60
)
server.rtc_session(enter)

__all__ = ["StandInLLM", "Steering", "Writer", "enter", "server"]

if __name__ == "__main__":
    cli.run_app(server)
