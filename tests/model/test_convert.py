"""From a checkpoint folder to a bundle; the folders are made of tiny random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from xtts_rtc.errors import CheckpointError, MissingExtra
from xtts_rtc.model.convert import PUBLISHED_LICENCE, convert
from xtts_rtc.model.onnx.bundle import is_bundle, open_bundle

EMBEDDED = Path(__file__).parents[2] / "xtts_rtc" / "assets" / "embedded"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The embedded checkpoint, its weights linked rather than copied."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in ("config.json", "vocab.json"):
        shutil.copy(EMBEDDED / name, folder / name)
    (folder / "model.safetensors").symlink_to(EMBEDDED / "model.safetensors")
    return folder


def test_a_folder_becomes_a_bundle_with_progress(checkpoint: Path, tmp_path: Path) -> None:
    shares: list[float] = []
    manifest = convert(
        checkpoint, tmp_path / "out", precision="fp32", progress=lambda share, what: shares.append(share)
    )
    assert is_bundle(tmp_path / "out") and not is_bundle(checkpoint)
    assert open_bundle(tmp_path / "out").manifest == manifest
    assert (manifest.info.num_layers, manifest.info.dim) == (6, 256)
    assert (manifest.start_text_token, manifest.stop_text_token) == (261, 0)
    assert manifest.languages == ("en",) and manifest.sampling.temperature == 0.75
    assert manifest.licence == PUBLISHED_LICENCE
    assert shares[0] == 0.0 and shares[-1] == 1.0


def test_how_words_are_read_goes_along(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "pronunciation.xz").write_bytes(b"as it is")
    convert(checkpoint, tmp_path / "out", precision="fp32")
    assert open_bundle(tmp_path / "out").pronunciation() == b"as it is"
    (checkpoint / "pronunciation.xz").unlink()
    convert(checkpoint, tmp_path / "without", precision="fp32")
    assert open_bundle(tmp_path / "without").pronunciation() is None


def test_what_the_checkpoint_says_of_itself_is_kept(checkpoint: Path, tmp_path: Path) -> None:
    notes = {"name": "mine", "licence": "Apache-2.0", "max_segment_tokens": 80}
    (checkpoint / "manifest.json").write_text(json.dumps(notes))
    manifest = convert(checkpoint, tmp_path / "out", precision="fp32")
    assert (manifest.source, manifest.licence, manifest.max_segment_tokens) == ("mine", "Apache-2.0", 80)


@pytest.mark.parametrize("name", ("config.json", "vocab.json", "model.safetensors"))
def test_a_missing_file_is_named(name: str, checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        convert(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bundle_is_not_converted_again(checkpoint: Path, tmp_path: Path) -> None:
    convert(checkpoint, tmp_path / "out", precision="fp32")
    with pytest.raises(CheckpointError, match="bundle already"):
        convert(tmp_path / "out", tmp_path / "again")


def test_a_pth_file_without_torch_names_the_extra(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "model.pth").write_bytes(b"weights")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"xtts-rtc\[torch\]"):
        convert(checkpoint, tmp_path / "out")


@pytest.mark.slow
def test_a_published_pth_folder_gives_the_same_bundle_as_safetensors(checkpoint: Path, tmp_path: Path) -> None:
    """Trainer prefixes and leftovers are dropped, and the voices of speakers_xtts.pth come along."""
    import torch

    from xtts_rtc.model.onnx.weights import SafetensorsWeights

    truth = convert(checkpoint, tmp_path / "truth", precision="fp32")
    weights = SafetensorsWeights(checkpoint / "model.safetensors")
    state = {f"xtts.{name}": torch.from_numpy(weights[name].copy()) for name in weights}
    state["dvae.encoder.weight"] = torch.zeros(3)
    torch.save({"model": state}, checkpoint / "model.pth")
    speaker = {"gpt_cond_latent": torch.rand(1, 32, 256), "speaker_embedding": torch.rand(1, 512, 1)}
    torch.save({"Ana Florence": speaker}, checkpoint / "speakers_xtts.pth")
    (checkpoint / "model.safetensors").unlink()
    found = convert(checkpoint, tmp_path / "out", precision="fp32")
    differing = {name for name, entry in truth.files.items() if found.files[name] != entry}
    assert differing == set() and found.files.keys() - truth.files.keys() == {"speakers.npz"}
    assert found.conditioning_key == truth.conditioning_key
    voice = open_bundle(tmp_path / "out").speakers()["Ana Florence"]
    assert (voice.gpt_latents == speaker["gpt_cond_latent"][0].numpy()).all()
    assert (voice.speaker_embedding == speaker["speaker_embedding"].flatten().numpy()).all()


@pytest.mark.slow
def test_a_truncated_pth_is_refused_by_name(checkpoint: Path, tmp_path: Path) -> None:
    import torch

    (checkpoint / "model.safetensors").unlink()
    torch.save({"model": {"x": torch.zeros(1000)}}, checkpoint / "model.pth")
    (checkpoint / "model.pth").write_bytes((checkpoint / "model.pth").read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=r"model\.pth cannot be read"):
        convert(checkpoint, tmp_path / "out")
    torch.save([1, 2], checkpoint / "model.pth")
    with pytest.raises(CheckpointError, match=r"model\.pth"):
        convert(checkpoint, tmp_path / "out")
