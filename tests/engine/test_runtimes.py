"""What is asked for is what runs, or the start says why not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xtts_rtc.engine import conversion, runtimes
from xtts_rtc.engine.runtimes import ModelChoice, load_runtime
from xtts_rtc.errors import CheckpointError, ConfigError, MissingExtra, UnknownLanguage
from xtts_rtc.model.quality import compare, is_good
from xtts_rtc.types import Conditioning
from xtts_rtc.voices.clip import read_clip

SPEAKERS = Path(__file__).parents[2] / "speakers"


def load(choice: ModelChoice, cache_dir: Path) -> runtimes.LoadedRuntime:
    return load_runtime(choice, num_slots=1, cache_dir=cache_dir)


@pytest.mark.parametrize("option", ["half", "compile", "deepspeed"])
def test_a_gpu_option_on_the_cpu_backend_stops_the_start(option: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"XTTS_{option.upper()} is on"):
        load(ModelChoice(device="cpu", backend="onnx", **{option: True}), tmp_path)  # type: ignore[arg-type]


def test_a_backend_that_does_not_exist_or_does_not_fit_the_device_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="tensorrt"):
        load(ModelChoice(backend="tensorrt"), tmp_path)
    monkeypatch.setattr(runtimes, "_device", lambda device: "cuda:0")
    with pytest.raises(ConfigError, match="computes on the CPU"):
        load(ModelChoice(device="cuda:0", backend="onnx"), tmp_path)


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(module: str) -> object:
        raise ModuleNotFoundError("gone", name="onnxruntime")

    monkeypatch.setattr(conversion, "import_module", gone)
    with pytest.raises(MissingExtra, match=r"onnxruntime is not installed.*xtts-rtc\[cpu\]"):
        load(ModelChoice(device="cpu", backend="onnx"), tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="neither model.safetensors nor model.pth"):
        load(ModelChoice(name=str(tmp_path), device="cpu"), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_the_embedded_model_loads_on_both_backends_and_is_converted_once(backend: str, tmp_path: Path) -> None:
    choice = ModelChoice(device="cpu", backend=backend)
    loaded = load(choice, tmp_path)
    assert (loaded.backend, loaded.frontend.languages, loaded.max_segment_tokens) == (backend, ("en",), 225)
    with pytest.raises(UnknownLanguage):
        loaded.segmenter("de")
    steps: list[str] = []
    load_runtime(choice, num_slots=1, cache_dir=tmp_path, progress=lambda share, what: steps.append(what))
    assert steps == []


@pytest.mark.slow
def test_the_embedded_voice_is_conditioned_by_its_clip(tmp_path: Path) -> None:
    """Both ways: a conditioning encoder that overflows gives one prefix, of zeros, to every clip."""
    condition = load(ModelChoice(device="cpu", backend="onnx", vocoder="onnxruntime-fp32"), tmp_path).runtime.condition
    deep, bright = (condition([read_clip(SPEAKERS / name).pcm]) for name in ("deep.wav", "bright.wav"))
    latents = np.stack([deep[0], bright[0]])
    assert np.abs(latents[0] - latents[1]).max() > 0.1 * np.abs(latents).max() > 0
    assert deep[1] @ bright[1] < 0.9


@pytest.mark.slow
def test_what_int8_loses_of_the_embedded_voice_in_real_speech_is_within_the_gate(tmp_path: Path) -> None:
    found = load(ModelChoice(device="cpu", backend="onnx", vocoder="onnxruntime-fp32"), tmp_path)
    truth = load(ModelChoice(device="cpu", backend="torch"), tmp_path)
    voice = Conditioning("default", *truth.runtime.condition([read_clip(conversion.DEFAULT_CLIP).pcm]))
    for text in ("Is it going to rain tomorrow in Boston?", "The tax is three dollars and sixty eight cents."):
        assert text not in conversion._SENTENCES
        ids = np.asarray(truth.frontend.encode(text, "en"), np.int64)
        parity = compare(truth.runtime, found.runtime, voice, ids)
        assert is_good(parity), parity


@pytest.mark.slow
def test_a_vocoder_that_was_chosen_here_is_not_tried_again(tmp_path: Path) -> None:
    first = load(ModelChoice(device="cpu", backend="onnx"), tmp_path).runtime
    again = load(ModelChoice(device="cpu", backend="onnx"), tmp_path).runtime
    assert first.vocoder_trials and not again.vocoder_trials  # type: ignore[attr-defined]
    assert first.vocoder_name == again.vocoder_name  # type: ignore[attr-defined]
