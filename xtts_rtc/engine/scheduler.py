"""Who gets a slot, and whose work is next. Pure decisions: no thread, no clock of its own, no tensor.

The rule is earliest deadline first. A speaking stream's deadline is the moment its listener has heard
everything, less the time its next chunk takes to make; a stream without audio is due at once, but does not
push in when that would make a speaking one late. A listener is only admitted while the measured times say that
all of them can be served in real time (the first always is). One that is `max_ahead_s` ahead rests and costs nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from xtts_rtc.engine.ramp import LADDER, Costs
from xtts_rtc.engine.request import Need, Stream

_ADMISSION_TOKENS = 12  # chunks while streams settle in; with larger ones a full machine stutters at first
_ADMISSION_FACTOR = 0.9
_USUAL_POSITIONS = 32  # of a sentence: text ids, start and stop
_LEAST_POSITIONS = 16  # fewer cost about as much: every piece reads all weights once
_ALL_POSITIONS = 1 << 20
_RESERVE_S = 0.04  # what an unlucky step or a busy machine may add
_FIRST = {Need.VOCODE: 2e-3, Need.PREFILL: 1e-3}  # among newcomers: audio that is ready, then those who can share steps


@dataclass(frozen=True, slots=True)
class Work:
    """What to do now: `need` says what, `streams` for whom (several only for STEP)."""

    need: Need
    streams: list[Stream]


class Scheduler:
    """Slots, the waiting line, and the order of work."""

    def __init__(self, *, num_slots: int, costs: Costs, max_ahead_s: float, max_queue_s: float) -> None:
        self._free = list(range(num_slots - 1, -1, -1))
        self._costs = costs
        self._max_ahead_s = max_ahead_s
        self._max_queue_s = max_queue_s
        self.active: dict[int, Stream] = {}
        self.waiting: deque[Stream] = deque()

    @property
    def num_free_slots(self) -> int:
        return len(self._free)

    def streams(self) -> Iterable[Stream]:
        """All streams, speaking or waiting."""
        return [*self.active.values(), *self.waiting]

    def admit(self, now: float) -> list[Stream]:
        """Give free slots to those who waited longest, as long as all who speak stay in real time."""
        admitted = []
        while self._free and self.waiting and self._holds(self.waiting[0]):
            stream = self.waiting.popleft()
            stream.slot = self._free.pop()
            stream.admitted_at = now
            self.active[stream.id] = stream
            admitted.append(stream)
        return admitted

    def why_full(self) -> str:
        """The reason why the first in line still waits, for an error message."""
        if not self._free:
            return f"all {len(self.active)} streams are taken; try again in a moment"
        return (
            f"{self._num_speaking()} streams speak, and one more would make them stutter on this machine"
            f" (measured real-time factor {self._factor():.2f}); try again in a moment"
        )

    def expired(self, now: float) -> list[Stream]:
        """Those who waited `max_queue_s` for a slot; the caller fails and removes them."""
        return [stream for stream in self.waiting if now - stream.opened_at >= self._max_queue_s]

    def remove(self, stream: Stream) -> int | None:
        """Forget a stream; returns the slot it had, free from now on."""
        if stream.slot is None:
            if stream in self.waiting:
                self.waiting.remove(stream)
            return None
        del self.active[stream.id]
        slot, stream.slot = stream.slot, None
        self._free.append(slot)
        return slot

    def next_work(self, now: float) -> Work | None:
        """The most urgent piece of work, or None when everyone waits or rests."""
        ready = [s for s in self.active.values() if s.need is not Need.TEXT and not self._rests(s, now)]
        if not ready:
            return None
        first = min(ready, key=lambda stream: self._slack_s(stream, now))
        if first.need is not Need.STEP:
            return Work(first.need, [first])
        if pressed := [stream for stream in ready if self._is_pressed(stream, now)]:
            return Work(Need.VOCODE, [min(pressed, key=lambda stream: stream.plays_until)])
        return Work(Need.STEP, [s for s in ready if s.can_step])

    def prefill_positions(self, now: float) -> int:
        """How many positions may be prefilled before a speaking stream needs the engine."""
        speaking = [s for s in self.active.values() if s.request.is_realtime and not s.is_starved and s.can_step]
        if not speaking or not self._costs.position_s:
            return _ALL_POSITIONS
        slack = min(self._slack_s(stream, now) for stream in speaking)
        return max(_LEAST_POSITIONS, int((slack - self._costs.step(1)) / self._costs.position_s))

    def wake_in_s(self, now: float) -> float | None:
        """Seconds until something changes by time alone; None if only news can change it."""
        times = [s.opened_at + self._max_queue_s - now for s in self.waiting]
        times += [
            s.plays_until - now - self._max_ahead_s
            for s in self.active.values()
            if s.request.is_realtime and s.need is not Need.TEXT and s.plays_until - now > self._max_ahead_s
        ]
        return max(0.0, min(times)) if times else None

    def _num_speaking(self) -> int:
        return sum(stream.request.is_realtime for stream in self.active.values())

    def _factor(self) -> float:
        return self._costs.realtime_factor(_ADMISSION_TOKENS, self._num_speaking() + 1)

    def _holds(self, stream: Stream) -> bool:
        return not stream.request.is_realtime or self._num_speaking() == 0 or self._factor() <= _ADMISSION_FACTOR

    def _rests(self, stream: Stream, now: float) -> bool:
        return stream.need is not Need.CLOSE and stream.ahead_s(now) > self._max_ahead_s

    def _is_pressed(self, stream: Stream, now: float) -> bool:
        """Its listener would run dry while it waits for a chunk of the planned size; better a small one now."""
        decode = stream.decode
        if decode is None or stream.is_starved or not stream.request.is_realtime or decode.num_waiting < LADDER[0]:
            return False
        return stream.plays_until - now < self._costs.window(decode.num_waiting) + _RESERVE_S

    def _slack_s(self, stream: Stream, now: float) -> float:
        if stream.need is Need.CLOSE:
            return float("-inf")
        waits = now - (stream.text_at if stream.text_at is not None else stream.opened_at)
        if stream.is_starved:  # nothing to hear: due at once, first come first served
            return self._newcomer_s() - _FIRST.get(stream.need, 0.0) - 1e-5 * waits
        if not stream.request.is_realtime:
            return 1.0 + stream.ahead_s(now)
        return stream.plays_until - now - self._until_chunk_s(stream) - _RESERVE_S

    def _newcomer_s(self) -> float:
        """How near a speaking stream's deadline must be to come before a newcomer's next piece of work."""
        return self._costs.piece(_LEAST_POSITIONS)

    def _until_chunk_s(self, stream: Stream) -> float:
        """Time to make the stream's next chunk if nothing else comes between but the shared steps."""
        decode = stream.decode
        if decode is None:
            return self._costs.piece(_USUAL_POSITIONS) + self._costs.chunk(LADDER[0], 1)
        if decode.num_unfilled:
            return self._costs.piece(decode.num_unfilled) + self._costs.chunk(decode.chunk_tokens, 1)
        missing = 0 if decode.is_stopped else max(0, decode.chunk_tokens - decode.num_waiting)
        return missing * self._costs.step(len(self.active)) + self._costs.window(decode.num_waiting + missing)


__all__ = ["Scheduler", "Work"]
