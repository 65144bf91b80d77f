"""A call as figures: what a caller waited, how fast the agent was silent, what was understood of it.

In: the phone's recording and events, and the script as it went. Out: one JSON document, a table, a stereo file.
All times are the caller's; all of it is measured at the caller's end of the connection, unless it says "agent".
"""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from typing import Any

import numpy as np

from xtts_rtc.audio.frames import Int16
from xtts_rtc.demo.ears import HZ, Heard
from xtts_rtc.demo.line import Line
from xtts_rtc.demo.recogniser import Recogniser, words
from xtts_rtc.demo.script import Exchange
from xtts_rtc.text.normalize import normalize
from xtts_rtc.text.spoken import spoken_form

_SETTLE_S = 0.3
_MARGIN_S = 0.1


@dataclass(frozen=True, slots=True, repr=False)  # asyncio prints the result of its last task, to nobody: 5 s
class Call:
    """Everything that is known of one call. `num_underruns` is the agent's own count, `concealed_samples` the ear's."""

    phone: Line
    exchanges: list[Exchange]
    num_underruns: int
    concealed_samples: int
    transport: str = "webrtc"

    @property
    def began(self) -> float:
        return min(self.phone.frames[0].at, self.phone.mouth.spoken[0].at)


def document(call: Call, recogniser: Recogniser) -> dict[str, Any]:
    """``{"summary", "events"}`` as in the README."""
    phone, events = call.phone, call.phone.events
    answered = [each for each in call.exchanges if each.answered is not None]
    latency = [1e3 * (each.answered - each.ended) for each in answered if each.answered is not None]
    turns = [event for event in events if event["type"] == "turn"]
    cuts = [each for each in call.exchanges if each.silent is not None]
    summary = {
        "transport": call.transport,
        "turns": len(answered),
        "turn_latency_ms": _spread(latency),
        "first_audio_ms": _spread([turn["first_audio_ms"] for turn in turns]),
        "end_of_turn_ms": _spread([turn["end_of_turn_ms"] for turn in turns]),
        "llm_first_token_ms": _spread([turn["llm_first_token_ms"] for turn in turns]),
        "barge_in_cut_ms": [_since_interrupt(phone, each) for each in cuts],
        "barge_in_from_voice_ms": [round(1e3 * ((each.silent or 0) - each.began)) for each in cuts],
        "old_audio_after_cut_samples": sum(_old_audio(phone, each) for each in cuts),
        "underruns": call.num_underruns,
        "concealed_samples": call.concealed_samples,
        "agent_wer": _agent_wer(phone, recogniser),
    }
    return {"summary": summary, "events": _timeline(call)}


def stereo(call: Call) -> bytes:
    """A WAV file on the caller's clock: caller left, agent right."""
    sides = [_laid(call.phone.mouth.spoken, call.began), _laid(call.phone.frames, call.began)]
    both = np.zeros((max(map(len, sides)), 2), np.int16)
    for channel, side in enumerate(sides):
        both[: len(side), channel] = side
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(2)
        writer.setsampwidth(2)
        writer.setframerate(HZ)
        writer.writeframes(both.tobytes())
    return file.getvalue()


def table(summary: dict[str, Any]) -> str:
    """The summary for eyes."""
    rows = [
        ("turn latency", "caller's last sound to agent's first, at the ear", _pair(summary["turn_latency_ms"])),
        ("  end of turn", "silence until the agent takes over", _pair(summary["end_of_turn_ms"])),
        ("  LLM", "to its first token", _pair(summary["llm_first_token_ms"])),
        ("  first audio", "clause to sound, in the engine", _pair(summary["first_audio_ms"])),
        ("barge-in", "interrupt to silence at the ear", _list(summary["barge_in_cut_ms"])),
        ("", "caller's first sound to silence at the ear", _list(summary["barge_in_from_voice_ms"])),
        ("old audio", "samples heard after a cut", str(summary["old_audio_after_cut_samples"])),
        ("underruns", "the agent had nothing to send", str(summary["underruns"])),
        ("concealed", "samples lost or too late", str(summary["concealed_samples"])),
        ("agent's words", "not recognised, of what it said", f"{summary['agent_wer']:.0%}"),
    ]
    return "\n".join(f"{name:14}{what:52}{figure}" for name, what, figure in rows)


def _spread(values: list[float]) -> dict[str, float]:
    if not values:
        return {"p50": 0.0, "p95": 0.0}
    return {name: round(float(np.percentile(values, at)), 1) for name, at in (("p50", 50), ("p95", 95))}


def _pair(spread: dict[str, float]) -> str:
    return f"p50 {spread['p50']:.0f} ms, p95 {spread['p95']:.0f} ms"


def _list(values: list[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in values) + " ms"


def _since_interrupt(phone: Line, cut: Exchange) -> int:
    """From the moment the agent's session stopped to speak; where it never said so, from the caller's voice."""
    stops = [
        event["at"]
        for event in phone.events
        if event["type"] == "state" and event["who"] == "agent" and event["state"] == "listening"
    ]
    at = next((at for at in stops if at > cut.began), cut.began)
    return max(0, round(1e3 * ((cut.silent or at) - at)))


def _old_audio(phone: Line, cut: Exchange) -> int:
    """Loud samples between the cut, once the caller's jitter buffer has run out, and the next answer's first sound."""
    assert cut.silent is not None
    end = cut.answered or float("inf")
    times = phone.loud_times(cut.silent + _SETTLE_S)
    return sum(HZ // 50 for at in times if at < end)


def _agent_wer(phone: Line, recogniser: Recogniser) -> float:
    """Over all sentences that were heard to their end. A sentence's sound is what was heard since the one before."""
    errors = total = 0
    begin = 0.0
    for event in phone.events:
        if event["type"] != "said":
            continue
        wanted, until = _spoken_words(event["text"]), event["at"] + _SETTLE_S
        times = [at for at in phone.loud_times(begin) if at < until]
        if wanted and times and not event["is_cut"]:
            pcm = phone.pcm(times[0] - _MARGIN_S, times[-1] + _MARGIN_S)
            errors += word_errors(wanted, recogniser.words(pcm, HZ))
            total += len(wanted)
        begin = until
    return round(errors / total, 3) if total else 0.0


def _spoken_words(text: str) -> list[str]:
    """As the engine says them: 140% is five words."""
    return words(normalize(spoken_form(text, "en"), "en"))


def word_errors(wanted: list[str], heard: list[str]) -> int:
    """Words to replace, add and leave out."""
    row = list(range(len(heard) + 1))
    for place, word in enumerate(wanted, 1):
        before, row[0] = row[0], place
        for column, other in enumerate(heard, 1):
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (word != other))
    return row[-1]


def _timeline(call: Call) -> list[dict[str, Any]]:
    """Speech of both sides as it was heard or sent, and the agent's events, by time."""
    told = [
        {"t_ms": _ms(call, event["at"]), "side": "agent", "what": event["type"], **_rest(event)}
        for event in call.phone.events
    ]
    spoken = [
        {"t_ms": _ms(call, begin), "side": side, "what": "speech", "until_ms": _ms(call, end)}
        for side, frames in (("caller", call.phone.mouth.spoken), ("agent", call.phone.frames))
        for begin, end in stretches(frames)
    ]
    lines = [
        {
            "t_ms": _ms(call, each.began),
            "side": "caller",
            "what": "says",
            "text": each.step.text,
            "cuts": each.step.cuts,
        }
        for each in call.exchanges
    ]
    return sorted([*told, *spoken, *lines], key=lambda event: float(event["t_ms"]))


def stretches(frames: list[Heard], pause_s: float = 0.25) -> list[tuple[float, float]]:
    """Begin and end of each stretch of sound."""
    found: list[tuple[float, float]] = []
    for frame in frames:
        if not frame.is_loud:
            continue
        if found and frame.at - found[-1][1] < pause_s:
            found[-1] = (found[-1][0], frame.at + 0.02)
        else:
            found.append((frame.at, frame.at + 0.02))
    return found


def _ms(call: Call, at: float) -> float:
    return round(1e3 * (at - call.began), 1)


def _rest(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in ("type", "at", "t_ms")}


def _laid(frames: list[Heard], began: float) -> Int16:
    """One frame behind the other from the first one's time on; both sides send without a break."""
    pcm = np.concatenate([frame.pcm for frame in frames])
    return np.concatenate([np.zeros(round(HZ * (frames[0].at - began)), np.int16), pcm])


__all__ = ["Call", "document", "stereo", "stretches", "table", "word_errors"]
