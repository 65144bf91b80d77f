"""Speak a text into a room of a real LiveKit server, interrupt it once, and say what the listener heard.

Three processes on this machine, as in production: the LiveKit server, `xtts-rtc serve`, and an agent worker
that speaks through it. The listener is this process; its clock is the one all times are taken from.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from xtts_rtc.audio.encode import wav_header
from xtts_rtc.audio.frames import to_int16
from xtts_rtc.demo import worker
from xtts_rtc.demo.caller import Caller, calling
from xtts_rtc.demo.ears import HZ
from xtts_rtc.demo.livekit_server import RoomServer, free_port, running, running_server, wait_for_port, wait_for_worker
from xtts_rtc.demo.recogniser import Recogniser, share_heard, words
from xtts_rtc.errors import SetupError

TEXT = (
    "Hello, this is a voice that was made on your own machine. She walked to the garden and picked some flowers. "
    "A boat goes by with music and lights. Later in the evening the rain may come back again."
)
WORDS_PER_SECOND = 12.0
"""How fast the stand-in for a language model writes."""
_START_S = 120.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing said in the room, as the listener heard it. Milliseconds, and words recognised."""

    first_audio_ms: float
    llm_ended_ms: float
    heard: list[str]
    share: float
    concealed_samples: int
    total_samples: int


@dataclass(frozen=True, slots=True)
class Cut:
    """An interruption: milliseconds from it to the last sound, and loud frames in the second after that."""

    last_sound_ms: float
    loud_frames_after: int


@contextlib.contextmanager
def staged(folder: Path, settings: list[str]) -> Iterator[RoomServer]:
    """All three servers, ready; their logs are in `folder`."""
    port = free_port()
    # The engine of this room is the one started here, whatever the user's environment points at.
    own = {**os.environ, "XTTS_URL": ""}
    serve = [sys.executable, "-m", "xtts_rtc.cli", "serve", "--host", "127.0.0.1", "--port", str(port), *settings]
    with running_server(folder / "livekit.log") as room, running(serve, folder / "engine.log", own) as engine:
        wait_for_port(port, limit_s=_START_S, pid=engine)
        environment = {**os.environ, **room.environment, "XTTS_URL": f"http://127.0.0.1:{port}"}
        with running([sys.executable, str(worker.__file__), "start"], folder / "worker.log", environment):
            wait_for_worker(folder / "worker.log", limit_s=_START_S)
            yield room


async def say_all(caller: Caller, text: str, recogniser: Recogniser) -> Turn:
    """The whole text, while it is still being written."""
    started = time.time()
    before = await caller.reception()
    await caller.order("reply", text=text, interval_s=1 / WORDS_PER_SECOND)
    first = await caller.until_loud(started)
    last = await caller.until_quiet()
    after = await caller.reception()
    report = await caller.order("report")
    heard = await asyncio.to_thread(recogniser.words, caller.pcm(first - 0.1, last + 0.1), HZ)
    return Turn(
        first_audio_ms=1e3 * (first - started),
        llm_ended_ms=1e3 * (report["llm_ended"] - started),
        heard=heard,
        share=share_heard(words(text), heard),
        concealed_samples=after[0] - before[0],
        total_samples=after[1] - before[1],
    )


async def interrupt_it(caller: Caller, text: str) -> Cut:
    """The same text again, cut after two seconds of sound."""
    started = time.time()
    await caller.order("reply", text=text, interval_s=0.01)
    await caller.until_loud(started)
    await asyncio.sleep(2.0)
    cut = (await caller.order("interrupt"))["interrupted"]
    await asyncio.sleep(1.5)
    last = max(caller.loud_times(started))
    return Cut(1e3 * (last - cut), sum(at > cut + 0.25 for at in caller.loud_times(cut)))


def table(text: str, turn: Turn, cut: Cut) -> str:
    """Both for eyes."""
    return "\n".join(
        (
            f"written    {text}",
            f"heard      {' '.join(turn.heard)}",
            f"words      {turn.share:.0%} of {len(words(text))} recognised",
            f"first      audio after {turn.first_audio_ms:.0f} ms; the writer ended after {turn.llm_ended_ms:.0f} ms",
            f"gaps       {turn.concealed_samples} of {turn.total_samples} samples concealed",
            f"interrupt  last sound {cut.last_sound_ms:.0f} ms after it, {cut.loud_frames_after} loud frames later on",
        )
    )


async def show(room: RoomServer, text: str, out: Path | None) -> str:
    """The whole performance in one room; the recording goes to `out`/heard.wav."""
    recogniser = await asyncio.to_thread(Recogniser)
    try:
        async with calling(room) as caller:
            turn = await say_all(caller, text, recogniser)
            cut = await interrupt_it(caller, text)
            if out is not None:
                samples = to_int16(caller.pcm())
                out.mkdir(parents=True, exist_ok=True)
                (out / "heard.wav").write_bytes(wav_header(HZ, samples.size) + samples.tobytes())
    finally:
        recogniser.close()
    return table(text, turn, cut)


def perform(text: str, out: Path | None, settings: list[str]) -> str:
    """Stage everything, speak, interrupt; the table. Raises SetupError with the last lines of the servers' logs."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with staged(Path(folder), settings) as room:
                return asyncio.run(show(room, text, out))
        except (TimeoutError, OSError, subprocess.SubprocessError) as error:
            logs = sorted(Path(folder).glob("*.log"))
            tails = [f"{log.name}: {' '.join(log.read_text(errors='replace').split())[-300:]}" for log in logs]
            reason = str(error) or "nothing was heard in time"
            raise SetupError(f"the room did not come up: {reason}; " + " | ".join(tails)) from None


__all__ = ["TEXT", "Cut", "Turn", "interrupt_it", "perform", "say_all", "show", "staged", "table"]
