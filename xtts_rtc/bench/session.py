"""One loaded model under measurement: its runtime with a stopwatch, its voice, and engines over it."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xtts_rtc.engine.runtimes import LoadedRuntime
from xtts_rtc.engine.worker import XttsBackend
from xtts_rtc.errors import EngineUnavailable
from xtts_rtc.model.interface import ModelInfo, Runtime, never
from xtts_rtc.model.window import Window
from xtts_rtc.types import Conditioning, Float32

SENTENCE = "This is a test of the real-time text-to-speech synthesis system."
NUM_TOKENS = 100
"""4.6 s, about what the sentence takes."""
WITHOUT_LIMIT_S = 3600.0
"""As `max_ahead_s` and `max_queue_s`: nobody rests and nobody is refused."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the model: `size` is positions of a prefill, rows of a step, frames of a window."""

    kind: Literal["prefill", "step", "decode"]
    at: float
    seconds: float
    size: int


class MeteredRuntime:
    """A runtime that times its calls, and whose stop token comes after exactly `num_tokens`.

    So all sides say the same amount. `calls` grows until `take_calls`.
    """

    def __init__(
        self, inner: Runtime, *, num_tokens: int = NUM_TOKENS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._counts: dict[int, int] = {}
        self._calls: list[Call] = []
        self.num_tokens = num_tokens

    @property
    def info(self) -> ModelInfo:
        return self._inner.info

    @property
    def num_slots(self) -> int:
        return self._inner.num_slots

    def take_calls(self) -> list[Call]:
        """The calls since the last time, oldest first."""
        calls, self._calls = self._calls, []
        return calls

    def begin(self, slot: int, voice: Conditioning, text_ids: NDArray[np.int64]) -> int:
        """As `Runtime.begin`."""
        start = self._clock()
        num_positions = self._inner.begin(slot, voice, text_ids)
        self._calls.append(Call("prefill", start, self._clock() - start, 0))
        return num_positions

    def extend(self, slot: int, max_positions: int) -> tuple[Float32, Float32] | None:
        """As `Runtime.extend`."""
        start = self._clock()
        done = self._inner.extend(slot, max_positions)
        self._calls.append(Call("prefill", start, self._clock() - start, max_positions))
        if done is None:
            return None
        self._counts[slot] = 1
        latent, logits = done
        return latent, self._stop(logits[None].copy(), [slot])[0]

    def interrupter(self, slot: int) -> Callable[[], None]:
        """As `Runtime.interrupter`."""
        return self._inner.interrupter(slot)

    def prefill(self, slot: int, voice: Conditioning, text_ids: NDArray[np.int64]) -> tuple[Float32, Float32]:
        """As `Runtime.prefill`."""
        done = self.extend(slot, self.begin(slot, voice, text_ids))
        assert done is not None
        return done

    def step(self, slots: NDArray[np.int64], tokens: NDArray[np.int64]) -> tuple[Float32, Float32]:
        """As `Runtime.step`."""
        start = self._clock()
        latents, logits = self._inner.step(slots, tokens)
        self._calls.append(Call("step", start, self._clock() - start, slots.size))
        for slot in slots.tolist():
            self._counts[slot] += 1
        return latents, self._stop(logits.copy(), slots.tolist())

    def warm(self) -> bool:
        """As `Runtime.warm`."""
        return self._inner.warm()

    def release(self, slot: int) -> None:
        """As `Runtime.release`."""
        self._inner.release(slot)

    def decode(self, window: Window, voice: Conditioning, is_unwanted: Callable[[], bool] = never) -> Float32:
        """As `Runtime.decode`."""
        start = self._clock()
        pcm = self._inner.decode(window, voice, is_unwanted)
        self._calls.append(Call("decode", start, self._clock() - start, window.frames.shape[1]))
        return pcm

    def condition(self, clips: list[Float32]) -> tuple[Float32, Float32]:
        """As `Runtime.condition`."""
        return self._inner.condition(clips)

    def _stop(self, logits: Float32, slots: list[int]) -> Float32:
        stop = self._inner.info.stop_audio_token
        for row, slot in enumerate(slots):
            logits[row, stop] = 1e5 if self._counts[slot] >= self.num_tokens else -1e5
        return logits


class OneVoice:
    """The library of a benchmark: one voice under every name."""

    def __init__(self, voice: Conditioning) -> None:
        self._voice = voice

    def known(self, voice_id: str) -> Conditioning:
        """The voice: every name is known."""
        return self._voice

    def get(self, voice_id: str) -> Conditioning:
        """The voice."""
        return self._voice


class Session:
    """A model with `num_slots` rows and the voice it speaks with; a context manager that frees both."""

    def __init__(
        self, loaded: LoadedRuntime, voice: Conditioning, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.loaded: LoadedRuntime | None = loaded
        self.voice = voice
        self.runtime = MeteredRuntime(loaded.runtime, clock=clock)
        self.backend_name, self.precision = loaded.backend, loaded.precision
        self._frontend: Any = loaded.frontend

    @property
    def label(self) -> str:
        """Names the configuration in tables."""
        return f"{self.backend_name} {self.precision}"

    @contextmanager
    def engine(
        self, *, max_ahead_s: float = WITHOUT_LIMIT_S, max_queue_s: float = WITHOUT_LIMIT_S
    ) -> Iterator[XttsBackend]:
        """An engine thread over the model, warm; its calls of warming up are forgotten."""
        voices: Any = OneVoice(self.voice)  # all that the engine asks of a library
        backend = XttsBackend(
            self.runtime, self._frontend, voices, max_ahead_s=max_ahead_s, max_queue_s=max_queue_s, max_waiting=1024
        )
        try:
            settle(backend)
            self.runtime.take_calls()
            yield backend
        finally:
            backend.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.loaded = None
        del self.runtime
        gc.collect()  # torch modules hold each other in rings


def settle(backend: XttsBackend) -> None:
    """Return when every call is as fast as it gets. Raises EngineUnavailable when the engine died."""
    backend.wait_until_warm()
    if not backend.is_ready:
        raise EngineUnavailable("the engine died while it warmed up; its log has the trace")


__all__ = [
    "NUM_TOKENS",
    "SENTENCE",
    "WITHOUT_LIMIT_S",
    "Call",
    "MeteredRuntime",
    "OneVoice",
    "Session",
    "settle",
]
