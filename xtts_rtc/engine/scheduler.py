"""Who gets a slot, and whose work is next. Pure decisions: no thread, no clock of its own, no tensor.

Earliest deadline first: a speaking stream is due when its listener has heard everything. A newcomer is due at
once, but its pieces of work only come first while no speaking stream would be late for it. A listener is only
admitted while the measured times say that all can be served in real time (the first always is). One that is
`max_ahead_s` ahead rests and costs nothing. What is tried out on a simulated machine is in test_realtime.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from xtts_rtc.engine.ramp import LADDER, Costs
from xtts_rtc.engine.request import Need, Stream

_ADMISSION_TOKENS = 12  # chunks while streams settle in; with larger ones a full machine stutters at first
_ADMISSION_FACTOR = 0.9
_LEAST_POSITIONS = 16  # fewer cost about as much: every piece reads all weights once
_WINDOW_TOKENS = 12  # per vocoder call while several speak: a larger one would make the others wait for it
_MOST_POSITIONS = 80  # a cancel and a second newcomer wait for a piece
_FILE_STEPS = 2  # room that a file's work leaves to the listeners' own
_RESERVE_S = 0.04  # what an unlucky step or a busy machine may add


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
        if over := [s for s in ready if s.need is Need.CLOSE]:
            return Work(Need.CLOSE, over[:1])
        ready = self._without_files(ready, now)
        speaking = self._speaking(ready, now)
        newcomers = [s for s in ready if s not in speaking]
        first = min(newcomers, key=_arrival) if newcomers else speaking[0]
        if speaking and self._next_s(first) > self._spare_s(speaking, now):
            first = speaking[0]
        if first.need is not Need.STEP:
            return Work(first.need, [first])
        if (pressed := self._pressed(speaking, now)) is not None:
            return Work(Need.VOCODE, [pressed])
        return Work(Need.STEP, [s for s in ready if s.can_step])

    def prefill_positions(self, now: float) -> int:
        """How many positions may be prefilled before a speaking stream needs the engine."""
        speaking = self._speaking([s for s in self.active.values() if s.decode is not None], now)
        if not speaking or not self._costs.position_s:
            return _MOST_POSITIONS
        spare = self._spare_s(speaking, now) - self._costs.step(1)
        return min(_MOST_POSITIONS, max(_LEAST_POSITIONS, int(min(1e6, spare) / self._costs.position_s)))

    @property
    def window_tokens(self) -> int:
        """The most new tokens one vocoder call may take."""
        return _WINDOW_TOKENS if len(self.active) > 1 else LADDER[-1]

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

    def _without_files(self, ready: list[Stream], now: float) -> list[Stream]:
        """Files take what time listeners leave: none of them while one more row in a step could make one late."""
        listening = [s for s in ready if s.request.is_realtime]
        files = [s for s in ready if not s.request.is_realtime]
        if not files or not listening:
            return ready
        if any(s.is_starved for s in listening):
            return listening
        longest = max(self._next_s(s) for s in files)
        return (
            ready
            if self._spare_s(self._speaking(listening, now), now) > longest + _FILE_STEPS * self._costs.step(len(ready))
            else listening
        )

    def _speaking(self, streams: list[Stream], now: float) -> list[Stream]:
        """Those whose listeners hear something, or who have none, by the time they run dry."""
        heard = [s for s in streams if not (s.is_starved and s.request.is_realtime)]
        return sorted(heard, key=lambda stream: _deadline(stream, now))

    def _spare_s(self, speaking: list[Stream], now: float) -> float:
        """How long the engine may do something else before one of `speaking`, in order, would be late."""
        spare, windows, steps = float("inf"), 0.0, 0
        step_s = self._costs.step(len(self.active))
        for stream in speaking:
            if stream.request.is_realtime:
                owed = _owed_tokens(stream)
                steps = max(steps, owed)  # steps are shared, windows are not
                windows += self._window_s(owed + _waiting_tokens(stream))
                spare = min(spare, _deadline(stream, now) - now - windows - steps * step_s - _RESERVE_S)
        return spare

    def _pressed(self, speaking: list[Stream], now: float) -> Stream | None:
        """Who has to be vocoded now, before the planned chunk is full, or a listener would run dry.

        The windows of those who run dry first are made first, so each has to wait for all before it.
        """
        able = [s for s in speaking if s.request.is_realtime and _waiting_tokens(s) >= LADDER[0]]
        total = _RESERVE_S
        for stream in able:
            total += self._window_s(_waiting_tokens(stream))
            if stream.plays_until - now < total:
                return able[0]
        return None

    def _window_s(self, tokens: int) -> float:
        return self._costs.window(min(tokens, self.window_tokens))

    def _next_s(self, stream: Stream) -> float:
        """Time of the stream's next piece of work, during which nothing else can be done."""
        if stream.need is Need.VOCODE:
            return self._window_s(_waiting_tokens(stream))
        return self._costs.piece(_LEAST_POSITIONS) if stream.need is Need.PREFILL else 0.0  # steps are shared


def _arrival(stream: Stream) -> tuple[int, float]:
    """Newcomers: audio that is ready first, then those who could share steps, then first come, first served."""
    order = (Need.VOCODE, Need.PREFILL).index(stream.need) if stream.need is not Need.STEP else 2
    return order, stream.text_at if stream.text_at is not None else stream.opened_at


def _deadline(stream: Stream, now: float) -> float:
    """When the listener has heard everything; a file is due a second after what was read of it."""
    return stream.plays_until if stream.request.is_realtime else now + 1.0 + stream.ahead_s(now)


def _waiting_tokens(stream: Stream) -> int:
    return 0 if stream.decode is None else stream.decode.num_waiting


def _owed_tokens(stream: Stream) -> int:
    """Steps until the stream's listener can be given anything; a segment that has yet to begin needs a prefill too.

    Not until its planned chunk is full: that is as large as its listener's patience, and a newcomer would wait for
    all of it. Who is pressed is given a smaller one.
    """
    decode = stream.decode
    if decode is None:
        return LADDER[0] + 2  # its prefill takes about two steps
    return 0 if decode.is_stopped else max(0, LADDER[0] - decode.num_waiting)


__all__ = ["Scheduler", "Work"]
