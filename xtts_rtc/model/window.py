"""Which latents make which samples: the arithmetic of an exact streaming vocoder.

Latents become vocoder frames by linear interpolation (x `1/speed` if not 1, x4, x24000/`token_hz`), frames become
256 samples each. A frame is final once no later latent can change it, and a sample is final once the
vocoder's receptive field (`CONTEXT_FRAMES` on both sides) holds final frames only. Decoding the window
``[start - CONTEXT_FRAMES, stop + CONTEXT_FRAMES)`` then equals decoding the whole utterance.

Ported from coqui-tts 0.28.0 `HifiDecoder.forward`; index arithmetic in float32 as torch's
`interpolate(mode="linear", align_corners=False)` with a given scale factor does it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xtts_rtc.types import FRAME_SAMPLES, MODEL_HZ, OUTPUT_HZ, TOKEN_SAMPLES, Float32

CONTEXT_FRAMES = 13
"""Receptive field of the HiFi-GAN on each side (12.7 frames measured, test_window)."""
REST_CONTEXT_FRAMES = 2
"""That of all behind its first upsampling stage: 1.8 frames (kernels of 11, dilations 1, 3 and 5, and at least 64
values a frame). Three quarters of the work are there."""

_FRAMES = TOKEN_SAMPLES / FRAME_SAMPLES


@dataclass(frozen=True, slots=True)
class Window:
    """One vocoder call: frames [D, F], of which [`start`, `stop`) are new; the others are their context.

    A side without context is an end of the segment.
    """

    frames: Float32
    start: int
    stop: int

    @classmethod
    def whole(cls, frames: Float32) -> Window:
        """All frames [D, F] of a segment."""
        return cls(frames, 0, frames.shape[1])

    @property
    def num_new(self) -> int:
        return self.stop - self.start

    @property
    def num_samples(self) -> int:
        """Samples that a vocoder gives for it, at 24 kHz."""
        return self.num_new * FRAME_SAMPLES

    @property
    def rest(self) -> tuple[int, int]:
        """The frames [first, stop) on which the new samples depend behind the first upsampling stage."""
        first = max(0, self.start - REST_CONTEXT_FRAMES)
        return first, min(self.frames.shape[1], self.stop + REST_CONTEXT_FRAMES)

    def cut(self, pcm: Float32) -> Float32:
        """The new samples of those [N] that a vocoder gives for the frames of `rest`."""
        skipped = (self.start - self.rest[0]) * FRAME_SAMPLES
        return pcm[skipped : skipped + self.num_samples]


class LatentWindow:
    """Collects the latents of one segment and hands out vocoder windows, each sample once.

    Latents that no later window needs are dropped, so memory and cost stay linear in the length.
    """

    def __init__(self, *, speed: float = 1.0, token_hz: int = MODEL_HZ) -> None:
        stretch = () if speed == 1.0 else (1.0 / speed,)
        self._scales = (*stretch, *scales(token_hz))
        self._latents: list[Float32] = []
        self._first = 0  # index of _latents[0]
        self._done = 0  # frames already handed out
        self.num_frames_computed = 0
        """Frames given to the vocoder so far, context included."""

    @property
    def num_latents(self) -> int:
        return self._first + len(self._latents)

    def append(self, latent: Float32) -> None:
        """Add the next latent [D]."""
        self._latents.append(latent)

    def num_ready_samples(self, *, is_end: bool) -> int:
        """Samples that `take` would give now."""
        return max(0, self._ready_frames(is_end) - self._done) * FRAME_SAMPLES

    def take(self, *, is_end: bool, max_frames: int | None = None) -> Window | None:
        """The window of the samples that became final, or None if there are none.

        max_frames: take no more than so many new frames now, the rest with the next calls.
        """
        stop = self._ready_frames(is_end)
        if max_frames is not None:
            stop = min(stop, self._done + max_frames)
        if stop <= self._done:
            return None
        start = self._done
        total = final_frames(self.num_latents, self._scales, is_end=is_end)
        left, right = max(0, start - CONTEXT_FRAMES), min(total, stop + CONTEXT_FRAMES)
        frames = self._frames(left, right)
        self._done = stop
        self._forget(max(0, stop - CONTEXT_FRAMES))
        self.num_frames_computed += right - left
        return Window(frames, start - left, stop - left)

    def _ready_frames(self, is_end: bool) -> int:
        total = final_frames(self.num_latents, self._scales, is_end=is_end)
        return total if is_end else max(0, total - CONTEXT_FRAMES)

    def _frames(self, start: int, stop: int) -> Float32:
        ranges = [(start, stop)]
        length = self.num_latents
        lengths = [length]
        for scale in self._scales:
            length = int(length * scale)
            lengths.append(length)
        for scale, size in zip(reversed(self._scales), reversed(lengths[:-1]), strict=True):
            lower, upper, _ = _source(np.arange(*ranges[-1]), scale, size)
            ranges.append((int(lower[0]), int(upper[-1]) + 1))
        (first, last) = ranges.pop()
        x = np.stack(self._latents[first - self._first : last - self._first], axis=1)
        for scale, size in zip(self._scales, lengths, strict=False):
            want = ranges.pop()
            lower, upper, weight = _source(np.arange(*want), scale, size)
            x = x[:, lower - first] * (1 - weight) + x[:, upper - first] * weight
            first = want[0]
        return np.ascontiguousarray(x, np.float32)

    def _forget(self, frame: int) -> None:
        index = frame
        for scale in reversed(self._scales):
            index = max(0, int(np.floor((index + 0.5) / scale - 0.5)) - 1)
        drop = min(index, self.num_latents - 1) - self._first
        if drop > 0:
            del self._latents[:drop]
            self._first += drop


def scales(token_hz: int) -> tuple[float, ...]:
    """How many times longer each interpolation makes its input; a model of 24 kHz needs one only."""
    return (_FRAMES,) if token_hz == OUTPUT_HZ else (_FRAMES, OUTPUT_HZ / token_hz)


def final_frames(num_latents: int, steps: tuple[float, ...], *, is_end: bool) -> int:
    """How many vocoder frames `num_latents` latents fix, stretched by `steps`; all of them once the utterance has
    ended."""
    length = num_latents
    final = num_latents
    for scale in steps:
        size, length = length, int(length * scale)
        if is_end:
            final = length
            continue
        lower, _, _ = _source(np.arange(max(0, length - int(4 * scale) - 8), length), scale, size)
        # A frame interpolates `lower` and `lower + 1`: both must exist and be final themselves.
        final = length - int(np.count_nonzero(lower + 1 > final - 1))
    return max(0, final)


def _source(index: np.ndarray, scale: float, size: int) -> tuple[np.ndarray, np.ndarray, Float32]:
    if int(size * scale) == size:  # torch copies when the sizes agree: 1 or 2 latents in all
        return index, index, np.zeros(index.size, np.float32)
    # One rounding, as the fused multiply-add that torch's kernel compiles to; two would be off by 4e-5 at 20 s.
    exact = float(np.float32(1.0 / scale)) * (index + 0.5) - 0.5
    position = exact.astype(np.float32)
    position = np.maximum(position, np.float32(0))
    lower = position.astype(np.int64)
    upper = np.minimum(lower + 1, size - 1)
    weight = np.clip(position - lower.astype(np.float32), 0, 1).astype(np.float32)
    return np.minimum(lower, size - 1), upper, weight


__all__ = ["CONTEXT_FRAMES", "REST_CONTEXT_FRAMES", "LatentWindow", "Window", "final_frames", "scales"]
