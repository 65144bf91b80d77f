"""Weights by name as float32 arrays, one at a time: a safetensors file without torch.

A checkpoint of 1.87 GB must not be held twice, so nothing is converted before it is asked for.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xtts_rtc.errors import CheckpointError
from xtts_rtc.types import Float32

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "|u1"}


class SafetensorsWeights(Mapping[str, Float32]):
    """The tensors of a safetensors file, mapped, each converted to float32 when it is read.

    Raises CheckpointError when opened for a file that is cut, and when read for a tensor of another type.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            size = path.stat().st_size
            try:
                length = int.from_bytes(file.read(8), "little")
                if not 2 <= length <= min(size - 8, 100_000_000):
                    raise ValueError("no header")
                header: dict[str, Any] = json.loads(file.read(length))
                header.pop("__metadata__", None)
                end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
            except (ValueError, KeyError, TypeError, AttributeError):
                raise CheckpointError(f"{path} is not a safetensors file, or is damaged; copy it again") from None
            self._start = 8 + length
            if self._start + end > size:
                raise CheckpointError(
                    f"{path} has {size} bytes instead of {self._start + end}: cut short; copy it again"
                )
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._header = header

    def __getitem__(self, name: str) -> Float32:
        entry = self._header[name]
        if entry["dtype"] not in _TYPES:
            raise CheckpointError(f"{self._path}: {name} is {entry['dtype']}, a type that is not read here")
        first, stop = (self._start + offset for offset in entry["data_offsets"])
        raw = np.frombuffer(memoryview(self._map)[first:stop], _TYPES[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == "BF16":  # the upper half of a float32
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._header)

    def __len__(self) -> int:
        return len(self._header)


__all__ = ["SafetensorsWeights"]
