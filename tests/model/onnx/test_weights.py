from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from xtts_rtc.errors import CheckpointError
from xtts_rtc.model.onnx.weights import SafetensorsWeights


def write(path: Path, tensors: dict[str, tuple[str, list[int], bytes]], cut: int = 0) -> Path:
    """A safetensors file by its published layout, `cut` bytes short."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, (kind, shape, raw) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    whole = len(text).to_bytes(8, "little") + text + data
    path.write_bytes(whole[: len(whole) - cut])
    return path


def test_every_type_becomes_float32(tmp_path: Path) -> None:
    values = np.array([[1.5, -2.0], [0.0, 3.25]], np.float32)  # exact in bf16 and half
    tensors = {
        "f32": ("F32", [2, 2], values.tobytes()),
        "f16": ("F16", [2, 2], values.astype(np.float16).tobytes()),
        "bf16": ("BF16", [2, 2], (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()),
        "count": ("I64", [], np.int64(7).tobytes()),
    }
    weights = SafetensorsWeights(write(tmp_path / "m.safetensors", tensors))
    assert list(weights) == list(tensors)
    for name in ("f32", "f16", "bf16"):
        np.testing.assert_array_equal(weights[name], values)
        assert weights[name].dtype == np.float32
    assert weights["count"].shape == () and weights["count"] == 7


def test_a_file_cut_short_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    path = write(tmp_path / "m.safetensors", {"x": ("F32", [4], bytes(16))}, cut=3)
    with pytest.raises(CheckpointError, match="cut short"):
        SafetensorsWeights(path)


@pytest.mark.parametrize("content", (b"", b"short", b"\xff" * 64, (5).to_bytes(8, "little") + b"{nono" + bytes(40)))
def test_what_is_no_safetensors_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="safetensors"):
        SafetensorsWeights(tmp_path / "m.safetensors")


def test_a_type_that_is_not_read_is_named(tmp_path: Path) -> None:
    weights = SafetensorsWeights(write(tmp_path / "m.safetensors", {"x": ("F8_E4M3", [4], bytes(4))}))
    with pytest.raises(CheckpointError, match="F8_E4M3"):
        weights["x"]
