"""What a bundle says of itself, and what is said of a damaged one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xtts_rtc.errors import CheckpointError, ConfigError
from xtts_rtc.model.onnx.bundle import Manifest, is_bundle, open_bundle, pack_speakers, unpack_speakers
from xtts_rtc.model.onnx.write import Source, write_bundle
from xtts_rtc.types import Conditioning, Float32


@pytest.fixture
def bundle(tmp_path: Path, tiny_bundles: dict[str, Path]) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(tiny_bundles["int8-row"], tmp_path / "bundle"))


def test_manifest_reads_back_as_it_was_written(tiny_bundles: dict[str, Path]) -> None:
    manifest = open_bundle(tiny_bundles["int8-row"]).manifest
    assert Manifest.from_json(manifest.to_json()) == manifest
    info = manifest.info
    assert (info.num_layers, info.num_heads, info.dim, info.num_prefix) == (2, 4, 64, 32)
    assert (info.max_audio_tokens, info.max_text_tokens) == (30, 21)
    assert manifest.sampling.temperature == 0.5 and manifest.sampling.top_k == 50
    assert manifest.quality is not None and manifest.quality.latent_cosine_min > 0.998


def test_every_file_is_in_the_manifest(tiny_bundles: dict[str, Path]) -> None:
    folder = tiny_bundles["int8-row"]
    assert set(open_bundle(folder).manifest.files) == {path.name for path in folder.iterdir()} - {"manifest.json"}


def test_a_missing_file_is_named(bundle: Path) -> None:
    (bundle / "gpt.data").unlink()
    with pytest.raises(CheckpointError, match=r"gpt\.data is missing"):
        open_bundle(bundle)


def test_a_file_cut_short_is_named_with_both_lengths(bundle: Path) -> None:
    data = (bundle / "vocoder.data").read_bytes()
    (bundle / "vocoder.data").write_bytes(data[:-100])
    with pytest.raises(CheckpointError, match=rf"{len(data) - 100} bytes instead of {len(data)}"):
        open_bundle(bundle)


def test_one_changed_byte_is_found(bundle: Path) -> None:
    data = bytearray((bundle / "speaker.data").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "speaker.data").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"speaker\.data was changed"):
        open_bundle(bundle)
    assert open_bundle(bundle, is_checked=False).path == bundle


@pytest.mark.parametrize("text", ("", "{", "[]", "{}", '{"kind": "xtts-rtc bundle", "format": 1}'))
def test_a_manifest_that_is_none_is_refused(text: str, bundle: Path) -> None:
    (bundle / "manifest.json").write_text(text)
    with pytest.raises(CheckpointError, match="manifest"):
        open_bundle(bundle)


def test_another_format_is_refused_by_its_number(bundle: Path) -> None:
    values = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**values, "format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        open_bundle(bundle)


def test_a_manifest_cannot_point_outside_its_folder(bundle: Path) -> None:
    manifest = open_bundle(bundle).manifest
    entry = manifest.files["gpt.data"]
    (bundle / "manifest.json").write_text(replace(manifest, files={"../gpt.data": entry}).to_json())
    with pytest.raises(CheckpointError, match="outside"):
        open_bundle(bundle)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    assert not is_bundle(tmp_path)
    with pytest.raises(CheckpointError, match="xtts-rtc convert"):
        open_bundle(tmp_path)


def test_a_checkpoint_with_notes_of_its_own_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "mine", "licence": "Apache-2.0"}')
    assert not is_bundle(tmp_path)


def test_writing_fails_without_a_trace(tmp_path: Path, tiny_weights: dict[str, Float32], tiny_source: Source) -> None:
    damaged = {**tiny_weights, "gpt.gpt.h.1.mlp.c_fc.weight": np.full((64, 256), np.nan, np.float32)}
    with pytest.raises(CheckpointError, match=r"h\.1\.mlp\.c_fc\.weight holds NaN"):
        write_bundle(damaged, tiny_source, tmp_path / "out")
    del damaged["gpt.gpt.h.1.mlp.c_fc.weight"]
    with pytest.raises(CheckpointError, match=r"no gpt\.gpt\.h\.1\.mlp\.c_fc\.weight"):
        write_bundle(damaged, tiny_source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_older_bundle_is_replaced_and_another_folder_is_not(
    bundle: Path, tmp_path: Path, tiny_weights: dict[str, Float32], tiny_source: Source
) -> None:
    said: list[tuple[float, str]] = []
    write_bundle(tiny_weights, tiny_source, bundle, precision="fp32", progress=lambda *step: said.append(step))
    assert open_bundle(bundle).manifest.operator == "fp32"
    assert [share for share, _ in said] == sorted(share for share, _ in said) and said[-1][0] == 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    other = tmp_path / "photos"
    other.mkdir()
    (other / "cat.jpg").write_bytes(b"meow")
    with pytest.raises(ConfigError, match="not a bundle"):
        write_bundle(tiny_weights, tiny_source, other)
    assert (other / "cat.jpg").read_bytes() == b"meow"


def test_int8_takes_the_first_operator_that_passes_the_gate(
    tmp_path: Path, tiny_weights: dict[str, Float32], tiny_source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert write_bundle(tiny_weights, tiny_source, tmp_path / "easy").operator == "int8-row"
    monkeypatch.setattr("xtts_rtc.model.onnx.gate.MIN_COSINE", 1.1)
    hard = write_bundle(tiny_weights, tiny_source, tmp_path / "hard")
    assert hard.operator == "int8-block"  # neither passed: the better one, and its figures say so
    assert open_bundle(tmp_path / "hard").manifest.quality == hard.quality


def test_an_unknown_precision_is_refused(tmp_path: Path, tiny_source: Source) -> None:
    with pytest.raises(ConfigError, match="int8-block"):
        write_bundle({}, tiny_source, tmp_path / "out", precision="int4")


def test_a_vocabulary_of_something_else_is_refused(
    tmp_path: Path, tiny_weights: dict[str, Float32], tiny_source: Source
) -> None:
    with pytest.raises(CheckpointError, match=r"\[START\]"):
        write_bundle(tiny_weights, replace(tiny_source, vocabulary='{"model": {"vocab": {}}}'), tmp_path / "out")


def test_speakers_of_the_checkpoint_travel_with_it(
    tmp_path: Path, tiny_weights: dict[str, Float32], tiny_source: Source, voices: list[Conditioning]
) -> None:
    named = {"Ana / Florence": voices[0], "default": voices[1]}
    source = replace(tiny_source, speakers=named)
    write_bundle(tiny_weights, source, tmp_path / "out", precision="fp32")
    found = open_bundle(tmp_path / "out").speakers()
    assert found.keys() == named.keys()
    for name, voice in named.items():
        assert found[name].key == voice.key
        np.testing.assert_array_equal(found[name].gpt_latents, voice.gpt_latents)
        np.testing.assert_array_equal(found[name].speaker_embedding, voice.speaker_embedding)
    assert unpack_speakers(pack_speakers(named)).keys() == named.keys()
