"""The caller speaks: how soon is it quiet, on the line and in the engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest

from tests.fakes import tone_engine
from tests.transports.audiosocket.phone import calling, until
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.transports.audiosocket import Call, CallerSpoke, Playback, answering
from xtts_rtc.types import Float32

pytestmark = [pytest.mark.net, pytest.mark.slow]

LONG = "This is a test. " * 20
FRAME_S = 0.02
SLACK_S = 0.012
"""The loopback, the phone's own timer and a busy machine."""


@pytest.fixture
async def tone(no_leaked_tasks: None) -> AsyncIterator[ToneBackend]:
    tone = ToneBackend(max_streams=8)
    yield tone
    tone.close()


async def barge_in(tone: ToneBackend, caller_voice: Float32, noise: Float32, begin_s: float) -> dict[str, float]:
    """One call whose caller speaks up after `begin_s`; times in ms since the caller's first sound."""
    decided: list[float] = []
    ended: list[Playback] = []

    async def watch(call: Call) -> None:
        while not isinstance(await call.next_event(), CallerSpoke):
            pass
        decided.append(time.monotonic())

    async def answer(call: Call) -> None:
        watching = asyncio.create_task(watch(call))
        ended.append(await call.say(LONG))
        await watching

    async with answering(tone_engine(tone), answer) as server, calling(server.port) as phone:
        num_lead = round(begin_s * 8_000 / 160) * 160
        said = np.concatenate([np.zeros(num_lead, np.float32), caller_voice])
        phone.say(said + noise[: len(said)])
        await phone.until_hung_up()
        began = phone.began_at[0] + num_lead / 8_000
        last_loud = phone.loud_times()[-1]
        assert ended[0].is_interrupted
        metrics = ended[0].metrics
        assert metrics is not None and metrics.cancel_to_idle_ms is not None
        await until(lambda: tone.num_streams == 0)
        return {
            "decision": (decided[0] - began) * 1000,
            "last sound": (last_loud - began) * 1000,
            "after decision": (last_loud - decided[0]) * 1000,
            "idle": metrics.cancel_to_idle_ms,
        }


@pytest.mark.parametrize("noise_db", [-90, -45])
async def test_a_caller_who_speaks_up_is_the_only_one_heard_one_frame_later(
    tone: ToneBackend, caller_voice: Float32, noise_db: float, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(2).standard_normal(80_000).astype(np.float32) * np.float32(10 ** (noise_db / 20))
    figures = [await barge_in(tone, caller_voice, noise, 1.0 + turn * 0.13) for turn in range(3)]
    with capsys.disabled():
        for one in figures:
            print(f"\nnoise {noise_db} dBFS, ms: " + ", ".join(f"{name} {ms:.0f}" for name, ms in one.items()), end="")
    for one in figures:
        assert 40 <= one["decision"] <= 200
        assert one["after decision"] <= (FRAME_S + SLACK_S) * 1000
        assert one["idle"] < 50, "within a step of the beep"
    assert tone.max_steps_after_cancel <= 1


async def test_noise_on_the_line_and_the_echo_of_our_own_voice_interrupt_nothing(tone: ToneBackend) -> None:
    ended: list[Playback] = []

    async def answer(call: Call) -> None:
        ended.append(await call.say("This is a test. " * 3))

    async with answering(tone_engine(tone), answer) as server, calling(server.port) as phone:
        await phone.until_loud()
        rng = np.random.default_rng(3)
        num_echoed = len(phone.heard)
        while phone.hung_up_at is None:  # what was heard comes back 25 dB quieter, over noise
            fresh = phone.heard[num_echoed:]
            num_echoed += len(fresh)
            for one in fresh:
                echo = one.pcm / 32_768 * 10 ** (-25 / 20)
                phone.say((echo + rng.standard_normal(len(echo)) * 0.003).astype(np.float32))
            await asyncio.sleep(0.01)
    assert not ended[0].is_interrupted
    assert ended[0].played_s == pytest.approx(3.0, abs=0.1)
