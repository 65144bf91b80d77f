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
from xtts_rtc.model.onnx.vocoder import HEAD_FRAMES, Trial, best_of, choose_vocoder, open_vocoder
from xtts_rtc.model.window import CONTEXT_FRAMES, Window
from xtts_rtc.types import FRAME_SAMPLES, Float32

MAX_FRAMES = HEAD_FRAMES[-1]
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is an extra")


def noise(length: int, seed: int = 0) -> tuple[Float32, Float32]:
    rng = np.random.default_rng(seed)
    frames = rng.standard_normal((64, length)).astype(np.float32)
    speaker = rng.standard_normal(512).astype(np.float32)
    return frames, speaker / np.float32(np.linalg.norm(speaker))


def plain(folder: Path, frames: Float32, speaker: Float32) -> Float32:
    """The graph that is neither cut nor padded."""
    session = open_session(folder / "vocoder.onnx", num_threads=1)
    return np.asarray(session.run(None, {"z": frames[None], "speaker": speaker.reshape(1, -1, 1)})[0][0, 0])


@pytest.mark.parametrize("length", (1, 7, 30))
def test_padding_changes_no_sample(length: int, tiny_bundles: dict[str, Path]) -> None:
    """Whatever stands behind the true length, zeros or not: the mask holds in every layer."""
    folder = tiny_bundles["fp32"]
    frames, speaker = noise(length)
    truth = plain(folder, frames, speaker)
    assert truth.shape == (length * FRAME_SAMPLES,) and truth.std() > 0.01
    for rest in (np.zeros((64, 9), np.float32), noise(9, seed=1)[0] * 10):
        x = np.concatenate([frames, rest], axis=1)[None]
        for part, name in (("head", "z"), ("trunk", "x"), ("post", "x")):
            session = open_session(folder / f"vocoder_{part}.onnx", num_threads=1)
            feed = {name: x, "speaker": speaker.reshape(1, -1, 1), "length": np.array([length])}
            given = {item.name for item in session.get_inputs()}
            x = session.run(None, {name: value for name, value in feed.items() if name in given})[0]
        np.testing.assert_allclose(x[0, 0, : truth.size], truth, atol=2e-6)


def test_zero_frames_alone_would_not_be_padding(tiny_bundles: dict[str, Path]) -> None:
    """Why there is a mask: the biases speak where the frames are zero."""
    frames, speaker = noise(30)
    extended = np.pad(frames, ((0, 0), (0, 10)))
    folder = tiny_bundles["fp32"]
    difference = plain(folder, extended, speaker)[: 30 * FRAME_SAMPLES] - plain(folder, frames, speaker)
    assert np.abs(difference).max() > 1e-3


@pytest.mark.parametrize("length", (MAX_FRAMES, MAX_FRAMES + 1, 2 * MAX_FRAMES - 26, 3 * MAX_FRAMES + 5))
def test_long_input_in_pieces_equals_one_pass(length: int, tiny_bundles: dict[str, Path]) -> None:
    folder = tiny_bundles["fp32"]
    vocoder = open_vocoder(folder, "onnxruntime-fp32", num_threads=1)
    frames, speaker = noise(length)
    np.testing.assert_allclose(vocoder(Window.whole(frames), speaker), plain(folder, frames, speaker), atol=2e-6)


@pytest.mark.parametrize("bounds", ((0, 1), (0, 40), (13, 14), (13, 47), (30, 60), (2, 60), (1, 59)))
def test_a_window_gives_its_new_samples_as_the_whole_does(
    bounds: tuple[int, int], tiny_bundles: dict[str, Path]
) -> None:
    """Computing only what is needed behind the first stage changes nothing: ends, 13 frames of context, both."""
    folder = tiny_bundles["fp32"]
    frames, speaker = noise(60)
    (start, stop), truth = bounds, plain(folder, frames, speaker)
    left, right = max(0, start - CONTEXT_FRAMES), min(60, stop + CONTEXT_FRAMES)
    window = Window(frames[:, left:right], start - left, stop - left)
    pcm = open_vocoder(folder, "onnxruntime-fp32", num_threads=1)(window, speaker)
    np.testing.assert_allclose(pcm, truth[start * FRAME_SAMPLES : stop * FRAME_SAMPLES], atol=2e-6)


def test_what_nobody_wants_is_not_decoded(tiny_bundles: dict[str, Path]) -> None:
    vocoder = open_vocoder(tiny_bundles["fp32"], "onnxruntime-fp32", num_threads=1)
    frames, speaker = noise(40)
    asked: list[int] = []
    assert vocoder(Window.whole(frames), speaker, lambda: len(asked) > 0 or bool(asked.append(1))).size == 0


@needs_openvino
@pytest.mark.slow
def test_openvino_gives_the_same_audio_at_any_length(tiny_bundles: dict[str, Path]) -> None:
    folder = tiny_bundles["fp32"]
    truth = open_vocoder(folder, "onnxruntime-fp32", num_threads=1)
    exact = open_vocoder(folder, "openvino-fp32", num_threads=1)
    roughest_first = [open_vocoder(folder, f"openvino-{name}", num_threads=1) for name in ("bf16", "tail32", "mixed")]
    for length in (1, 30, 40, 41, 100):
        frames, speaker = noise(length, seed=length)
        window = Window.whole(frames)
        expected = truth(window, speaker)
        np.testing.assert_allclose(exact(window, speaker), expected, atol=1e-5)
        found = [module.signal_to_noise_db(expected, graph(window, speaker)) for graph in roughest_first]
        assert found == sorted(found) and found[0] > 30 and found[-1] > 40
    while exact.warm(64):
        pass
    (frames, speaker), (other, _) = noise(190, seed=1), noise(190, seed=2)
    middle = Window(frames[:, 20:177], 13, 144)
    first, second = exact(middle, speaker), exact(Window(other[:, 20:177], 13, 144), speaker)
    np.testing.assert_allclose(first, truth(middle, speaker), atol=1e-5)  # not overwritten by the next call
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
        window = Window.whole(frames)
        num_stopped += stopped(window, speaker, lambda: next(asked) >= patience).size == 0  # noqa: B023
        frames, speaker = noise(int(rng.choice((30, 60))), seed)
        window = Window.whole(frames)
        np.testing.assert_array_equal(stopped(window, speaker), whole(window, speaker))
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
    assert graph.warmed is None
    assert [trial.name for trial in trials] == ["onnxruntime-fp32"]
    assert trials[0].rtf == pytest.approx(0.25 / (64 * 256 / 24_000))


def test_what_is_not_installed_is_said_so(tiny_bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="openvino"):
        open_vocoder(tiny_bundles["fp32"], "openvino-bf16", num_threads=1)
    with pytest.raises(ConfigError, match="onnxruntime-fp32"):
        open_vocoder(tiny_bundles["fp32"], "fastest", num_threads=1)
