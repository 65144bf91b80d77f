"""A call as a picture: who spoke when, where the agent was cut, and where each turn's time went."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xtts_rtc.errors import MissingExtra

# Okabe and Ito's colours: told apart with any kind of colour vision, and in grey.
_CALLER, _AGENT, _CUT, _INK, _QUIET = "#D55E00", "#0072B2", "#CC2222", "#222222", "#777777"
_STEPS = (
    ("end_of_turn_ms", "end of turn", "#B8B8B8"),
    ("llm_first_token_ms", "LLM", "#E69F00"),
    ("first_clause_ms", "first clause", "#F0E442"),
    ("first_audio_ms", "first audio", "#0072B2"),
    ("heard_ms", "sent", "#009E73"),
)
_WAYS = {"webrtc": "over WebRTC", "livekit": "in a LiveKit room"}
_ROWS = {"caller": 1.0, "agent": 0.0}


def need_matplotlib() -> None:
    """Raises MissingExtra when there is nothing to draw with."""
    if find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib is not installed, and the timeline needs it; pip install matplotlib")


def draw(call: dict[str, Any], path: Path) -> None:
    """Write the picture of a call.json; the format is the one `path` ends with."""
    need_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 5.6), dpi=110, layout="constrained")
    timeline, turns = figure.subplots(2, 1, height_ratios=[1.25, 1])
    _draw_speech(timeline, call["events"])
    _draw_turns(turns, [event for event in call["events"] if event["what"] == "turn"])
    cut = ", ".join(f"{value} ms" for value in call["summary"]["barge_in_cut_ms"])
    figure.suptitle(
        f"One call {_WAYS[call['summary']['transport']]}: "
        f"turn latency p50 {call['summary']['turn_latency_ms']['p50']:.0f} ms, "
        f"interrupted in {cut}",
        x=0.01,
        ha="left",
        fontsize=13,
        color=_INK,
    )
    figure.savefig(path)


def _draw_speech(axis: Any, events: list[dict[str, Any]]) -> None:
    for side, colour in (("caller", _CALLER), ("agent", _AGENT)):
        spans = [event for event in events if event["what"] == "speech" and event["side"] == side]
        bars = [(event["t_ms"] / 1e3, (event["until_ms"] - event["t_ms"]) / 1e3) for event in spans]
        axis.broken_barh(bars, (_ROWS[side] - 0.22, 0.44), color=colour, linewidth=0)
    for number, event in enumerate(event for event in events if event["what"] == "says"):
        axis.annotate(
            event["text"],
            (event["t_ms"] / 1e3, _ROWS["caller"] + 0.28 + 0.24 * (number % 2)),
            fontsize=8.5,
            color=_CALLER,
        )
    agent = [event["until_ms"] for event in events if event["what"] == "speech" and event["side"] == "agent"]
    for event in events:
        if event["what"] == "cut":  # told when the interruption was sure; the agent was silent before
            at = max((until for until in agent if until <= event["t_ms"]), default=event["t_ms"]) / 1e3
            axis.axvline(at, ymin=0.05, ymax=0.5, color=_CUT, linewidth=1.2, linestyle=(0, (3, 2)))
            axis.annotate("cut", (at, -0.42), fontsize=9, color=_CUT, ha="center")
    axis.set_yticks(list(_ROWS.values()), list(_ROWS))
    axis.set_ylim(-0.5, 1.85)
    axis.set_xlabel("seconds", color=_QUIET)
    _plain(axis)


def _draw_turns(axis: Any, turns: list[dict[str, Any]]) -> None:
    for place, turn in enumerate(turns):
        left = 0.0
        for name, label, colour in _STEPS:
            axis.barh(place, turn[name], left=left, color=colour, height=0.6, label=label if place == 0 else None)
            left += turn[name]
        axis.annotate(f" {turn['total_ms']:.0f} ms", (left, place), va="center", fontsize=9, color=_INK)
    axis.set_yticks(range(len(turns)), [f"turn {place + 1}" for place in range(len(turns))])
    axis.invert_yaxis()
    axis.margins(x=0.08)
    axis.set_xlabel("milliseconds from the caller's last sound to the agent's first, on the agent's side", color=_QUIET)
    if turns:
        axis.legend(ncols=len(_STEPS), loc="lower right", frameon=False, fontsize=9, bbox_to_anchor=(1, 1))
    _plain(axis)


def _plain(axis: Any) -> None:
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(left=False, colors=_QUIET)


__all__ = ["draw", "need_matplotlib"]
