"""Sound without gaps, on a simulated machine: the clock moves by what each call of the model would cost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.engine.fake_runtime import FakeFrontend, FakeRuntime, FakeVoices
from xtts_rtc.engine.worker import XttsBackend
from xtts_rtc.errors import EngineFull
from xtts_rtc.types import OUTPUT_HZ, AudioEvent, ErrorEvent, Event, SamplingParams, Segment, StreamRequest

TEXT = "This sentence is long enough for one hundred tokens of audio, and it is never capped."


@dataclass(slots=True)
class Machine:
    """Seconds: a prefilled piece and a step, each as (fixed, per position or row), a vocoder frame."""

    prefill_s: tuple[float, float] = (0.018, 0.001)
    step_s: tuple[float, float] = (0.018, 0.002)
    frame_s: float = 0.0007
    now: float = 100.0
    plan: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def spend(self, what: str, numbers: list[int]) -> None:
        costs = {
            "begin": 0.001,
            "prefill": self.prefill_s[0] + self.prefill_s[1] * numbers[0],
            "step": self.step_s[0] + self.step_s[1] * len(numbers),
            "decode": self.frame_s * (0.25 * numbers[0] + 0.75 * numbers[-1]),
        }
        self.now += costs[what]
        self.act()

    def act(self) -> None:
        """Do what the scenario has planned up to now."""
        while self.plan and self.plan[0][0] <= self.now:
            self.plan.pop(0)[1]()


@dataclass(slots=True, eq=False)
class Ear:
    """A listener who plays at the speed of sound from the first chunk on."""

    machine: Machine
    asked_at: float = 0.0
    chunks: list[tuple[float, float]] = field(default_factory=list)
    error: Exception | None = None
    is_over: threading.Event = field(default_factory=threading.Event)

    def __call__(self, event: Event) -> None:
        if isinstance(event, AudioEvent):
            if event.pcm.size:
                self.chunks.append((self.machine.now, event.pcm.size / OUTPUT_HZ))
            return
        self.error = event.error if isinstance(event, ErrorEvent) else None
        self.is_over.set()

    @property
    def first_s(self) -> float:
        return self.chunks[0][0] - self.asked_at

    def gap_s(self) -> float:
        late, end = 0.0, self.chunks[0][0]
        for at, seconds in self.chunks:
            late = max(late, at - end)
            end = max(end, at) + seconds
        return late


def simulate(
    machine: Machine, starts: list[float], *, num_slots: int = 6, tokens: int = 100, files: int = 0
) -> list[Ear]:
    """Listeners who come at `starts` (seconds from the beginning), each for one long sentence.

    The last `files` of them only want the samples, as fast as there is time for it.
    """
    runtime = FakeRuntime(num_slots=num_slots, length=tokens)
    runtime.hook = machine.spend
    backend = XttsBackend(
        runtime,
        FakeFrontend(),
        FakeVoices(),
        clock=lambda: machine.now,
        max_queue_s=0.5,  # type: ignore[arg-type]
    )
    ready = threading.Event()
    backend.run_on_engine(ready.set)
    assert ready.wait(10)
    wait = backend._wait

    def jump(seconds: float | None) -> None:
        """Nothing to do: time passes until the next thing of the scenario or of the engine."""
        until = [machine.now + seconds] if seconds is not None else []
        until += [machine.plan[0][0]] if machine.plan else []
        if not until:
            wait(0.01)
            return
        machine.now = max(machine.now, min(until)) + 1e-6
        machine.act()

    backend._wait = jump  # type: ignore[method-assign]
    ears = [Ear(machine) for _ in starts]

    def come(ear: Ear) -> None:
        ear.asked_at = machine.now
        is_realtime = ears.index(ear) < len(ears) - files
        stream = backend.open(StreamRequest(sampling=SamplingParams(seed=1), is_realtime=is_realtime), ear)
        backend.consumed(stream, 10**9)
        backend.say(stream, Segment(0, TEXT, TEXT))
        backend.end(stream)

    def begin() -> None:
        start = machine.now
        machine.plan = [
            (start + at, lambda ear=ear: come(ear))
            for at, ear in sorted(zip(starts, ears, strict=True), key=lambda pair: pair[0])
        ]
        machine.act()

    backend.run_on_engine(begin)
    for ear in ears:
        assert ear.is_over.wait(20)
    backend.close()
    return ears


# The last two: a newcomer whose second chunk had to wait for a long window of the first stream.
@pytest.mark.parametrize(
    "starts",
    [[0.0], [0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.7, 1.9], [0.0, 0.3, 0.35], [0.0, 1.67, 1.43], [0.0, 1.44, 2.64]],
)
def test_streams_that_are_admitted_play_without_a_gap(starts: list[float]) -> None:
    ears = simulate(Machine(), starts)
    print([(round(ear.first_s, 3), round(ear.gap_s(), 3)) for ear in ears])
    assert [ear.error for ear in ears] == [None] * len(ears)
    assert max(ear.gap_s() for ear in ears) == 0.0


def test_a_newcomer_is_heard_within_twice_its_time_alone() -> None:
    (alone,) = simulate(Machine(), [0.0])
    *others, late = simulate(Machine(), [0.0, 0.0, 1.5])
    assert late.first_s <= 2 * alone.first_s
    assert max(ear.gap_s() for ear in others) == 0.0


def test_the_stream_that_would_make_others_stutter_is_refused_with_the_reason() -> None:
    ears = simulate(Machine(), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    refused = [ear for ear in ears if ear.error is not None]
    assert refused and all(isinstance(ear.error, EngineFull) and "stutter" in str(ear.error) for ear in refused)
    spoken = [ear for ear in ears if ear.error is None]
    assert len(spoken) >= 3 and max(ear.gap_s() for ear in spoken) == 0.0


def test_a_machine_slower_than_speech_still_serves_one() -> None:
    (ear,) = simulate(Machine(prefill_s=(0.2, 0.01), step_s=(0.08, 0.01), frame_s=0.003), [0.0])
    assert ear.error is None and ear.chunks


@pytest.mark.parametrize("num_files", [1, 3, 7])
def test_files_take_only_the_time_that_listeners_leave(num_files: int) -> None:
    for at in (0.0, 0.8):
        listener, *files = simulate(Machine(), [at] + [0.1] * num_files, num_slots=8, files=num_files)
        assert listener.gap_s() == 0.0  # three files cost a listener 1.35 s when they shared every step
        assert all(file.error is None and file.chunks for file in files)
