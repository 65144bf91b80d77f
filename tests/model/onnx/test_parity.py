"""The graphs against coqui-tts' own modules and the torch runtime, on the same weights."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xtts_rtc.errors import BadClip
from xtts_rtc.model.convert import TorchWeights, convert
from xtts_rtc.model.onnx.bundle import open_bundle
from xtts_rtc.model.onnx.runtime import OnnxRuntime
from xtts_rtc.model.onnx.vocoder import signal_to_noise_db
from xtts_rtc.model.onnx.write import Source, write_bundle
from xtts_rtc.model.window import Window
from xtts_rtc.types import MODEL_HZ, Conditioning, Float32

pytestmark = pytest.mark.slow

EMBEDDED = Path(__file__).parents[3] / "xtts_rtc" / "assets" / "embedded"


@dataclass(frozen=True)
class Pair:
    """Our runtime and the reference on the same weights; key is the loader's hash of the conditioning weights."""

    ours: OnnxRuntime
    reference: Any
    xtts: Any
    key: str


@pytest.fixture(scope="module", params=("random-tiny", "embedded"))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # coqui-tts and its own dependencies warn at import
        from xtts_rtc.model.torch.checkpoint import load_model
        from xtts_rtc.model.torch.runtime import TorchRuntime

        out = tmp_path_factory.mktemp("parity") / "bundle"
        if request.param == "embedded":
            loaded = load_model(EMBEDDED)
            convert(EMBEDDED, out, precision="fp32")
        else:
            loaded = load_model("random-tiny")
            stir(loaded.xtts)
            config = '{"model": "xtts", "model_args": {"gpt_n_heads": 4}}'
            source = Source(config=config, vocabulary=loaded.vocab, licence="none", name="random-tiny")
            write_bundle(TorchWeights(loaded.xtts.state_dict()), source, out, precision="fp32")
    ours = OnnxRuntime(out, num_slots=3, num_threads=1, vocoder="onnxruntime-fp32")
    return Pair(ours, TorchRuntime(loaded.xtts, num_slots=3), loaded.xtts, loaded.conditioning_key)


def stir(xtts: Any) -> None:
    """Random weights where coqui-tts starts with zeros and ones, which would hide mistakes."""
    import torch

    generator = torch.Generator().manual_seed(3)
    for name, tensor in xtts.state_dict().items():
        if name.endswith(("running_var",)):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif tensor.is_floating_point() and "torch_spec" not in name and ("bn" in name or "norm" in name):
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.1)
        elif "proj_out" in name or name.endswith(".bias"):
            tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.05)
    xtts.mel_stats.uniform_(0.5, 2.0, generator=generator)


def clip(seconds: float, seed: int = 0) -> Float32:
    """Something voiced: a gliding tone with harmonics and a little noise."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * MODEL_HZ)) / MODEL_HZ
    phase = 2 * np.pi * (120 * t + 20 * np.sin(2 * t))
    wave = sum(np.sin(k * phase) / k for k in range(1, 12)) * 0.1 + rng.standard_normal(t.size) * 0.01
    return np.asarray(wave, np.float32)


def a_voice(dim: int, seed: int = 0) -> Conditioning:
    rng = np.random.default_rng(seed)
    embedding = rng.standard_normal(512).astype(np.float32)
    latents = rng.standard_normal((32, dim)).astype(np.float32)
    return Conditioning(f"v{seed}", latents, embedding / np.float32(np.linalg.norm(embedding)))


def test_both_runtimes_describe_the_model_alike(pair: Pair) -> None:
    assert pair.ours.info == pair.reference.info


def test_latents_and_logits_equal_the_references(pair: Pair) -> None:
    """Three ragged streams, 24 steps; the published tolerance of the reference is 1e-5."""
    rng, dim = np.random.default_rng(0), pair.ours.info.dim
    voices = [a_voice(dim, slot % 2) for slot in range(3)]
    for slot, length in enumerate((4, 30, 11)):
        ids = rng.integers(3, 29, length)
        found, truth = (runtime.prefill(slot, voices[slot], ids) for runtime in (pair.ours, pair.reference))
        np.testing.assert_allclose(found[0], truth[0], atol=1e-4)
        np.testing.assert_allclose(found[1], truth[1], atol=1e-4)
    for step in range(24):
        slots = np.array([[2, 0, 1], [1, 0], [2]][step % 3])
        tokens = rng.integers(0, 1024, slots.size)
        found, truth = (runtime.step(slots, tokens) for runtime in (pair.ours, pair.reference))
        np.testing.assert_allclose(found[0], truth[0], atol=1e-4)
        np.testing.assert_allclose(found[1], truth[1], atol=1e-4)


@pytest.mark.parametrize("length", (1, 20, 61))
def test_audio_equals_the_references(pair: Pair, length: int) -> None:
    dim = pair.ours.info.dim
    frames = np.random.default_rng(length).standard_normal((dim, length)).astype(np.float32)
    voice = a_voice(dim)
    whole = Window.whole(frames)
    truth = pair.reference.decode(whole, voice)
    np.testing.assert_allclose(pair.ours.decode(whole, voice), truth, atol=1e-5)
    for start, stop in ((0, max(1, length - 13)), (min(13, length - 1), length), (length // 2, length // 2 + 1)):
        left, right = max(0, start - 13), min(length, stop + 13)
        window = Window(frames[:, left:right], start - left, stop - left)
        for runtime in (pair.ours, pair.reference):
            np.testing.assert_allclose(runtime.decode(window, voice), truth[start * 256 : stop * 256], atol=1e-5)


@pytest.mark.parametrize("seconds", ([1.0], [9.2], [4.1, 2.5], [31.0]))
def test_a_cloned_voice_equals_the_references(pair: Pair, seconds: list[float]) -> None:
    """Chunks of 4 s, a remainder under 0.33 s, several clips, a clip over 30 s."""
    clips = [clip(length, seed) for seed, length in enumerate(seconds)]
    latents, embedding = pair.ours.condition([part.copy() for part in clips])
    wanted_latents, wanted_embedding = pair.reference.condition(clips)
    np.testing.assert_allclose(latents, wanted_latents, atol=1e-4)
    # A last layer that was trained to tell voices apart multiplies the rounding of the layers before it.
    np.testing.assert_allclose(embedding, wanted_embedding, atol=1e-5 if len(pair.key) != 64 else 5e-4)


def test_conditioning_is_keyed_as_the_torch_loader_does(pair: Pair) -> None:
    """One folder of kept voices serves both runtimes."""
    if len(pair.key) == 64:
        assert pair.ours.bundle.manifest.conditioning_key == pair.key


@pytest.mark.parametrize("bad", (np.zeros(100), np.full(22_050, np.nan), np.zeros((2, 22_050))))
def test_a_clip_that_cannot_be_used_says_why(pair: Pair, bad: np.ndarray) -> None:
    with pytest.raises(BadClip, match="clip 0"):
        pair.ours.condition([bad.astype(np.float32)])
    with pytest.raises(BadClip, match="no clip"):
        pair.ours.condition([])


def test_embedded_checkpoint_as_int8_stays_close(tmp_path: Path) -> None:
    """bf16 weights, trained: the gate's figures, and audio of the vocoder that is chosen here."""
    manifest = convert(EMBEDDED, tmp_path / "bundle")
    assert manifest.quality is not None
    assert manifest.quality.latent_cosine_mean >= 0.999
    assert manifest.quality.logit_kl_max < 0.05
    assert manifest.licence == "Apache-2.0"
    assert manifest.max_segment_tokens == 225
    runtime = OnnxRuntime(tmp_path / "bundle", num_slots=1)
    truth = OnnxRuntime(open_bundle(tmp_path / "bundle"), num_slots=1, vocoder="onnxruntime-fp32")
    assert all(trial.snr_db >= 40 for trial in runtime.vocoder_trials[:1])
    window = Window.whole(np.random.default_rng(0).standard_normal((256, 70)).astype(np.float32))
    voice = a_voice(256)
    assert signal_to_noise_db(truth.decode(window, voice), runtime.decode(window, voice)) >= 40
