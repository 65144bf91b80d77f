"""The numpy front ends against torchaudio's."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest

from xtts_rtc.model.onnx.mel import (
    SPEAKER_HZ,
    conditioning_mel,
    resample,
    speaker_emphasis,
    speaker_filters,
    speaker_mel,
    speaker_window,
)
from xtts_rtc.types import Float32


def speech_like(length: int) -> Float32:
    """Noise under a slow envelope, silence in between: every level from loud to nothing."""
    rng = np.random.default_rng(2)
    envelope = np.maximum(0, np.sin(np.arange(length) / 3000)) ** 2
    return np.asarray(rng.standard_normal(length) * envelope * 0.3, np.float32)


def test_a_tone_lands_in_its_mel_band() -> None:
    """Without torchaudio: 1 kHz is band 28 of 80 up to 8 kHz on the HTK scale."""
    tone = np.sin(2 * np.pi * 1000 * np.arange(22_050) / 22_050).astype(np.float32)
    mel = conditioning_mel(tone, np.ones(80, np.float32))
    assert mel.shape == (80, 22_050 // 256 + 1)
    centre = 2595 * np.log10(1 + 1000 / 700) / (2595 * np.log10(1 + 8000 / 700)) * 81 - 1
    assert abs(int(mel[:, 40].argmax()) - centre) <= 1


def test_silence_is_the_floor_of_both_mels() -> None:
    assert conditioning_mel(np.zeros(5000, np.float32), np.full(80, 2, np.float32)) == pytest.approx(np.log(1e-5) / 2)
    assert not speaker_mel(np.zeros(5000, np.float32), speaker_emphasis(), speaker_window(), speaker_filters()).any()


def test_resampling_keeps_a_tone_and_its_length() -> None:
    t = np.arange(22_050) / 22_050
    slow = resample(np.sin(2 * np.pi * 440 * t).astype(np.float32), 22_050, SPEAKER_HZ)
    truth = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert slow.shape == (16_000,)
    np.testing.assert_allclose(slow[200:-200], truth[200:-200], atol=2e-3)


@pytest.mark.slow
def test_conditioning_mel_equals_torchaudios() -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from TTS.tts.models.xtts import wav_to_mel_cloning

    stats = np.random.default_rng(0).uniform(0.5, 2, 80).astype(np.float32)
    for length in (7277, 22_050 * 4, 30_001):
        clip = speech_like(length)
        truth = wav_to_mel_cloning(
            torch.from_numpy(clip)[None], mel_norms=torch.from_numpy(stats), n_fft=2048, hop_length=256,
            win_length=1024, power=2, normalized=False, sample_rate=22_050, f_min=0, f_max=8000, n_mels=80,
        )[0]  # fmt: skip
        np.testing.assert_allclose(conditioning_mel(clip, stats), truth.numpy(), atol=1e-4)


@pytest.mark.slow
def test_speaker_mel_and_its_constants_equal_the_encoders() -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from TTS.encoder.models.base_encoder import BaseEncoder

    config = {"fft_size": 512, "win_length": 400, "hop_length": 160, "sample_rate": 16000, "preemphasis": 0.97,
              "num_mels": 64}  # fmt: skip
    front = BaseEncoder().get_torch_mel_spectrogram_class(config)
    emphasis = front[0].filter.numpy().reshape(2)
    window, filters = front[1].spectrogram.window.numpy(), front[1].mel_scale.fb.numpy()
    np.testing.assert_array_equal(speaker_emphasis(), emphasis)
    np.testing.assert_allclose(speaker_window(), window, atol=1e-6)
    np.testing.assert_allclose(speaker_filters(), filters, atol=1e-3)
    exact = copy.deepcopy(front).double()
    for length in (5333, 48_000):
        clip = speech_like(length)
        found = np.log(speaker_mel(clip, emphasis, window, filters) + 1e-6)
        # In double to 3e-5; in float32 torch's own rounding reaches 1.2e-4 in nearly silent frames.
        for encoder, dtype, tolerance in ((exact, torch.float64, 3e-5), (front, torch.float32, 2e-4)):
            truth = np.log(encoder(torch.from_numpy(clip).to(dtype)[None])[0].numpy() + 1e-6)
            np.testing.assert_allclose(found, truth, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("rates", ((22_050, 16_000), (44_100, 22_050), (22_050, 24_000), (16_000, 16_000)))
def test_resampling_equals_torchaudios(rates: tuple[int, int]) -> None:
    import torch
    import torchaudio

    for length in (7001, 44_100):
        clip = speech_like(length)
        truth = torchaudio.functional.resample(torch.from_numpy(clip), *rates).numpy()
        np.testing.assert_allclose(resample(clip, *rates), truth, atol=1e-5)
