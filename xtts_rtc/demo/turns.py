"""Where the time of a turn goes: from the caller's last sound to the agent's first.

Times are seconds since the epoch, on this machine's clock; reports are milliseconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(slots=True)
class Marks:
    """When the parts of an answer were there; None while they are not."""

    llm_first_token: float | None = None
    first_clause: float | None = None
    first_audio: float | None = None


@dataclass(frozen=True, slots=True)
class TurnReport:
    """The steps one after another; they add up to `total_ms`.

    A step that was done before the one in front of it (the LLM may begin before the turn is over) is 0.
    """

    end_of_turn_ms: float
    llm_first_token_ms: float
    first_clause_ms: float
    first_audio_ms: float
    heard_ms: float
    total_ms: float


class TurnClock:
    """Collects one turn after another. A turn begins with `turn_ended` and is reported by `heard`."""

    def __init__(self) -> None:
        self.marks = Marks()
        self._stopped: float | None = None
        self._decided = 0.0

    def turn_ended(self, stopped_speaking_at: float | None) -> None:
        """The session has decided that the caller's turn is over; it stopped to speak at that time."""
        self._decided = time.time()
        self._stopped = stopped_speaking_at or self._decided

    def answer_begins(self) -> Marks:
        """A new answer is being made; it may be before the turn's end is decided."""
        self.marks = Marks()
        return self.marks

    def heard(self, at: float) -> TurnReport | None:
        """The first sound of an answer went out; None when it answers no turn."""
        if self._stopped is None:
            return None
        marks, stopped, self._stopped = self.marks, self._stopped, None
        moments = [stopped, self._decided, marks.llm_first_token, marks.first_clause, marks.first_audio, at]
        ends = [stopped]
        for moment in moments[1:]:
            ends.append(max(ends[-1], min(moment or ends[-1], at)))
        steps = [round(1e3 * (end - begin), 1) for begin, end in zip(ends, ends[1:], strict=False)]
        return TurnReport(steps[0], steps[1], steps[2], steps[3], steps[4], round(1e3 * (ends[-1] - stopped), 1))


__all__ = ["Marks", "TurnClock", "TurnReport"]
