"""A model of four numbers: the promises of `Runtime` with nothing to compute, and levers for its failures."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from xtts_rtc.errors import UnknownLanguage, VoiceNotFound
from xtts_rtc.model.interface import ModelInfo
from xtts_rtc.model.window import Window
from xtts_rtc.types import Conditioning, Event, Float32, Segment, StreamRequest

STOP = 9
DIM = 4


class FakeRuntime:
    """Row state is (seed of the text, number of tokens); the stop token comes after `length` tokens.

    `hook` is called before each call: ("begin" or "step", slots), ("prefill", [number of positions]) or
    ("decode", [number of frames, of those behind the first stage]).
    """

    def __init__(self, num_slots: int = 4, length: int = 60) -> None:
        self.num_slots = num_slots
        self.length = length
        self.hook: Callable[[str, list[int]], None] = lambda what, slots: None
        self.rows: dict[int, list[int]] = {}
        self.unfilled: dict[int, int] = {}
        self.calls: list[str] = []
        self.interrupted: list[int] = []
        self.nan_slots: set[int] = set()
        self.is_warm = threading.Event()

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            num_layers=1, num_heads=1, dim=DIM, num_audio_tokens=10, start_audio_token=8, stop_audio_token=STOP,
            max_audio_tokens=600, max_text_tokens=400,
        )  # fmt: skip

    def begin(self, slot: int, voice: Conditioning, text_ids: NDArray[np.int64]) -> int:
        self._enter("begin", [slot])
        self.rows[slot] = [int(text_ids.sum()), 0]
        self.unfilled[slot] = text_ids.size + 3
        return self.unfilled[slot]

    def extend(self, slot: int, max_positions: int) -> tuple[Float32, Float32] | None:
        positions = min(max_positions, self.unfilled[slot])
        self._enter("prefill", [positions])
        if slot in self.interrupted:
            return None
        self.unfilled[slot] -= positions
        if self.unfilled[slot]:
            return None
        latents, logits = self._out([slot])
        return latents[0], logits[0]

    def interrupter(self, slot: int) -> Callable[[], None]:
        return lambda: self.interrupted.append(slot)

    def step(self, slots: NDArray[np.int64], tokens: NDArray[np.int64]) -> tuple[Float32, Float32]:
        self._enter("step", slots.tolist())
        for slot, token in zip(slots.tolist(), tokens.tolist(), strict=True):
            self.rows[slot][0] = (self.rows[slot][0] * 31 + token) % 1_000_003
            self.rows[slot][1] += 1
        return self._out(slots.tolist())

    def release(self, slot: int) -> None:
        self.rows.pop(slot, None)

    def decode(self, window: Window, voice: Conditioning, is_unwanted: object = None) -> Float32:
        first, stop = window.rest
        self._enter("decode", [window.frames.shape[1], stop - first])
        return window.cut(np.repeat(window.frames[0, first:stop], 256).astype(np.float32))

    def warm(self) -> bool:
        return False

    def condition(self, clips: list[Float32]) -> tuple[Float32, Float32]:
        return np.zeros((32, DIM), np.float32), np.ones(512, np.float32)

    def _enter(self, what: str, slots: list[int]) -> None:
        self.calls.append(what)
        self.hook(what, slots)

    def _out(self, slots: list[int]) -> tuple[Float32, Float32]:
        latents, logits = np.zeros((len(slots), DIM), np.float32), np.zeros((len(slots), 10), np.float32)
        for row, slot in enumerate(slots):
            state, count = self.rows[slot]
            latents[row] = np.sin(np.arange(DIM) + state)
            logits[row] = np.cos(np.arange(10) * (state + 1))
            logits[row, STOP] = 1e4 if count >= self.length - 1 else -1e4
            if slot in self.nan_slots:
                latents[row] = np.nan
        return latents, logits


class FakeFrontend:
    """One id for two characters, about as many as XTTS takes."""

    languages = ("en", "de")

    def resolve(self, language: str) -> str:
        if language not in self.languages:
            raise UnknownLanguage(f"{language!r}: there are {', '.join(self.languages)}")
        return language

    def encode(self, spoken: str, language: str) -> list[int]:
        return [ord(c) % 200 for c in spoken[::2]]

    def is_unreadable(self, ids: list[int]) -> bool:
        return False


class FakeVoices:
    """Only the voice `default`."""

    def known(self, voice: str) -> Conditioning | None:
        if voice != "default":
            raise VoiceNotFound(f"Speaker {voice!r} not found")
        return self.get(voice)

    def get(self, voice: str) -> Conditioning:
        return Conditioning(voice, np.zeros((32, DIM), np.float32), np.zeros(512, np.float32))


class Listener:
    """Collects a stream's events; reads everything at once unless told not to."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_over = threading.Event()
        self.got_audio = threading.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if hasattr(event, "pcm"):
            self.got_audio.set()
        else:
            self.is_over.set()

    @property
    def pcm(self) -> Float32:
        return np.concatenate([e.pcm for e in self.events if hasattr(e, "pcm")] or [np.zeros(0, np.float32)])


def file_request(seed: int = 0, **changes: object) -> StreamRequest:
    """A request that is not paced by the clock."""
    from xtts_rtc.types import SamplingParams

    return StreamRequest(sampling=SamplingParams(seed=seed), is_realtime=False, **changes)  # type: ignore[arg-type]


LONG = "This sentence is long enough for sixty tokens and more of audio."


def segment(index: int = 0, text: str = LONG) -> Segment:
    return Segment(index, text, text)
