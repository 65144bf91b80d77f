"""How much to decode before the next vocoder call, and when a segment must be over.

All of it is arithmetic on measured times: a chunk is as large as it can be while the audio already out still
covers the making of it, so playback has no gap, and the first one is as small as that rule allows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from xtts_rtc.types import FRAME_SAMPLES, OUTPUT_HZ, TOKENS_PER_SECOND, Float32

LADDER = (3, 4, 5, 6, 7, 8, 10, 12, 15, 17, 23, 30)
"""Chunk sizes in tokens, those of whose windows a padded vocoder has the lengths (model/onnx/vocoder.py) among
them; 30 tokens (1.4 s) cost 19 % in vocoder context, more gains little."""

_CONTEXT_FRAMES = 9.0  # what a window's context costs: all 26 frames in the first quarter of the work, 4 in the rest
_HELD_BACK_S = 4_000 / OUTPUT_HZ  # lookahead of interpolation and vocoder, test_window
_SAFETY = 0.7  # share of the audio in hand that making the next chunk may take
_SUSTAINABLE = 0.95  # real-time factor below which a chunk size can be kept up
_SMOOTHING = 0.2


@dataclass(slots=True)
class Costs:
    """Measured times in seconds, smoothed. Starts from what warm-up measured; 0 means not measured yet."""

    tokens_per_second: float = TOKENS_PER_SECOND
    position_s: float = 0.0
    frame_s: float = 0.0
    step_s: dict[int, float] = field(default_factory=dict)

    @property
    def frames_per_token(self) -> float:
        return OUTPUT_HZ / self.tokens_per_second / FRAME_SAMPLES

    def saw_positions(self, positions: int, seconds: float) -> None:
        self.position_s = _smooth(self.position_s, max(1e-6, seconds - self.step(1)) / positions)

    def piece(self, positions: int) -> float:
        """Time of one piece of a prefill: it reads all weights once, as a step does, and then counts positions."""
        return self.step(1) + positions * self.position_s

    def saw_window(self, new_frames: int, seconds: float) -> None:
        self.frame_s = _smooth(self.frame_s, seconds / (new_frames + _CONTEXT_FRAMES))

    def saw_step(self, batch: int, seconds: float) -> None:
        self.step_s[batch] = _smooth(self.step_s.get(batch, 0.0), seconds)

    def step(self, batch: int) -> float:
        """Expected time of one step of `batch` rows, between the nearest batches that were measured."""
        if not self.step_s:
            return 0.0
        sizes = sorted(self.step_s)
        return float(np.interp(batch, sizes, [self.step_s[size] for size in sizes]))

    def chunk(self, tokens: int, num_streams: int) -> float:
        """Time until a stream's next chunk of `tokens` is out while `num_streams` take turns."""
        return tokens * self.step(num_streams) + num_streams * self.window(tokens)

    def window(self, tokens: int) -> float:
        """Time of one vocoder call for `tokens` new latents."""
        return (tokens * self.frames_per_token + _CONTEXT_FRAMES) * self.frame_s

    def realtime_factor(self, tokens: int, num_streams: int) -> float:
        """Making time over playing time for chunks of `tokens`; over 1 there must be gaps."""
        return self.chunk(tokens, num_streams) / (tokens / self.tokens_per_second)


def first_chunk_tokens(costs: Costs, num_streams: int) -> int:
    """Fewest tokens whose audio lasts until a second chunk that can be kept up is there."""
    follow = min(costs.chunk(n, num_streams) for n in _sustainable(costs, num_streams))
    for tokens in LADDER:
        if tokens / costs.tokens_per_second - _HELD_BACK_S >= follow / _SAFETY * 0.85:
            return tokens
    return LADDER[-1] if costs.realtime_factor(LADDER[-1], num_streams) < 1 else LADDER[4]


def next_chunk_tokens(costs: Costs, num_streams: int, ahead_s: float) -> int:
    """Most tokens that are ready before `ahead_s` of audio have played; the quickest size if none is."""
    sizes = _sustainable(costs, num_streams)
    fitting = [n for n in sizes if costs.chunk(n, num_streams) <= _SAFETY * ahead_s]
    return max(fitting) if fitting else min(sizes)


def _sustainable(costs: Costs, num_streams: int) -> list[int]:
    sizes = [n for n in LADDER if costs.realtime_factor(n, num_streams) <= _SUSTAINABLE]
    return sizes or list(LADDER[-1:])


def _smooth(old: float, new: float) -> float:
    return new if old == 0.0 else old + _SMOOTHING * (new - old)


_SLOW_S_PER_CHAR = {"zh": 0.75, "ja": 0.6, "ko": 0.5, "hi": 0.3, "ar": 0.3}


def length_cap_tokens(
    spoken: str, language: str, *, speed: float, limit: int, tokens_per_second: float = TOKENS_PER_SECOND
) -> int:
    """Tokens after which a segment is cut off: twice the slowest speech of that text, and 2 s.

    Latin scripts are spoken at 12-18 characters a second; 0.2 s a character is far below that.
    """
    per_char = _SLOW_S_PER_CHAR.get(language.split("-")[0], 0.2)
    digits = sum(c.isdigit() for c in spoken)  # read out as words
    seconds = 2.0 + per_char * (len(spoken) + 8 * digits)
    return min(limit, math.ceil(seconds * tokens_per_second * max(1.0, speed)))


class RunOnGuard:
    """Hears when a segment has fallen silent for good although no stop token came.

    Natural pauses inside a sentence stay under 0.7 s; after `quiet_s` of quiet (40 dB under the loudest
    50 ms so far), once the text could have been spoken, the segment is over.
    """

    def __init__(self, spoken: str, *, quiet_s: float = 1.2) -> None:
        self._least_s = 0.03 * len(spoken)
        self._quiet_s = quiet_s
        self._peak = 0.0
        self._heard_s = 0.0
        self._silent_s = 0.0

    def hear(self, pcm: Float32) -> bool:
        """Listen to the next samples [S]; True when the segment should end here."""
        block = OUTPUT_HZ // 20
        for start in range(0, pcm.size, block):
            part = pcm[start : start + block]
            level = float(np.sqrt(np.mean(part * part)))
            self._peak = max(self._peak, level)
            self._heard_s += part.size / OUTPUT_HZ
            self._silent_s = self._silent_s + part.size / OUTPUT_HZ if level < 0.01 * self._peak else 0.0
        return self._silent_s >= self._quiet_s and self._heard_s - self._silent_s >= self._least_s


__all__ = [
    "LADDER",
    "Costs",
    "RunOnGuard",
    "first_chunk_tokens",
    "length_cap_tokens",
    "next_chunk_tokens",
]
