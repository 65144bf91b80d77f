"""A model folder is loaded whole or refused with the file and the fix; tiny random weights in the published layout."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("TTS")

from safetensors.torch import load_file, save_file  # noqa: E402

from xtts_rtc.errors import CheckpointError  # noqa: E402
from xtts_rtc.model.convert import convert  # noqa: E402
from xtts_rtc.model.onnx.runtime import OnnxRuntime  # noqa: E402
from xtts_rtc.model.torch import random_model  # noqa: E402
from xtts_rtc.model.torch.checkpoint import LoadedModel, load_model  # noqa: E402
from xtts_rtc.model.torch.runtime import TorchRuntime  # noqa: E402
from xtts_rtc.model.window import LatentWindow  # noqa: E402
from xtts_rtc.reference import StockXtts  # noqa: E402
from xtts_rtc.types import Conditioning  # noqa: E402

pytestmark = pytest.mark.slow

READERS: list[Callable[[Path], Any]] = [load_model, lambda folder: convert(folder, folder / "bundle", precision="fp32")]
"""Both that read a folder: one for torch, one for graphs. What one refuses, the other must."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    loaded = load_model("random-tiny")
    config = {"model": "xtts", "model_args": random_model.sizes("random-tiny"), "languages": list(loaded.languages)}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "vocab.json").write_text(loaded.vocab)
    # Inference shares tensors with the GPT under names of its own, which no published file has.
    state = {
        k: v.clone()
        for k, v in loaded.xtts.state_dict().items()
        if not k.startswith(("gpt.gpt_inference.", "gpt.gpt.wte."))
    }
    save_file(state, folder / "model.safetensors")
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole, tmp_path / "model"))


def as_pth(folder: Path, **extra: Any) -> Path:
    """The folder with its weights as the trainer writes them."""
    path = folder / "model.safetensors"
    torch.save({"model": {f"xtts.{k}": v for k, v in load_file(path).items()}, **extra}, folder / "model.pth")
    path.unlink()
    return folder / "model.pth"


def refused(folder: Path) -> list[str]:
    """What each reader says of the folder: one line each, that names the folder or a file in it."""
    messages = []
    for read in READERS:
        with pytest.raises(CheckpointError) as caught:
            read(folder)
        messages.append(caught.value.message)
        assert "\n" not in caught.value.message and len(caught.value.message) < 600
        assert not (folder / "bundle").exists()
    return messages


def is_same(one: LoadedModel, other: LoadedModel) -> bool:
    ours, theirs = one.xtts.state_dict(), other.xtts.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_folder_gives_back_the_model_it_was_written_from(folder: Path) -> None:
    original, loaded = load_model("random-tiny"), load_model(folder)
    assert is_same(original, loaded)
    assert loaded.languages == original.languages and not loaded.xtts.training
    assert loaded.conditioning_key == convert(folder, folder / "bundle", precision="fp32").conditioning_key


def test_a_trainers_pth_is_the_same_model(folder: Path) -> None:
    expected = load_model(folder)
    path = as_pth(folder, optimizer={"lr": 1.0})
    state = torch.load(path, weights_only=True)
    state["model"]["xtts.dvae.codebook"] = torch.full((3,), torch.nan)  # what only training needs is not read
    torch.save(state, path)
    assert is_same(expected, load_model(folder))


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "model.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert all(name in message for message in refused(folder))


@pytest.mark.parametrize("share", [0.0, 0.00001, 0.001, 0.5, 0.999])
def test_a_safetensors_file_that_is_cut_short_is_refused(folder: Path, share: float) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert all("model.safetensors" in message and "copy it again" in message for message in refused(folder))


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_pth_file_that_is_cut_short_is_refused(folder: Path, share: float) -> None:
    path = as_pth(folder)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert all("model.pth" in message and "copy it again" in message for message in refused(folder))


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (print, ("the file ran code",))


def test_a_pth_file_that_would_run_code_is_refused_without_running_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = as_pth(folder)
    torch.save({"model": {"gpt.x": Payload()}}, path)
    messages = refused(folder)
    assert all("model.pth" in message and "weights_only" not in message for message in messages)
    assert "the file ran code" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [{"weights": {}}, [1, 2], {"model": {"gpt.x": "text"}}, {"model": 3}])
def test_a_pth_file_of_something_else_is_refused(folder: Path, content: Any) -> None:
    torch.save(content, as_pth(folder))
    assert all("copy" in message or "not an XTTS v2 checkpoint" in message for message in refused(folder))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["gpt.gpt.h.1.attn.c_attn.weight", "hifigan_decoder.waveform_decoder.conv_pre.weight"])
def test_weights_that_are_no_numbers_are_named(folder: Path, name: str, value: float) -> None:
    state = load_file(folder / "model.safetensors")
    name = name if name in state else next(key for key in state if key.startswith(name.rpartition(".")[0]))
    state[name].view(-1)[7] = value
    save_file(state, folder / "model.safetensors")
    assert all(name in message and "NaN" in message for message in refused(folder))


def test_weights_that_lack_a_layer_are_refused(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    del state["gpt.gpt.h.0.mlp.c_proj.weight"]
    save_file(state, folder / "model.safetensors")
    assert all("gpt.gpt.h.0.mlp.c_proj.weight" in message for message in refused(folder))


@pytest.mark.parametrize(
    "change",
    [
        {"gpt_n_heads": 7},
        {"input_sample_rate": 44_100},
        {"gpt_start_audio_token": 8192, "gpt_stop_audio_token": 8193, "gpt_num_audio_tokens": 8194},
    ],
)
def test_the_config_of_another_model_is_refused(folder: Path, change: dict[str, int]) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model_args"] |= change
    (folder / "config.json").write_text(json.dumps(config))
    assert all("config.json" in message for message in refused(folder))


@pytest.mark.parametrize("token_hz", [16_000, 24_000])
def test_tokens_of_another_rate_are_stretched_as_coqui_stretches_them(folder: Path, token_hz: int) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["model_args"]["input_sample_rate"] = token_hz
    (folder / "config.json").write_text(json.dumps(config))
    loaded = load_model(folder)
    latents = np.random.default_rng(0).normal(size=(40, 64)).astype(np.float32)
    voice = Conditioning("v", np.zeros((32, 64), np.float32), np.full(512, 512**-0.5, np.float32))
    wanted = StockXtts(loaded.xtts).decode(latents, voice)
    assert wanted.size == int(40 * 4 * 24_000 / token_hz) * 256
    convert(folder, folder / "bundle", precision="fp32")
    graphs = OnnxRuntime(folder / "bundle", num_slots=1, num_threads=1, vocoder="onnxruntime-fp32")
    for runtime in (TorchRuntime(loaded.xtts, num_slots=1), graphs):
        assert runtime.info.token_hz == token_hz
        window = LatentWindow(token_hz=token_hz)
        for latent in latents:
            window.append(latent)
        piece = window.take(is_end=True)
        assert piece is not None
        np.testing.assert_allclose(runtime.decode(piece, voice), wanted, atol=1e-5)


def test_the_config_of_other_sizes_is_refused(folder: Path) -> None:
    """Graphs are written by the sizes of the weights themselves, so only torch can be misled."""
    config = json.loads((folder / "config.json").read_text())
    config["model_args"] |= {"gpt_layers": 3, "gpt_n_model_channels": 128}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="config.json"):
        load_model(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"model": "vits"}', "\ud83d"])
@pytest.mark.parametrize("name", ["config.json", "vocab.json"])
def test_a_config_or_vocabulary_of_something_else_is_refused(folder: Path, name: str, text: str) -> None:
    (folder / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    assert all(name in message for message in refused(folder))


def test_the_vocabulary_of_a_larger_model_is_refused(folder: Path) -> None:
    vocabulary = json.loads((folder / "vocab.json").read_text())
    vocabulary["model"]["vocab"]["zebra"] = 6_680
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    assert all("vocab.json" in message for message in refused(folder))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", None])
def test_a_damaged_table_of_voices_is_named(folder: Path, content: bytes | None) -> None:
    path = folder / "speakers_xtts.pth"
    if content is None:
        torch.save({"Ana": {"gpt_cond_latent": torch.zeros(3)}}, path)
    else:
        path.write_bytes(content)
    assert all("speakers_xtts.pth" in message for message in refused(folder))


def test_loading_says_nothing_and_leaves_logging_as_it_was(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = logging.getLogger("transformers.configuration_utils")
    monkeypatch.setattr(source, "disabled", False)  # whatever other tests have loaded: here it would be heard
    monkeypatch.setattr(logging.root.manager, "disable", 0)
    source.setLevel(logging.WARNING)
    level, filters = source.getEffectiveLevel(), list(source.filters)
    heard: list[str] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: heard.append(record.getMessage()))
    source.addHandler(handler)
    try:
        load_model(folder)
        assert heard == [] and capfd.readouterr().err == ""
        assert (source.getEffectiveLevel(), source.filters) == (level, filters)
        source.warning("Model config: bos_token_id must be None")
        assert len(heard) == 1
    finally:
        source.removeHandler(handler)
        source.setLevel(logging.NOTSET)
