"""What the caller of a self-call does: asks, listens, interrupts, is interrupted, hangs up.

In: a `Line` whose other end is the demo's agent. Out: a list of `Exchange`s with the times at the caller's
ear and mouth, in seconds since the epoch.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from xtts_rtc.audio.frames import Int16, to_int16
from xtts_rtc.demo.ears import HZ
from xtts_rtc.demo.line import Line

ASSETS = Path(__file__).parents[1] / "assets" / "caller"
INTERRUPT_AFTER_S = 2.0
THINK_S = 0.4
_HESITATE_S = 1.6
_ANSWER_S = 20.0
_QUIET_S = 0.9


@dataclass(frozen=True, slots=True)
class Step:
    """`clip` is the recording of `text`; `cuts` speaks into the agent's sentence, `hesitates` before its own rest."""

    clip: str
    text: str
    cuts: bool = False
    hesitates: bool = False


SCRIPT = (
    Step("ocean", "What is the largest ocean on earth?"),
    Step("rivers", "Please tell me something about rivers."),
    Step("garden", "Tell me a long story about a garden."),
    Step("stop", "Stop! What is your name?", cuts=True),
    Step("tree", "I would like to know.", hesitates=True),
    Step("tall", "How tall can a tree become?", cuts=True),
)


@dataclass(slots=True)
class Exchange:
    """One step as it went: when the caller's voice began and ended, when the agent was heard, and until when."""

    step: Step
    began: float
    ended: float
    answered: float | None = None
    silent: float | None = None
    """Of a step that cuts: the last sound of the sentence that was cut."""


def recorded(step: Step) -> Int16:
    """int16 [S] mono at 48 kHz."""
    import soundfile

    pcm, hz = soundfile.read(ASSETS / f"{step.clip}.flac", dtype="float32")
    return to_int16(np.asarray(soxr.resample(pcm, hz, HZ), np.float32))


async def play(phone: Line, script: tuple[Step, ...] = SCRIPT) -> list[Exchange]:
    """The whole call. Raises TimeoutError when the agent does not answer within 20 s."""
    clips = {step.clip: recorded(step) for step in script}
    await phone.until_event("ready", limit_s=_ANSWER_S)
    await phone.until_loud(0.0)
    await _until_it_is_my_turn(phone)
    exchanges: list[Exchange] = []
    for place, step in enumerate(script):
        exchange = await _say(phone, step, clips[step.clip])
        if step.cuts:
            exchange.silent = _last_sound(phone, exchange.began)
        next_cuts = place + 1 < len(script) and script[place + 1].cuts
        if step.hesitates:
            await asyncio.sleep(_HESITATE_S)
        else:
            exchange.answered = await phone.until_loud(exchange.ended + 0.1, _ANSWER_S)
            await (asyncio.sleep(INTERRUPT_AFTER_S) if next_cuts else _until_it_is_my_turn(phone))
        exchanges.append(exchange)
    return exchanges


async def _say(phone: Line, step: Step, pcm: Int16) -> Exchange:
    asked = time.time()
    phone.mouth.say(pcm)
    while phone.mouth.is_busy:
        await asyncio.sleep(0.005)
    loud = [frame.at for frame in phone.mouth.spoken if frame.at >= asked and frame.is_loud]
    return Exchange(step, loud[0], loud[-1] + 0.02)


async def _until_it_is_my_turn(phone: Line) -> None:
    await phone.until_quiet(_QUIET_S, limit_s=60)
    await asyncio.sleep(THINK_S)


def _last_sound(phone: Line, since: float) -> float:
    """The last sound before the first quiet third of a second behind `since`."""
    times = phone.loud_times(since - 0.5)
    for at, following in zip(times, [*times[1:], float("inf")], strict=True):
        if at >= since and following - at > 0.3:
            return at
    return since


__all__ = ["ASSETS", "INTERRUPT_AFTER_S", "SCRIPT", "Exchange", "Step", "play", "recorded"]
