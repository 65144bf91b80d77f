"""Calls over real WebRTC on loopback, with a stock aiortc connection as the caller."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest

pytest.importorskip("aiortc")

import aiortc

from xtts_rtc.audio.frames import Int16
from xtts_rtc.demo.phone import Phone, phoning
from xtts_rtc.errors import EngineUnavailable
from xtts_rtc.transports.webrtc import Calls, IceOptions, Peer
from xtts_rtc.transports.webrtc.calls import LinesBusy
from xtts_rtc.transports.webrtc.peer import BadOffer, gather_on
from xtts_rtc.transports.webrtc.track import FRAME_S, FRAME_SAMPLES, HZ, MAX_CATCH_UP_S

pytestmark = pytest.mark.net

LOOPBACK = IceOptions(addresses=("127.0.0.1",))
LOUD = 1500


@dataclass
class Line:
    """What our side of the calls saw."""

    calls: Calls
    peers: asyncio.Queue[Peer]
    heard: list[Int16] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)

    async def exchange(self, offer: str) -> str:
        return (await self.calls.answer(offer, is_local=True))[1]


async def listen_to(line_of: list[Line], peer: Peer) -> None:
    line = line_of[0]
    peer.on_event = line.messages.append
    line.peers.put_nowait(peer)
    async for pcm in peer.microphone():
        line.heard.append(pcm)


@contextlib.asynccontextmanager
async def open_line(**limits: Any) -> AsyncIterator[Line]:
    lines: list[Line] = []
    async with Calls(partial(listen_to, lines), ice=LOOPBACK, **limits) as calls:
        lines.append(Line(calls, asyncio.Queue()))
        yield lines[0]


@pytest.fixture
async def line(no_leaked_tasks: None) -> AsyncIterator[Line]:
    async with open_line() as made:
        yield made


def sweep(seconds: float) -> Int16:
    """A tone that rises from 200 to 2,000 Hz, at a constant level."""
    at = np.arange(round(seconds * HZ)) / HZ
    phase = 2 * np.pi * (200 * at + 900 * at**2 / seconds)
    return (12_000 * np.sin(phase)).astype(np.int16)


def loud_span(pcm: Int16) -> tuple[int, int]:
    """First and one past the last sample of what is loud."""
    at = np.flatnonzero(np.abs(pcm) > LOUD)
    return (int(at[0]), int(at[-1]) + 1) if len(at) else (0, 0)


def loudest_of_each_10_ms(pcm: Int16) -> Int16:
    return np.abs(pcm[: len(pcm) // 480 * 480]).reshape(-1, 480).max(1)


def heard_by(phone: Phone) -> Int16:
    return np.concatenate([frame.pcm for frame in phone.frames])


async def until(condition: Any, limit_s: float = 5.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.01)


async def test_sound_arrives_whole_in_both_directions(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = sweep(2.0)
    async with phoning(line.exchange) as phone:
        peer = await line.peers.get()
        finished: list[tuple[int, bool]] = []
        peer.playout.on_finished = lambda samples, is_cut: finished.append((samples, is_cut))
        peer.playout.push(wanted)
        peer.playout.end_segment()
        phone.mouth.say(wanted)
        await until(lambda: finished and not phone.mouth.is_busy)
        await asyncio.sleep(0.3)
        there, back = heard_by(phone), np.concatenate(line.heard)
    assert finished == [(len(wanted), False)]
    for name, pcm in (("caller", there), ("agent", back)):
        first, last = loud_span(pcm)
        around = pcm[first - 480 : first + len(wanted) + 480].astype(np.float64)
        lag = int(np.argmax(np.correlate(around, wanted.astype(np.float64), "valid")))
        likeness = float(np.corrcoef(around[lag : lag + len(wanted)], wanted)[0, 1])
        with capsys.disabled():
            print(f"\nwebrtc: {name} heard {last - first} of {len(wanted)} samples, correlation {likeness:.3f}")
        assert abs(last - first - len(wanted)) < 480
        assert loudest_of_each_10_ms(pcm[first:last]).min() > LOUD
        assert likeness > 0.9


async def test_ten_seconds_do_not_drift(line: Line, capsys: pytest.CaptureFixture[str]) -> None:
    async with phoning(line.exchange) as phone:
        peer = await line.peers.get()
        await asyncio.sleep(0.3)
        sent, began = peer.num_sent, time.monotonic()
        count = len(phone.frames)
        await asyncio.sleep(10.0)
        sent, took = peer.num_sent - sent, time.monotonic() - began
        at = np.array([frame.at for frame in phone.frames[count:]])
        stamps = np.array(phone.timestamps[count:]) / HZ
    late = (at - at[0]) - (stamps - stamps[0])
    drift = np.polyfit(stamps, at, 1)[0] - 1
    with capsys.disabled():
        print(
            f"\nwebrtc: {sent} frames in {took:.2f} s, drift {1e6 * drift:.0f} ppm, "
            f"arrival {1e3 * np.percentile(np.abs(late - np.median(late)), 95):.1f} ms p95 off the clock"
        )
    assert sent == pytest.approx(took / FRAME_S, abs=MAX_CATCH_UP_S / FRAME_S)
    assert set(np.diff(phone.timestamps[count:])) == {FRAME_SAMPLES}
    assert abs(drift) < 2e-3


async def test_a_cut_is_heard_within_a_frame_and_its_position_is_exact(
    line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    async with phoning(line.exchange) as phone:
        peer = await line.peers.get()
        finished: list[tuple[int, bool]] = []
        peer.playout.on_finished = lambda samples, is_cut: finished.append((samples, is_cut))
        given_out: list[int] = []
        for _ in range(3):
            count, at_start = len(phone.frames), peer.num_sent
            began: list[int] = []
            peer.playout.on_started = lambda began=began: began.append(peer.num_sent)
            peer.playout.push(sweep(5.0))
            peer.playout.end_segment()
            await asyncio.sleep(1.0)
            peer.playout.clear()
            cut, given_out = time.time(), [(peer.num_sent - began[0]) * FRAME_SAMPLES]
            await until(lambda: finished)
            await asyncio.sleep(0.5)
            position, is_cut = finished.pop()
            pcm = np.concatenate([frame.pcm for frame in phone.frames[count:]])
            first, last = loud_span(pcm)
            last_ms = 1e3 * (max(frame.at for frame in phone.frames[count:] if frame.is_loud) - cut)
            with capsys.disabled():
                print(
                    f"\nwebrtc: cut after {given_out[0]} samples, {position} reported, {last - first} heard; "
                    f"last sound {last_ms:.0f} ms after the cut (the caller's jitter buffer is 80 ms)"
                )
            assert is_cut
            assert at_start <= began[0]
            assert 0 <= position - given_out[0] <= FRAME_SAMPLES
            assert abs(last - first - position) < FRAME_SAMPLES
            assert last_ms < 320  # 80 to 100 on two cores
            fall = np.abs(np.diff(pcm[last - 300 : last + 960].astype(np.int32))).max()
            assert fall < 5_000  # the sweep's own slope at 560 Hz is 880 a sample; a hard cut steps by 12,000


async def test_a_pause_is_silent_and_goes_on_where_it_began(line: Line) -> None:
    async with phoning(line.exchange) as phone:
        peer = await line.peers.get()
        finished: list[tuple[int, bool]] = []
        peer.playout.on_finished = lambda samples, is_cut: finished.append((samples, is_cut))
        peer.playout.push(sweep(2.0))
        peer.playout.end_segment()
        await asyncio.sleep(0.7)
        peer.playout.pause()
        paused = time.monotonic()
        await asyncio.sleep(0.8)
        assert finished == []
        peer.playout.resume()
        paused_s = time.monotonic() - paused
        await until(lambda: finished)
        await asyncio.sleep(0.3)
        pcm = heard_by(phone)
    assert finished == [(2 * HZ, False)]
    first, last = loud_span(pcm)
    quiet = loudest_of_each_10_ms(pcm[first:last]) < LOUD
    assert int(quiet.sum()) == pytest.approx(paused_s / 0.01, abs=MAX_CATCH_UP_S / 0.01)
    assert (last - first) - 480 * int(quiet.sum()) == pytest.approx(2 * HZ, abs=1_500)


async def test_events_go_both_ways_in_order_and_wait_for_the_channel(line: Line) -> None:
    early = [{"type": "early", "n": n} for n in range(3)]

    async def exchange(offer: str) -> str:
        call, answer = await line.calls.answer(offer, is_local=True)
        for event in early:
            line.calls.peer(call).send_event(event)
        return answer

    async with phoning(exchange) as phone:
        peer = await line.peers.get()
        for number in range(100):
            peer.send_event({"type": "count", "n": number, "text": "naïve ☕"})
        await until(lambda: len(phone.events) >= 103)
        assert [(event["type"], event["n"]) for event in phone.events] == [
            *(("early", n) for n in range(3)),
            *(("count", n) for n in range(100)),
        ]
        assert phone.events[-1]["text"] == "naïve ☕"
        for text in ("no json", "[1]", '"x"', "{" * 3000, "x" * 9000, '{"type":"hello"}'):
            phone.send(text)
        await until(lambda: line.messages)
    assert line.messages == [{"type": "hello"}]


async def test_a_call_has_one_data_channel_and_who_opens_many_is_hung_up_on(line: Line) -> None:
    async with phoning(line.exchange) as phone:
        peer = await line.peers.get()
        second = phone.pc.createDataChannel("second")
        second.on("open", lambda: second.send('{"type":"second"}'))
        await until(lambda: second.readyState == "closed")
        phone.send('{"type":"first"}')
        peer.send_event({"type": "answer"})
        await phone.until_event("answer")
        await until(lambda: line.messages)
        assert line.messages == [{"type": "first"}]
        assert line.calls.num_calls == 1
        for number in range(8):
            phone.pc.createDataChannel(f"another {number}")
        await until(lambda: line.calls.num_calls == 0)


def test_nobody_can_guess_the_id_of_a_call() -> None:
    places = list(zip(*(Peer().id for _ in range(64)), strict=True))
    assert len(places) * 4 >= 128  # bits, in hexadecimal
    assert all(len(set(place)) > 4 for place in places)


async def test_more_callers_than_lines_are_refused_and_the_others_hear_nothing_of_it() -> None:
    async with open_line(max_calls=2) as line:
        async with phoning(line.exchange), phoning(line.exchange) as second:
            with pytest.raises(LinesBusy, match="all 2 lines are taken"):
                async with phoning(line.exchange):
                    pass
            count = len(second.frames)
            await until(lambda: len(second.frames) > count + 10)
        await until(lambda: line.calls.num_calls == 0)
        async with phoning(line.exchange):
            assert line.calls.num_calls == 1


async def test_what_goes_wrong_beside_a_call_hangs_up_and_is_raised_as_it_is(no_leaked_tasks: None) -> None:
    with pytest.raises(LookupError, match="something else"):
        async with open_line() as line, phoning(line.exchange):
            raise LookupError("something else")
    assert line.calls.num_calls == 0


async def test_an_offer_that_is_answered_while_the_lines_close_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    is_asked, may_go_on, answer = asyncio.Event(), asyncio.Event(), Peer.answer
    before = asyncio.all_tasks()

    async def slow(peer: Peer, *values: Any, **named: Any) -> str:
        is_asked.set()
        await may_go_on.wait()
        return await answer(peer, *values, **named)

    async def call() -> None:
        async with phoning(line.exchange):
            pass

    monkeypatch.setattr(Peer, "answer", slow)
    async with open_line() as line:
        calling = asyncio.create_task(call())
        await is_asked.wait()
    may_go_on.set()
    with pytest.raises(EngineUnavailable, match="closing"):
        await calling
    assert line.calls.num_calls == 0
    await until(lambda: asyncio.all_tasks() <= before)


@pytest.mark.parametrize(
    ("offer", "message"),
    [
        ("", "exactly one audio section"),
        ("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n", "cannot be answered"),
        ("v=0\r\nm=audio 9 x\r\nm=video 9 x\r\n", "nothing else but a data channel"),
        ("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=recvonly\r\n", "must be sendrecv"),
    ],
)
async def test_an_offer_that_cannot_be_answered_is_refused_and_frees_its_line(
    line: Line, offer: str, message: str
) -> None:
    with pytest.raises(BadOffer, match=message):
        await line.exchange(offer)
    assert line.calls.num_calls == 0


async def test_a_caller_who_never_connects_loses_the_line() -> None:
    async with open_line(connect_s=0.4) as line:
        pc = aiortc.RTCPeerConnection(aiortc.RTCConfiguration(iceServers=[]))
        gather_on(pc.addTransceiver("audio").sender.transport.transport, ("127.0.0.1",))
        await pc.setLocalDescription(await pc.createOffer())
        await line.exchange(pc.localDescription.sdp)
        await pc.close()
        assert line.calls.num_calls == 1
        await until(lambda: line.calls.num_calls == 0)


async def test_a_caller_who_hangs_up_is_gone_before_anybody_misses_it(line: Line) -> None:
    async with phoning(line.exchange):
        assert line.calls.num_calls == 1
    await until(lambda: line.calls.num_calls == 0, limit_s=5)  # of silence it would take ten


async def test_a_caller_whose_network_went_is_dropped_after_the_silence_limit() -> None:
    async with open_line(silence_s=1.0) as line:
        async with phoning(line.exchange) as phone:
            await line.peers.get()
            await asyncio.sleep(1.5)
            assert line.calls.num_calls == 1
            phone.mouth.choke()
            began = time.monotonic()
            await until(lambda: line.calls.num_calls == 0)
            assert 0.9 < time.monotonic() - began < 4.0


async def test_a_call_of_which_our_side_fails_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(peer: Peer) -> None:
        raise RuntimeError("the session broke")

    async with Calls(fail, ice=LOOPBACK) as calls:
        line = Line(calls, asyncio.Queue())
        with contextlib.suppress(TimeoutError):
            async with phoning(line.exchange, limit_s=0.5):
                pass
        await until(lambda: calls.num_calls == 0)
    assert "the session broke" in caplog.text


async def test_closing_hangs_up_on_everybody_and_finishes_what_was_playing() -> None:
    finished: list[tuple[int, bool]] = []
    async with contextlib.AsyncExitStack() as stack:
        async with open_line() as line:
            for _ in range(2):
                await stack.enter_async_context(phoning(line.exchange))
                peer = await line.peers.get()
                peer.playout.on_finished = lambda samples, is_cut: finished.append((samples, is_cut))
                peer.playout.push(sweep(5.0))
            await asyncio.sleep(0.3)
        assert line.calls.num_calls == 0
        assert [is_cut for _, is_cut in finished] == [True, True]
        assert all(0 < samples < HZ for samples, _ in finished)
