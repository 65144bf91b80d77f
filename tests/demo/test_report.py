"""Figures of a call, from a made-up one whose every time is known."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest

pytest.importorskip("aiortc")

from xtts_rtc.demo.ears import HZ, Heard
from xtts_rtc.demo.line import Mouth
from xtts_rtc.demo.phone import Phone
from xtts_rtc.demo.report import Call, document, stereo, stretches, table, word_errors
from xtts_rtc.demo.script import SCRIPT, Exchange, Step, recorded

BEGAN = 1_000_000.0
FRAME = 960


def frames(spans: list[tuple[float, float]], length_s: float, *, delay_s: float = 0.0) -> list[Heard]:
    """20 ms frames, loud within the spans."""
    made = []
    for number in range(round(length_s * 50)):
        at = number / 50
        is_loud = any(begin <= at < end for begin, end in spans)
        made.append(Heard(BEGAN + at + delay_s, np.full(FRAME, 9_000 if is_loud else 0, np.int16)))
    return made


@pytest.fixture
async def call() -> Call:
    """The caller asks at 1 to 2 s, hears the answer from 3.0 s, speaks at 5.0 to 6.0, is heard out at 5.1, 7.0 next."""
    phone = Phone(mouth=Mouth())
    phone.mouth.spoken = frames([(1, 2), (5, 6)], 10)
    phone.frames = frames([(3, 5.1), (7, 8)], 10)
    phone.timestamps = [FRAME * number for number in range(len(phone.frames))]
    said = {"type": "said", "text": "Never mind.", "is_cut": True, "at": BEGAN + 6.5}
    steps = {"end_of_turn_ms": 400, "llm_first_token_ms": 100, "first_clause_ms": 200, "first_audio_ms": 50}
    turn = {"type": "turn", "at": BEGAN + 2.9, **steps, "heard_ms": 10, "total_ms": 760}
    held = {"type": "state", "who": "agent", "state": "listening", "at": BEGAN + 5.05}
    phone.events = [turn, held, said]
    first = Exchange(Step("a", "A?"), BEGAN + 1, BEGAN + 2, answered=BEGAN + 3)
    second = Exchange(Step("b", "B!", cuts=True), BEGAN + 5, BEGAN + 6, answered=BEGAN + 7, silent=BEGAN + 5.1)
    return Call(phone, [first, second], num_underruns=2, concealed_samples=phone.concealed_samples())


class Deaf:
    def words(self, pcm: object, hz: int) -> list[str]:
        return []


async def test_the_summary_has_the_contract_s_names_and_the_call_s_figures(call: Call) -> None:
    summary = document(call, Deaf())["summary"]  # type: ignore[arg-type]
    assert summary["turns"] == 2
    assert summary["turn_latency_ms"] == {"p50": 1000.0, "p95": 1000.0}
    assert summary["first_audio_ms"] == {"p50": 50.0, "p95": 50.0}
    assert summary["barge_in_cut_ms"] == [50]
    assert summary["barge_in_from_voice_ms"] == [100]
    assert (summary["old_audio_after_cut_samples"], summary["underruns"], summary["concealed_samples"]) == (0, 2, 0)
    assert summary["agent_wer"] == 0.0
    assert "p50 1000 ms, p95 1000 ms" in table(summary)


async def test_every_event_has_its_time_and_side_in_order(call: Call) -> None:
    events = document(call, Deaf())["events"]  # type: ignore[arg-type]
    assert [event["t_ms"] for event in events] == sorted(event["t_ms"] for event in events)
    assert {event["side"] for event in events} == {"agent", "caller"}
    speech = [(event["side"], event["t_ms"], event["until_ms"]) for event in events if event["what"] == "speech"]
    assert speech == [
        ("caller", 1000, 2000), ("agent", 3000, 5100), ("caller", 5000, 6000), ("agent", 7000, 8000),
    ]  # fmt: skip


class Parrot:
    def words(self, pcm: object, hz: int) -> list[str]:
        return "it is one hundred and forty percent larger".split()


async def test_a_number_is_the_words_that_are_said_of_it(call: Call) -> None:
    call.phone.events[-1].update(text="It is 140% larger.", is_cut=False)
    assert document(call, Parrot())["summary"]["agent_wer"] == 0.0  # type: ignore[arg-type]


async def test_old_audio_after_a_cut_is_counted(call: Call) -> None:
    for frame in call.phone.frames:
        if round(50 * (frame.at - BEGAN)) in range(275, 280):
            frame.pcm[:] = 9_000
    assert document(call, Deaf())["summary"]["old_audio_after_cut_samples"] == 5 * FRAME  # type: ignore[arg-type]


async def test_lost_and_late_packets_are_concealed_ones(call: Call) -> None:
    phone = call.phone
    assert isinstance(phone, Phone)
    del phone.frames[50], phone.timestamps[50]
    phone.frames[80].at += 0.2
    assert phone.concealed_samples() == 2 * FRAME


async def test_a_clock_that_starts_anew_is_one_gap(call: Call) -> None:
    phone = call.phone
    assert isinstance(phone, Phone)
    for frame in phone.frames[200:]:
        frame.at += 0.16
    assert phone.concealed_samples() == pytest.approx(0.1 * HZ, abs=1)


async def test_the_recording_has_the_caller_left_and_the_agent_right(call: Call) -> None:
    with wave.open(io.BytesIO(stereo(call))) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, HZ, 10 * HZ)
        both = np.frombuffer(file.readframes(10 * HZ), np.int16).reshape(-1, 2)
    assert both[round(1.5 * HZ)].tolist() == [9_000, 0]
    assert both[4 * HZ].tolist() == [0, 9_000]


def test_stretches_bridge_what_is_no_pause() -> None:
    assert [
        (round(begin - BEGAN, 2), round(end - BEGAN, 2))
        for begin, end in stretches(frames([(1, 2), (2.1, 3), (4, 5)], 6))
    ] == [(1, 3), (4, 5)]


@pytest.mark.parametrize(
    ("wanted", "heard", "errors"),
    [("a b c", "a b c", 0), ("a b c", "", 3), ("", "a", 1), ("a b c", "a x c", 1), ("a b c", "b c d", 2)],
)
def test_word_errors_are_the_fewest_changes(wanted: str, heard: str, errors: int) -> None:
    assert word_errors(wanted.split(), heard.split()) == errors


def test_every_line_of_the_script_is_recorded_and_short() -> None:
    for step in SCRIPT:
        assert HZ / 2 < len(recorded(step)) < 3 * HZ
