"""One stateful resampler per utterance.

In come float32 chunks of any length at one rate, out go float32 chunks at another. The filter's memory
goes from chunk to chunk, so the answer does not depend on how the audio was cut: resampling each chunk
for itself would leave a click at every seam. It knows nothing of frames, encodings or who listens.
"""

from __future__ import annotations

import numpy as np
import soxr

from xtts_rtc.errors import InvalidParameter
from xtts_rtc.types import Float32

RATES_HZ = (48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 8_000)
"""The rates that can be resampled from and to."""

_QUALITY = "HQ"


class Resampler:
    """Mono float32 from `in_hz` to `out_hz`, both one of `RATES_HZ`.

    All chunks joined, `flush` included, are round(S * out_hz / in_hz) samples, give or take one, and equal
    to resampling the whole in one go (difference 0.0 with soxr 1.1.0; the tests allow 1e-6). Equal rates
    pass the samples through untouched.

    The filter works in blocks, so the output lags the input by at most this much audio: from 24 kHz 40 ms,
    but to 8 kHz 75 ms and to 12 kHz 80 ms (soxr HQ, measured with 10 ms chunks). The lag
    is never silence put in front: it only shortens what a chunk gives back, and `flush` returns the rest.

    Raises InvalidParameter for another rate.
    """

    def __init__(self, in_hz: int, out_hz: int) -> None:
        for hz in (in_hz, out_hz):
            if hz not in RATES_HZ:
                raise InvalidParameter(f"sample rate is {hz!r}; it must be one of {', '.join(map(str, RATES_HZ))} Hz")
        self.in_hz = in_hz
        self.out_hz = out_hz
        self._is_over = False
        self._stream = None
        if in_hz != out_hz:
            self._stream = soxr.ResampleStream(in_hz, out_hz, 1, dtype="float32", quality=_QUALITY)

    def push(self, pcm: Float32) -> Float32:
        """pcm [S] at `in_hz`, any S; what is ready at `out_hz`, often nothing at first."""
        assert not self._is_over, "push after flush: a resampler serves one utterance"
        if self._stream is None:
            return pcm
        return self._feed(pcm, is_last=False)

    def flush(self) -> Float32:
        """The tail that the filter still held; nothing may be pushed after it. Empty when called again."""
        if self._is_over or self._stream is None:
            self._is_over = True
            return np.zeros(0, np.float32)
        self._is_over = True
        return self._feed(np.zeros(0, np.float32), is_last=True)

    def _feed(self, pcm: Float32, *, is_last: bool) -> Float32:
        assert self._stream is not None
        ready: Float32 = self._stream.resample_chunk(np.ascontiguousarray(pcm, np.float32), last=is_last)
        return ready


__all__ = ["RATES_HZ", "Resampler"]
