"""Clips to mel spectrograms in numpy, as torchaudio gives them to the two encoders of XTTS v2.

Equal to torchaudio 2.11.0 within 1e-4 in the logarithm (test_mel). Knows no graph and no voice.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from xtts_rtc.types import MODEL_HZ, Float32

SPEAKER_HZ = 16_000
"""Rate the speaker encoder listens at."""

_NUM_MELS, _N_FFT, _HOP, _WINDOW = 80, 2048, 256, 1024
_SPEAKER_MELS, _SPEAKER_N_FFT, _SPEAKER_HOP, _SPEAKER_WINDOW = 64, 512, 160, 400
_PREEMPHASIS = 0.97
_ROLLOFF, _ZERO_CROSSINGS = 0.99, 6
"""torchaudio.functional.resample's defaults."""

Float64 = NDArray[np.float64]


def conditioning_mel(clip: Float32, mel_stats: Float32) -> Float32:
    """Clip [S] at `MODEL_HZ` to the log-mel [80, S // 256 + 1] over mel_stats [80].

    As wav_to_mel_cloning in TTS/tts/models/xtts.py. Needs more than 1,024 samples.
    """
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    power = _power(clip.astype(np.float64), window, _N_FFT, _HOP)
    mel = _filters(MODEL_HZ, _N_FFT, _NUM_MELS, 8000.0, True) @ power
    return np.asarray(np.log(np.maximum(mel, 1e-5)) / mel_stats[:, None], np.float32)


def speaker_mel(clip: Float32, emphasis: Float32, window: Float32, filters: Float32) -> Float32:
    """Clip [S] at `SPEAKER_HZ` to mel power [64, S // 160 + 1], pre-emphasis before it.

    As BaseEncoder.get_torch_mel_spectrogram_class in TTS/encoder/models/base_encoder.py. emphasis [2], window
    [400] and filters [257, 64] are buffers of a checkpoint and rounded where it is stored as bf16 (0.97 becomes
    0.969, which moves the embedding by 1e-4): its own are used.
    """
    before = np.concatenate([clip[1:2], clip[:-1]])  # reflect padding: sample -1 is sample 1
    x = (emphasis[0] * before + emphasis[1] * clip).astype(np.float64)
    power = _power(x, window.astype(np.float64), _SPEAKER_N_FFT, _SPEAKER_HOP)
    return np.asarray(filters.T.astype(np.float64) @ power, np.float32)


def speaker_emphasis() -> Float32:
    """The speaker encoder's pre-emphasis [2], for a checkpoint that does not hold it."""
    return np.array([-_PREEMPHASIS, 1], np.float32)


def speaker_window() -> Float32:
    """The speaker encoder's window [400], for a checkpoint that does not hold it."""
    turn = 2 * np.pi * np.arange(_SPEAKER_WINDOW) / _SPEAKER_WINDOW
    return np.asarray(0.54 - 0.46 * np.cos(turn), np.float32)


def speaker_filters() -> Float32:
    """The speaker encoder's mel filters [257, 64], for a checkpoint that does not hold them."""
    bank = _filters(SPEAKER_HZ, _SPEAKER_N_FFT, _SPEAKER_MELS, SPEAKER_HZ / 2, False)
    return np.ascontiguousarray(bank.T, np.float32)


def resample(clip: Float32, source_hz: int, target_hz: int) -> Float32:
    """Clip [S] at another rate, by the windowed sinc of torchaudio.functional.resample (its defaults).

    soxr is the better resampler; this one is here because the speaker encoder was trained behind it.
    """
    if source_hz == target_hz:
        return clip
    kernels, width, step = _resample_kernels(source_hz, target_hz)
    num_samples = -(-clip.size * kernels.shape[0] // step)
    padded = np.pad(clip, (width, width + step)).astype(np.float64)
    blocks = np.lib.stride_tricks.sliding_window_view(padded, kernels.shape[1])[::step]  # [blocks, taps]
    return np.asarray((blocks @ kernels.T).reshape(-1)[:num_samples], np.float32)


@lru_cache(maxsize=4)
def _resample_kernels(source_hz: int, target_hz: int) -> tuple[Float64, int, int]:
    """Kernels [target, taps], their half width, and the input step, rates reduced to lowest terms."""
    divisor = int(np.gcd(source_hz, target_hz))
    source, target = source_hz // divisor, target_hz // divisor
    base = min(source, target) * _ROLLOFF
    width = int(np.ceil(_ZERO_CROSSINGS * source / base))
    taps = np.arange(-width, width + source) / source
    # torchaudio has these phases in float32, and `base` makes 1e-5 of their rounding.
    phases = np.arange(0, -target, -1, dtype=np.float32) / np.float32(target)
    t = (phases[:, None].astype(np.float64) + taps[None]) * base
    t = np.clip(t, -_ZERO_CROSSINGS, _ZERO_CROSSINGS)
    window = np.cos(t * np.pi / _ZERO_CROSSINGS / 2) ** 2
    return np.sinc(t) * window * base / source, width, source


def _power(x: Float64, window: Float64, n_fft: int, hop: int) -> Float64:
    """Power spectrogram [n_fft / 2 + 1, F], frames centred, edges reflected, the window centred in n_fft."""
    side = (n_fft - window.size) // 2
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(x, n_fft // 2, mode="reflect"), n_fft)[::hop]
    # Only the window's own samples are read: the rest of a frame is multiplied by zero.
    windowed = np.zeros((frames.shape[0], n_fft))
    windowed[:, side : side + window.size] = frames[:, side : side + window.size] * window
    spectrum = np.fft.rfft(windowed, axis=1)
    return np.ascontiguousarray((spectrum.real**2 + spectrum.imag**2).T)


@lru_cache(maxsize=4)
def _filters(rate_hz: int, n_fft: int, num_mels: int, top_hz: float, is_slaney: bool) -> Float64:
    """Triangles [num_mels, n_fft / 2 + 1] on the HTK mel scale; slaney: each of equal area."""
    bins = np.linspace(0, rate_hz // 2, n_fft // 2 + 1)
    top_mel = 2595 * np.log10(1 + top_hz / 700)
    edges = 700 * (10 ** (np.linspace(0, top_mel, num_mels + 2) / 2595) - 1)
    slopes = edges[:, None] - bins[None]
    rise = -slopes[:-2] / np.diff(edges)[:-1, None]
    fall = slopes[2:] / np.diff(edges)[1:, None]
    bank = np.maximum(0.0, np.minimum(rise, fall))
    return bank * (2 / (edges[2:] - edges[:-2]))[:, None] if is_slaney else bank


__all__ = [
    "SPEAKER_HZ",
    "conditioning_mel",
    "resample",
    "speaker_emphasis",
    "speaker_filters",
    "speaker_mel",
    "speaker_window",
]
