"""Ends without clicks, and tails that are no longer than a breath.

Everything here works on a stream: the joined output does not depend on how the input was cut into
chunks. It knows samples and rates, not segments, frames or clocks.
"""

from __future__ import annotations

import numpy as np

from xtts_rtc.types import Float32

FADE_MS = 5.0
"""Long enough that no click is heard, short enough that no consonant is lost."""
MAX_PAUSE_S = 0.18
"""Speech of this model that ends by itself leaves 0.12 to 0.18 s of quiet."""
QUIET = 0.005
"""Peak of what counts as silence, -46 dBFS. Clean synthetic speech falls below it within 20 ms of its
last sound, and quieter thresholds move that point by less than 40 ms (measured at 0.001 to 0.02)."""
MAX_HOLD_S = 1.0


def _ramp(num_samples: int) -> Float32:
    """[S] half a cosine from exactly 0 towards 1; reversed it ends at exactly 0."""
    steps = np.arange(num_samples) / max(num_samples, 1)
    return (0.5 - 0.5 * np.cos(np.pi * steps)).astype(np.float32)


class EdgeFade:
    """Fades in the first `fade_ms` of a run of audio and fades out its last.

    So that the end can be faded when it comes, up to `fade_ms` of audio is held back. The samples in
    between pass bit-exactly and the length does not change. A run shorter than two fades gets both, one
    over the other.
    """

    def __init__(self, hz: int, fade_ms: float = FADE_MS) -> None:
        self._ramp = _ramp(round(hz * fade_ms / 1000))
        self._held = np.zeros(0, np.float32)
        self._done = 0

    def push(self, pcm: Float32, is_last: bool) -> Float32:
        """pcm [S] to what may be played now; with `is_last` all of it, and the next push begins a new run."""
        held = np.concatenate([self._held, self._fade_in(pcm)])
        if is_last:
            self._held = np.zeros(0, np.float32)
            self._done = 0
            return self._fade_out(held)
        keep = min(len(self._ramp), len(held))
        cut = len(held) - keep
        self._held = held[cut:]
        return held[:cut]

    def _fade_in(self, pcm: Float32) -> Float32:
        gain = self._ramp[self._done : self._done + len(pcm)]
        self._done = min(self._done + len(pcm), len(self._ramp))
        if not len(gain):
            return pcm
        return np.concatenate([pcm[: len(gain)] * gain, pcm[len(gain) :]])

    def _fade_out(self, pcm: Float32) -> Float32:
        size = min(len(self._ramp), len(pcm))
        cut = len(pcm) - size
        return np.concatenate([pcm[:cut], pcm[cut:] * self._ramp[:size][::-1]])


class TailTrim:
    """Cuts the silence at a segment's end down to a natural pause.

    Silence (every sample under `quiet`) passes at once until it is `max_pause_s` long; what goes on after
    that is held. If speech resumes, the held silence passes, bit-exactly; if the segment ends, it is
    dropped. A segment's leading silence, and so a segment that is all silence, is left alone. At most
    `max_hold_s` is held: of a longer silence the oldest part passes.
    """

    def __init__(
        self, hz: int, max_pause_s: float = MAX_PAUSE_S, quiet: float = QUIET, *, max_hold_s: float = MAX_HOLD_S
    ) -> None:
        self._quiet = quiet
        self._max_pause = round(hz * max_pause_s)
        self._max_hold = round(hz * max_hold_s)
        self._start()

    def _start(self) -> None:
        self._held = np.zeros(0, np.float32)
        self._has_spoken = False
        self._pause = 0  # samples of silence since the last sound that were passed on

    @property
    def held_samples(self) -> int:
        """How much is held back now, at most `max_hold_s`."""
        return len(self._held)

    def push(self, pcm: Float32, is_last: bool) -> Float32:
        """pcm [S] to what may be played now; with `is_last` the segment is over and the next push begins another."""
        loud = np.flatnonzero(np.abs(pcm) >= self._quiet)
        passed: list[Float32] = []
        if len(loud):
            end = int(loud[-1]) + 1
            passed += [self._held, pcm[:end]]
            self._held = np.zeros(0, np.float32)
            self._has_spoken = True
            self._pause = 0
            pcm = pcm[end:]
        passed.append(self._pass_quiet(pcm))
        if is_last:
            self._start()
        return np.concatenate(passed)

    def _pass_quiet(self, pcm: Float32) -> Float32:
        if not self._has_spoken:
            return pcm
        free = min(max(self._max_pause - self._pause, 0), len(pcm))
        self._pause += free
        held = np.concatenate([self._held, pcm[free:]])
        over = max(len(held) - self._max_hold, 0)
        self._held = held[over:]
        return np.concatenate([pcm[:free], held[:over]])


def fade_out(pcm: Float32, hz: int, fade_ms: float = FADE_MS) -> Float32:
    """The audio that was about to be played, for a cut here: gone after `fade_ms`, then silence.

    pcm [S] to [S], so a frame stays a frame. A shorter one is faded over its own length.
    """
    size = min(round(hz * fade_ms / 1000), len(pcm))
    faded = np.zeros(len(pcm), np.float32)
    faded[:size] = pcm[:size] * _fall(size)
    return faded


def _fall(num_samples: int) -> Float32:
    """[S] from exactly 1, where the audio before the cut left off, towards 0."""
    return 1 - _ramp(num_samples)


__all__ = ["FADE_MS", "MAX_PAUSE_S", "QUIET", "EdgeFade", "TailTrim", "fade_out"]
