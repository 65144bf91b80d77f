"""48 kHz to 16 kHz for ears that are machines: recognisers and voice activity detectors.

A short filter instead of `Resampler`: what a microphone sends is heard 0.7 ms later, not 40 ms, and it is
cut off above 7.2 kHz, where recognisers hear nothing.
"""

from __future__ import annotations

import numpy as np

from xtts_rtc.audio.frames import Int16, to_float32, to_int16

FACTOR = 3
_TAPS = 63
_CUT = 0.15
"""Half-amplitude frequency as a share of the input rate: 7.2 kHz of 48."""


class Decimator:
    """One stream: int16 in, a third as many int16 out. The answer does not depend on how the input was cut."""

    def __init__(self) -> None:
        steps = np.arange(_TAPS) - _TAPS // 2
        taps = np.sinc(2 * _CUT * steps) * np.hamming(_TAPS)
        self._taps = (taps / taps.sum()).astype(np.float32)
        self._held = np.zeros(_TAPS - 1, np.float32)

    def push(self, pcm: Int16) -> Int16:
        """pcm [S] at three times the rate, any S, to what is complete now."""
        held = np.concatenate([self._held, to_float32(pcm)])
        ready = (len(held) - _TAPS) // FACTOR + 1
        if ready <= 0:
            self._held = held
            return np.zeros(0, np.int16)
        windows = np.lib.stride_tricks.sliding_window_view(held, _TAPS)[: ready * FACTOR : FACTOR]
        self._held = held[ready * FACTOR :]
        return to_int16(np.asarray(windows @ self._taps, np.float32))


__all__ = ["FACTOR", "Decimator"]
