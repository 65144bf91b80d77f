"""Streaming windows give the samples of the whole, whatever the cuts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtts_rtc.model.window import CONTEXT_FRAMES, LatentWindow, final_frames, scales
from xtts_rtc.types import FRAME_SAMPLES, MODEL_HZ, OUTPUT_HZ, Float32

DIM = 3


def vocoder(frames: Float32) -> Float32:
    """A stand-in with exactly the allowed receptive field: a zero-padded sum over 13 frames on both sides."""
    kernel = np.hanning(2 * CONTEXT_FRAMES + 1)
    return np.repeat(np.convolve(frames.sum(axis=0), kernel)[CONTEXT_FRAMES:-CONTEXT_FRAMES], FRAME_SAMPLES).astype(
        np.float32
    )


def run(latents: Float32, cuts: list[int], speed: float = 1.0, token_hz: int = MODEL_HZ) -> tuple[Float32, int]:
    window, parts = LatentWindow(speed=speed, token_hz=token_hz), []
    for index, latent in enumerate(latents):
        window.append(latent)
        is_end = index == len(latents) - 1
        if (is_end or index in cuts) and (piece := window.take(is_end=is_end)) is not None:
            parts.append(piece.cut(vocoder(piece.frames)[piece.rest[0] * FRAME_SAMPLES :]))
    return np.concatenate(parts), window.num_frames_computed


@given(
    num=st.integers(1, 90),
    cuts=st.lists(st.integers(0, 89), max_size=12),
    speed=st.sampled_from([1.0, 1.0, 0.5, 0.8, 1.3, 2.0]),
    token_hz=st.sampled_from([MODEL_HZ, MODEL_HZ, OUTPUT_HZ, 16_000]),
)
def test_any_cut_equals_the_full_decode(num: int, cuts: list[int], speed: float, token_hz: int) -> None:
    latents = np.random.default_rng(num).normal(size=(num, DIM)).astype(np.float32)
    if int(num / speed) == 0:
        return
    whole, _ = run(latents, [], speed, token_hz)
    pieces, _ = run(latents, cuts, speed, token_hz)
    assert pieces.shape == whole.shape
    np.testing.assert_allclose(pieces, whole, atol=1e-4)


def test_the_first_samples_need_four_latents_and_about_170_ms_are_held_back() -> None:
    window = LatentWindow()
    ready = []
    for _ in range(20):
        window.append(np.zeros(DIM, np.float32))
        ready.append(window.num_ready_samples(is_end=False))
    assert ready[:3] == [0, 0, 0] and ready[3] > 0
    held_back = 20 * 1024 * 24000 / 22050 - ready[19]
    assert 3_500 < held_back < 4_500


def test_frames_of_a_finished_utterance_are_what_torch_makes_of_them() -> None:
    assert [final_frames(n, scales(MODEL_HZ), is_end=True) for n in (1, 8, 20, 100)] == [4, 34, 87, 435]
    assert [final_frames(n, scales(OUTPUT_HZ), is_end=True) for n in (1, 8, 20, 100)] == [4, 32, 80, 400]


@pytest.mark.slow
@pytest.mark.parametrize("token_hz", [MODEL_HZ, OUTPUT_HZ, 16_000])
@pytest.mark.parametrize("num", [1, 2, 7, 83, 602])
def test_interpolation_equals_torch(num: int, token_hz: int) -> None:
    torch = pytest.importorskip("torch")
    latents = np.random.default_rng(num).normal(size=(num, DIM)).astype(np.float32)
    window = LatentWindow(token_hz=token_hz)
    for latent in latents:
        window.append(latent)
    piece = window.take(is_end=True)
    z = torch.from_numpy(latents.T[None].copy())
    for scale in (4.0, 24000 / token_hz)[: 1 if token_hz == 24000 else 2]:
        z = torch.nn.functional.interpolate(z, scale_factor=scale, mode="linear")
    assert piece is not None and piece.frames.shape == z[0].shape
    np.testing.assert_allclose(piece.frames, z[0].numpy(), atol=2e-6)


def test_cost_is_linear_and_memory_is_bounded() -> None:
    latents = np.zeros((440, DIM), np.float32)
    _, short = run(latents[:110], list(range(0, 110, 20)))
    _, long = run(latents, list(range(0, 440, 20)))
    assert long <= 4.1 * short
    window = LatentWindow()
    for index, latent in enumerate(latents):
        window.append(latent)
        if index % 20 == 0:
            window.take(is_end=False)
    assert len(window._latents) < 40
