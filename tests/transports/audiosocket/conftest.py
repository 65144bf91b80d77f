"""A voice on the phone: the packaged clip as a phone line carries it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from xtts_rtc.types import Float32

_CLIP = Path(__file__).parents[3] / "speakers" / "default.wav"


@pytest.fixture(scope="session")
def caller_voice() -> Float32:
    """Three seconds of speech at 8 kHz, -20 dBFS while it speaks, loud from its first sample on."""
    clip, hz = soundfile.read(_CLIP, dtype="float32")
    speech = soxr.resample(clip, hz, 8_000)
    loud = np.flatnonzero(np.abs(speech) > 0.1 * np.abs(speech).max())
    voice = speech[loud[0] : loud[0] + 24_000]
    level = np.sqrt(np.mean(voice[np.abs(voice) > 0.02] ** 2))
    pcm: Float32 = (voice * (0.1 / level)).astype(np.float32)
    return pcm
