"""Recordings made of noise and tones, for tests that need a file."""

import io

import numpy as np
import soundfile

HZ = 24_000


def talk(seconds, hz=HZ, level=0.2, noise=0.0, seed=0):
    """[S] float32: syllables of 0.24 s with pauses of 0.06 s, over white noise of that RMS."""
    rng = np.random.default_rng(seed)
    at = np.arange(round(seconds * hz)) / hz
    voiced = (at % 0.3) < 0.24
    tone = np.sin(2 * np.pi * 150 * at) + 0.5 * np.sin(2 * np.pi * 450 * at)
    return (level * tone * voiced + noise * rng.standard_normal(len(at))).astype(np.float32)


def file_bytes(pcm, hz=HZ, kind="WAV", subtype=None):
    out = io.BytesIO()
    soundfile.write(out, pcm, hz, format=kind, subtype=subtype)
    return out.getvalue()


def wav(seconds=3.0, seed=0, **how):
    return file_bytes(talk(seconds, seed=seed, **how), how.get("hz", HZ))
