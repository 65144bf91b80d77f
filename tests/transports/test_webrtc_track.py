"""The outgoing track's clock, without a network: absolute deadlines, bounded catch-up."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("aiortc")

from aiortc.mediastreams import MediaStreamError
from av import AudioFrame

from xtts_rtc.audio.playout import Playout
from xtts_rtc.transports.webrtc.track import FRAME_SAMPLES, HZ, MAX_CATCH_UP_S, PacedTrack, microphone


class Clock:
    """Time that only passes where it is told to; every sleep takes a little longer than it should."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds + 0.0013


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def track(clock: Clock) -> PacedTrack:
    return PacedTrack(Playout(HZ, FRAME_SAMPLES), clock=clock, sleep=clock.sleep)


async def test_a_thousand_frames_do_not_drift(track: PacedTrack, clock: Clock) -> None:
    for _ in range(1_000):
        await track.recv()
        clock.now += 0.004  # work
    assert clock.now - 100.0 == pytest.approx(999 * 0.02, abs=0.01)
    assert track.num_standstills == 0


async def test_a_short_delay_is_caught_up_and_a_long_one_is_not(track: PacedTrack, clock: Clock) -> None:
    await track.recv()
    clock.now += MAX_CATCH_UP_S - 0.005
    clock.slept.clear()
    for _ in range(4):
        await track.recv()
    assert clock.slept == []
    await track.recv()
    assert len(clock.slept) == 1
    clock.now += 5.0
    clock.slept.clear()
    for _ in range(3):
        await track.recv()
    assert len(clock.slept) == 2
    assert track.num_standstills == 1


async def test_packets_are_20_ms_of_opus_one_behind_the_other(track: PacedTrack) -> None:
    packets = [await track.recv() for _ in range(5)]
    assert [packet.pts for packet in packets] == [0, 960, 1920, 2880, 3840]
    assert {packet.time_base for packet in packets} == {packets[0].time_base}
    assert packets[0].time_base.denominator == HZ
    assert all(3 <= packet.size < 400 for packet in packets)


async def test_a_stopped_track_ends(track: PacedTrack) -> None:
    track.stop()
    with pytest.raises(MediaStreamError):
        await track.recv()


class Recorded:
    """Decoded frames as aiortc gives them, each after a wait."""

    def __init__(self, *pts: int) -> None:
        self._pts = list(pts)

    async def recv(self) -> AudioFrame:
        if not self._pts:
            raise MediaStreamError
        frame = AudioFrame.from_ndarray(np.full((1, 1920), 1000, np.int16), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = HZ, self._pts.pop(0)
        return frame


async def test_a_lost_packet_becomes_as_much_silence() -> None:
    pcm = [part async for part in microphone(Recorded(0, 960, 3840, 4800))]  # type: ignore[arg-type]
    assert [(len(part), int(part[0])) for part in pcm] == [
        (960, 1000), (960, 1000), (1920, 0), (960, 1000), (960, 1000),
    ]  # fmt: skip


async def test_a_jump_of_the_clock_is_no_silence_of_an_hour() -> None:
    pcm = [part async for part in microphone(Recorded(0, 48_000 * 3600, 960))]  # type: ignore[arg-type]
    assert [len(part) for part in pcm] == [960, 960, 960]
