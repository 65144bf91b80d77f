"""What a call is about to say, and when."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xtts_rtc.transports.audiosocket.mouth import MAX_LATE_S, Mouth, Pacer


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def ramp(num_samples):
    return (np.arange(num_samples) % 1_000 / 2_000 + 0.1).astype(np.float32)


def test_lateness_of_single_frames_does_not_add_up():
    clock = Clock()
    pacer = Pacer(clock)
    rng = np.random.default_rng(4)
    for step in range(1, 5_001):
        delay = pacer.delay_s()
        clock.now = max(clock.now + delay, 100.0) + rng.uniform(0, 0.015)  # the timer and the work are always late
        assert 100.0 + step * 0.02 <= clock.now <= 100.0 + step * 0.02 + 0.016
    assert pacer.num_skips == 0


@settings(max_examples=200, deadline=None)
@given(work_s=st.lists(st.floats(0, 0.5), max_size=60))
def test_no_more_than_a_tenth_of_a_second_is_ever_caught_up(work_s):
    clock = Clock()
    pacer = Pacer(clock)
    sent = [clock.now]
    for seconds in work_s:
        clock.now += seconds
        clock.now += pacer.delay_s()
        sent.append(clock.now)
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            assert (last - first) * 0.02 <= sent[last] - sent[first] + MAX_LATE_S + 0.02 + 1e-9


async def until_waiting(task):
    for _ in range(3):
        await asyncio.sleep(0)
    return not task.done()


async def test_what_was_pushed_comes_out_in_frames_and_silence_around_it():
    mouth = Mouth(8_000)
    assert not mouth.frame().any()
    mouth.begin()
    await mouth.push(ramp(500))
    finishing = asyncio.create_task(mouth.finish())
    assert await until_waiting(finishing)
    frames = [mouth.frame() for _ in range(5)]
    assert [len(frame) for frame in frames] == [160] * 5
    assert np.concatenate(frames)[:500].tolist() == np.rint(ramp(500) * 32_768).astype(int).tolist()
    assert not np.concatenate(frames)[500:].any()
    playback = await finishing
    assert (playback.played_s, playback.is_interrupted) == (500 / 8_000, False)


async def test_a_cut_ends_in_the_next_frame_within_5_ms():
    mouth = Mouth(8_000)
    mouth.begin()
    await mouth.push(ramp(1_600))
    mouth.frame()
    mouth.cut()
    last = mouth.frame()
    assert last[0] == np.rint(ramp(1_600)[160] * 32_768) and not last[40:].any()
    assert (np.diff(last[:40].astype(int)) <= 20).all(), "it falls, without a click"
    assert not any(mouth.frame().any() for _ in range(5))
    assert not await mouth.push(ramp(10)), "the writer is told"
    playback = await mouth.finish()
    assert playback.is_interrupted and playback.played_s == 0.025


async def test_a_cut_before_the_first_sound_is_a_cut():
    mouth = Mouth(8_000)
    mouth.begin()
    mouth.cut()
    playback = await mouth.finish()
    assert (playback.played_s, playback.is_interrupted) == (0.0, True)


async def test_an_utterance_behind_one_that_was_given_up_is_reported_as_its_own():
    mouth = Mouth(8_000)
    mouth.begin()
    await mouth.push(ramp(1_600))
    mouth.begin()
    await mouth.push(ramp(160))
    finishing = asyncio.create_task(mouth.finish())
    assert await until_waiting(finishing)
    assert np.concatenate([mouth.frame() for _ in range(3)]).any()
    playback = await finishing
    assert (playback.played_s, playback.is_interrupted) == (0.02, False)


async def test_a_writer_waits_while_enough_waits_and_a_cut_frees_it():
    mouth = Mouth(8_000)
    mouth.begin()
    assert await mouth.push(ramp(8_000))
    writer = asyncio.create_task(mouth.push(ramp(8_000)))
    assert await until_waiting(writer)
    for _ in range(31):
        mouth.frame()
    assert await writer
    writer = asyncio.create_task(mouth.push(ramp(8_000)))
    assert await until_waiting(writer)
    mouth.cut()
    assert not await writer


@pytest.mark.parametrize("hz", [8_000, 12_000, 16_000, 24_000, 32_000, 44_100, 48_000])
async def test_a_frame_is_20_ms_at_every_rate(hz):
    assert len(Mouth(hz).frame()) * 50 == hz
