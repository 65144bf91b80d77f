"""Frames out of queued segments: gapless, exact positions, cuts that are heard at once and do not click."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtts_rtc.audio.frames import Int16
from xtts_rtc.audio.playout import Playout

HZ, FRAME = 48_000, 960
FADE = 240


class Listener:
    def __init__(self) -> None:
        self.started = 0
        self.runs: list[tuple[int, int]] = []
        self.finished: list[tuple[int, bool]] = []
        self.playout = Playout(
            HZ,
            FRAME,
            on_started=self._start,
            on_run=lambda offset, samples: self.runs.append((offset, samples)),
            on_finished=lambda samples, is_cut: self.finished.append((samples, is_cut)),
        )

    def _start(self) -> None:
        self.started += 1

    def hear(self, num_frames: int) -> Int16:
        return np.concatenate([self.playout.frame() for _ in range(num_frames)])


@pytest.fixture
def listener() -> Listener:
    return Listener()


def loud(num_samples: int, level: int = 10_000) -> Int16:
    return np.full(num_samples, level, np.int16)


def biggest_step(pcm: Int16) -> int:
    return int(np.abs(np.diff(pcm.astype(np.int32))).max())


def test_nothing_queued_is_silence(listener: Listener) -> None:
    assert not listener.hear(3).any()
    assert (listener.started, listener.finished) == (0, [])


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=12), st.integers(1, 3))
def test_a_segment_comes_out_bit_exactly_however_it_was_cut(sizes: list[int], num_segments: int) -> None:
    listener, whole = Listener(), []
    rng = np.random.default_rng(0)
    for _ in range(num_segments):
        for size in sizes:
            whole.append(rng.integers(-30_000, 30_000, size).astype(np.int16))
            listener.playout.push(whole[-1])
        listener.playout.end_segment()
    wanted = np.concatenate(whole)
    heard = listener.hear(len(wanted) // FRAME + 3)
    assert np.array_equal(heard[: len(wanted)], wanted)
    assert not heard[len(wanted) :].any()
    assert listener.finished == [(sum(sizes), False)] * num_segments
    assert listener.playout.num_underruns == 0


def test_a_segment_is_finished_when_its_sound_has_ended_not_when_it_was_handed_out(listener: Listener) -> None:
    listener.playout.push(loud(2 * FRAME))
    listener.playout.end_segment()
    listener.hear(2)
    assert (listener.started, listener.finished) == (1, [])
    listener.hear(1)
    assert listener.finished == [(2 * FRAME, False)]
    assert listener.runs == [(0, 2 * FRAME)]


def test_it_does_not_begin_before_a_whole_frame_is_there(listener: Listener) -> None:
    listener.playout.push(loud(FRAME - 1))
    assert not listener.hear(1).any()
    listener.playout.push(loud(1))
    assert listener.hear(1).all()


def test_a_run_begins_with_its_lead_or_when_it_has_waited_long_enough() -> None:
    playout = Playout(HZ, FRAME, lead_samples=5 * FRAME, max_wait_frames=3)
    playout.push(loud(2 * FRAME))
    assert [bool(playout.frame().any()) for _ in range(4)] == [False, False, False, True]
    early = Playout(HZ, FRAME, lead_samples=5 * FRAME, max_wait_frames=3)
    early.push(loud(5 * FRAME))
    assert early.frame().all()
    whole = Playout(HZ, FRAME, lead_samples=5 * FRAME, max_wait_frames=3)
    whole.push(loud(100))
    whole.end_segment()
    assert whole.frame()[:100].all()


def test_a_cut_is_heard_in_the_next_frame_as_a_fade_of_5_ms(listener: Listener) -> None:
    listener.playout.push(loud(20 * FRAME))
    listener.hear(3)
    listener.playout.clear()
    cut = listener.hear(2)
    assert cut[0] > 9_990
    assert not cut[FADE:].any()
    assert biggest_step(cut) < 150
    assert listener.finished == []  # the segment is still open: more of it may come, and is dropped
    listener.playout.push(loud(5 * FRAME))
    listener.playout.end_segment()
    assert not listener.hear(2).any()
    assert listener.finished == [(3 * FRAME + FADE, True)]
    assert listener.runs == [(0, 3 * FRAME + FADE)]


def test_a_cut_ends_everything_that_waits_and_the_next_segment_is_whole(listener: Listener) -> None:
    for _ in range(3):
        listener.playout.push(loud(2 * FRAME))
        listener.playout.end_segment()
    listener.hear(1)
    listener.playout.clear()
    listener.playout.push(loud(FRAME, 77))
    listener.playout.end_segment()
    frame = listener.hear(1)
    assert frame[FADE:].tolist() == [77] * (FRAME - FADE)
    listener.hear(2)
    assert listener.finished == [(FRAME + FADE, True), (0, True), (0, True), (FRAME, False)]


def test_clearing_what_is_not_there_changes_nothing(listener: Listener) -> None:
    listener.playout.clear()
    listener.playout.end_segment()
    listener.hear(2)
    assert listener.finished == []


def test_a_pause_fades_and_loses_nothing(listener: Listener) -> None:
    listener.playout.push(loud(10 * FRAME))
    listener.playout.end_segment()
    before = listener.hear(2)
    listener.playout.pause()
    paused = listener.hear(4)
    listener.playout.resume()
    after = listener.hear(10)
    whole = np.concatenate([before, paused, after])
    assert not paused[FADE:].any()
    assert biggest_step(whole[: 13 * FRAME]) < 150
    assert np.count_nonzero(whole) == pytest.approx(10 * FRAME, abs=4)  # the ends of fades are exactly 0
    assert listener.finished == [(10 * FRAME, False)]
    assert listener.runs == [(0, 2 * FRAME + FADE), (2 * FRAME + FADE, 8 * FRAME - FADE)]


def test_a_cut_during_a_pause_reports_where_the_pause_began(listener: Listener) -> None:
    listener.playout.push(loud(10 * FRAME))
    listener.playout.end_segment()
    listener.hear(2)
    listener.playout.pause()
    listener.hear(5)
    listener.playout.clear()
    assert not listener.hear(1).any()
    listener.playout.resume()
    assert not listener.hear(2).any()
    assert listener.finished == [(2 * FRAME + FADE, True)]


def test_running_dry_is_counted_and_fades_on_both_sides(listener: Listener) -> None:
    listener.playout.push(loud(FRAME + 500))
    dry = listener.hear(3)
    listener.playout.push(loud(2 * FRAME))
    listener.playout.end_segment()
    back = listener.hear(4)
    assert listener.playout.num_underruns == 1
    assert biggest_step(np.concatenate([dry, back])[: 5 * FRAME - 1]) < 150
    assert listener.finished == [(3 * FRAME + 500, False)]
    assert listener.runs == [(0, FRAME + 500), (FRAME + 500, 2 * FRAME)]


def test_closing_finishes_every_segment_once(listener: Listener) -> None:
    listener.playout.push(loud(2 * FRAME))
    listener.playout.end_segment()
    listener.playout.push(loud(2 * FRAME))
    listener.hear(1)
    listener.playout.close()
    listener.playout.close()
    assert listener.finished == [(FRAME, True), (0, True)]


@given(st.lists(st.sampled_from("pecPR..."), max_size=60))
def test_any_order_of_calls_finishes_each_pushed_segment_once(calls: list[str]) -> None:
    listener, pushed, is_open = Listener(), 0, False
    for call in calls:
        match call:
            case "p":
                pushed, is_open = pushed + (not is_open), True
                listener.playout.push(loud(700))
            case "e":
                is_open = False
                listener.playout.end_segment()
            case "c":
                listener.playout.clear()
            case "P":
                listener.playout.pause()
            case "R":
                listener.playout.resume()
            case ".":
                assert len(listener.playout.frame()) == FRAME
    listener.playout.close()
    assert len(listener.finished) == pushed
    assert sum(size for _, size in listener.runs) == sum(size for size, _ in listener.finished)
