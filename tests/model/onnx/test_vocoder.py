"""The vocoder graphs: padding, long input, and the choice between them."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from xtts_rtc.errors import ConfigError, MissingExtra
from xtts_rtc.model.onnx import vocoder as module
from xtts_rtc.model.onnx.sessions import open_session
from xtts_rtc.model.onnx.vocoder import MAX_FRAMES, Trial, best_of, choose_vocoder, decode_long, open_vocoder
from xtts_rtc.types import FRAME_SAMPLES, Float32

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is an extra")


def noise(length: int, seed: int = 0) -> tuple[Float32, Float32]:
    rng = np.random.default_rng(seed)
    frames = rng.standard_normal((64, length)).astype(np.float32)
    speaker = rng.standard_normal(512).astype(np.float32)
    return frames, speaker / np.float32(np.linalg.norm(speaker))


@pytest.mark.parametrize("length", (1, 7, 30))
def test_padding_changes_no_sample(length: int, tiny_bundles: dict[str, Path]) -> None:
    """Whatever stands behind the true length, zeros or not: the mask holds in every layer."""
    folder = tiny_bundles["fp32"]
    plain = open_vocoder(folder, "onnxruntime-fp32", num_threads=1)
    padded = open_session(folder / "vocoder_padded.onnx", num_threads=1)
    frames, speaker = noise(length)
    truth = plain(frames, speaker)
    assert truth.shape == (length * FRAME_SAMPLES,) and truth.std() > 0.01
    for rest in (np.zeros((64, 9), np.float32), noise(9, seed=1)[0] * 10):
        z = np.concatenate([frames, rest], axis=1)[None]
        feed = {"z": z, "speaker": speaker.reshape(1, -1, 1), "length": np.array([length])}
        pcm = padded.run(None, feed)[0][0, 0, : truth.size]
        np.testing.assert_allclose(pcm, truth, atol=2e-6)


def test_zero_frames_alone_would_not_be_padding(tiny_bundles: dict[str, Path]) -> None:
    """Why there is a mask: the biases speak where the frames are zero."""
    plain = open_vocoder(tiny_bundles["fp32"], "onnxruntime-fp32", num_threads=1)
    frames, speaker = noise(30)
    extended = np.pad(frames, ((0, 0), (0, 10)))
    assert np.abs(plain(extended, speaker)[: 30 * FRAME_SAMPLES] - plain(frames, speaker)).max() > 1e-3


@pytest.mark.parametrize("length", (MAX_FRAMES, MAX_FRAMES + 1, 2 * MAX_FRAMES - 26, 3 * MAX_FRAMES + 5))
def test_long_input_in_pieces_equals_one_pass(length: int, tiny_bundles: dict[str, Path]) -> None:
    plain = open_vocoder(tiny_bundles["fp32"], "onnxruntime-fp32", num_threads=1)
    frames, speaker = noise(length)
    np.testing.assert_allclose(decode_long(plain, frames, speaker), plain(frames, speaker), atol=2e-6)


@needs_openvino
@pytest.mark.slow
def test_openvino_gives_the_same_audio_at_any_length(tiny_bundles: dict[str, Path]) -> None:
    folder = tiny_bundles["fp32"]
    truth = open_vocoder(folder, "onnxruntime-fp32", num_threads=1)
    exact = open_vocoder(folder, "openvino-fp32", num_threads=1)
    rough = open_vocoder(folder, "openvino-bf16", num_threads=1)
    mixed = open_vocoder(folder, "openvino-mixed", num_threads=1)
    for length in (1, 30, 40, 41, 100):
        frames, speaker = noise(length, seed=length)
        expected = truth(frames, speaker)
        np.testing.assert_allclose(exact(frames, speaker), expected, atol=1e-5)
        assert rough(frames, speaker).shape == expected.shape
        losses = [module.signal_to_noise_db(expected, graph(frames, speaker)) for graph in (mixed, rough)]
        assert losses[0] > max(40.0, losses[1])
    first, second = exact(*noise(30, seed=1)), exact(*noise(30, seed=2))
    np.testing.assert_allclose(first, truth(*noise(30, seed=1)), atol=1e-5)  # not overwritten by the next call
    assert np.abs(first - second).max() > 1e-3


@needs_openvino
@pytest.mark.slow
@pytest.mark.parametrize("name", ("openvino-fp32", "openvino-bf16", "openvino-mixed"))
def test_a_window_that_was_stopped_spoils_none_after_it(
    name: str, tiny_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: OpenVINO took layers for unchanged that the stopped window had resized."""
    monkeypatch.setattr(module, "_ASK_MS", 0)
    stopped = open_vocoder(tiny_bundles["fp32"], name, num_threads=1)
    whole = open_vocoder(tiny_bundles["fp32"], name, num_threads=1)
    rng = np.random.default_rng(5)
    num_stopped = 0
    for seed in range(20):
        frames, speaker = noise(int(rng.choice((30, 60))), seed)
        asked = itertools.count()
        patience = int(rng.integers(0, 40))
        num_stopped += stopped(frames, speaker, lambda: next(asked) >= patience).size == 0  # noqa: B023
        frames, speaker = noise(int(rng.choice((30, 60))), seed)
        np.testing.assert_array_equal(stopped(frames, speaker), whole(frames, speaker))
    assert num_stopped > 5


def test_speed_must_be_worth_the_loss() -> None:
    exact, rough, wrong = Trial("a", 0.20, 200.0), Trial("b", 0.10, 45.0), Trial("c", 0.01, 39.9)
    assert best_of([wrong, exact, rough]) == "b"
    assert best_of([exact, Trial("d", 0.19, 45.0)]) == "a"
    assert best_of([exact, Trial("e", 0.15, 120.0), Trial("f", 0.14, 45.0)]) == "e"


def test_choice_goes_by_the_clock(tiny_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    ticks: Iterator[float] = iter(np.arange(0, 100, 0.25).tolist())
    graph, trials = choose_vocoder(tiny_bundles["fp32"], *noise(64), num_threads=1, clock=lambda: next(ticks))
    assert isinstance(graph, module.OnnxVocoder)
    assert [trial.name for trial in trials] == ["onnxruntime-fp32"]
    assert trials[0].rtf == pytest.approx(0.25 / (64 * 256 / 24_000))


def test_what_is_not_installed_is_said_so(tiny_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="openvino"):
        open_vocoder(tiny_bundles["fp32"], "openvino-bf16", num_threads=1)
    with pytest.raises(ConfigError, match="onnxruntime-fp32"):
        open_vocoder(tiny_bundles["fp32"], "fastest", num_threads=1)
