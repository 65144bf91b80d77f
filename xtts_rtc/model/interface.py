"""What a runtime offers the engine: numpy in, numpy out, one step at a time.

A runtime owns weights and the KV memory of its slots. It knows no stream, clock, thread or sampler: the
engine's thread calls it, and nothing here is thread-safe.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xtts_rtc.errors import CheckpointError
from xtts_rtc.model.window import Window
from xtts_rtc.types import MODEL_HZ, OUTPUT_HZ, TOKEN_SAMPLES, Conditioning, Float32


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """Sizes and special ids of a loaded model.

    num_audio_tokens counts start and stop; max_audio_tokens is how many can be decoded in one segment
    (the learned positions allow no more), max_text_tokens how many ids a segment may have before it is
    wrapped in start and stop. token_hz is the rate of the `TOKEN_SAMPLES` that an audio token stands for.
    """

    num_layers: int
    num_heads: int
    dim: int
    num_audio_tokens: int
    start_audio_token: int
    stop_audio_token: int
    max_audio_tokens: int
    max_text_tokens: int
    num_prefix: int = 32
    token_hz: int = MODEL_HZ

    @property
    def tokens_per_second(self) -> float:
        return self.token_hz / TOKEN_SAMPLES


def checked_token_hz(found: object) -> int:
    """`input_sample_rate` of a config.json. Raises CheckpointError for what no window is made for."""
    if isinstance(found, int) and OUTPUT_HZ // 2 <= found <= OUTPUT_HZ:
        return found
    raise CheckpointError(
        f"config.json: model_args.input_sample_rate is {found!r}; here it has to be a whole number from"
        f" {OUTPUT_HZ // 2} to {OUTPUT_HZ} ({MODEL_HZ} is the published one)"
    )


def never() -> bool:
    """What a caller passes who will want the result whatever happens."""
    return False


class Runtime(Protocol):
    """One loaded model with `num_slots` rows of KV memory."""

    @property
    def info(self) -> ModelInfo: ...

    @property
    def num_slots(self) -> int: ...

    def begin(self, slot: int, voice: Conditioning, text_ids: NDArray[np.int64]) -> int:
        """Start a segment in `slot`, whatever was there: prefix, text [T] in start and stop, start token.

        The prefix KV of a voice is computed once per `voice.key` and copied. Returns how many positions
        `extend` has to compute before the first `step`.
        """
        ...

    def extend(self, slot: int, max_positions: int) -> tuple[Float32, Float32] | None:
        """Compute up to so many of the positions that are left; other slots may step in between.

        None while some are left, then the last position's latent [D] and logits [V], float32.
        """
        ...

    def interrupter(self, slot: int) -> Callable[[], None]:
        """What any thread may call to stop `extend` for the segment now in `slot`, half-way and for good.

        `extend` gives None then. A runtime that cannot stop half-way ends what it has begun.
        """
        ...

    def prefill(self, slot: int, voice: Conditioning, text_ids: NDArray[np.int64]) -> tuple[Float32, Float32]:
        """`begin` and `extend` in one go."""
        ...

    def step(self, slots: NDArray[np.int64], tokens: NDArray[np.int64]) -> tuple[Float32, Float32]:
        """Feed tokens [B] to slots [B] (each at its own length); latents [B, D] and logits [B, V], float32."""
        ...

    def release(self, slot: int) -> None:
        """Forget what the slot holds."""
        ...

    def decode(self, window: Window, voice: Conditioning, is_unwanted: Callable[[], bool] = never) -> Float32:
        """Vocoder: the window's new samples [window.num_samples] at 24 kHz, in [-1, 1].

        A runtime that can stop half-way asks `is_unwanted` every few milliseconds; the array is empty then.
        """
        ...

    def warm(self) -> bool:
        """Prepare a little more of what makes later calls fast, while nobody waits; False when nothing is left."""
        ...

    def condition(self, clips: list[Float32]) -> tuple[Float32, Float32]:
        """Clips [S] at `MODEL_HZ`, mono, to gpt_latents [32, D] and speaker_embedding [512], float32.

        As coqui-tts 0.28.0 `get_conditioning_latents` with gpt_cond_len 30 and gpt_cond_chunk_len 4
        (the published config's values).
        """
        ...


__all__ = ["ModelInfo", "Runtime", "checked_token_hz", "never"]
