"""Conditioning that was computed once, in memory and then on disk.

Entries are found by what they were computed from: the clips' content key and the model's. A file is
trusted only as far as it proves itself: key, shapes, numbers and a checksum. The disk is a convenience;
when it fails, memory goes on. Not for two threads at once; several processes may share the folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections import OrderedDict
from pathlib import Path
from types import ModuleType

import numpy as np

from xtts_rtc.errors import MissingExtra, XttsRtcError
from xtts_rtc.types import Conditioning, Float32

MAX_VOICES = 256
"""Kept in memory: 133 kB each at the published sizes, 34 MB in all."""
NUM_LATENTS = 32
EMBEDDING_DIM = 512

_FORMAT = "1"  # raise it when reading clips changes what they decode to
_MAX_FILE_BYTES = 4_000_000
_log = logging.getLogger(__name__)


def is_sound(conditioning: Conditioning) -> bool:
    """Whether it is gpt_latents [32, D] and speaker_embedding [512], float32, without NaN or infinity."""
    latents, embedding = conditioning.gpt_latents, conditioning.speaker_embedding
    return (
        latents.ndim == 2
        and latents.shape[0] == NUM_LATENTS
        and latents.shape[1] > 0
        and embedding.shape == (EMBEDDING_DIM,)
        and latents.dtype == embedding.dtype == np.float32
        and bool(np.isfinite(latents).all() and np.isfinite(embedding).all())
    )


class ConditioningCache:
    """Conditioning by content key, for one model.

    `folder` None means memory only. `model_key` is anything that changes with the weights. The arrays of
    a Conditioning are shared by all who get it: nobody may write to them.
    """

    def __init__(self, folder: Path | None, model_key: str, *, max_voices: int = MAX_VOICES) -> None:
        self._folder = folder
        self._model_key = model_key
        self._max_voices = max_voices
        self._memory: OrderedDict[str, Conditioning] = OrderedDict()

    def get(self, content_key: str) -> Conditioning | None:
        """From memory, else from disk; None when neither has a sound one."""
        found = self._memory.get(content_key)
        if found is None:
            found = self._read(content_key)
        if found is not None:
            self._remember(found)
        return found

    def put(self, conditioning: Conditioning) -> None:
        """Keep it in memory and on disk. A disk that is full or not writable costs a warning, no more."""
        assert is_sound(conditioning)
        self._remember(conditioning)
        if self._folder is None:
            return
        try:
            self._write(self._path(self._folder, conditioning.key), conditioning)
        except OSError as error:
            _log.warning("the voice cache cannot be written (%s); voices are kept in memory only", error.strerror)

    def _remember(self, conditioning: Conditioning) -> None:
        self._memory[conditioning.key] = conditioning
        self._memory.move_to_end(conditioning.key)
        while len(self._memory) > self._max_voices:
            self._memory.popitem(last=False)

    def _path(self, folder: Path, content_key: str) -> Path:
        name = hashlib.sha256(f"{_FORMAT}\n{self._model_key}\n{content_key}".encode()).hexdigest()
        return folder / f"{name}.safetensors"

    def _labels(self, conditioning: Conditioning) -> dict[str, str]:
        arrays = np.concatenate([conditioning.gpt_latents.ravel(), conditioning.speaker_embedding])
        return {
            "format": _FORMAT,
            "model_key": self._model_key,
            "content_key": conditioning.key,
            "sha256": hashlib.sha256(arrays.astype("<f4").tobytes()).hexdigest(),
        }

    def _write(self, path: Path, conditioning: Conditioning) -> None:
        tensors = {
            "gpt_latents": np.ascontiguousarray(conditioning.gpt_latents),
            "speaker_embedding": np.ascontiguousarray(conditioning.speaker_embedding),
        }
        data = _safetensors().save(tensors, self._labels(conditioning))
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _read(self, content_key: str) -> Conditioning | None:
        if self._folder is None:
            return None
        path = self._path(self._folder, content_key)
        try:
            with path.open("rb") as file:
                data = file.read(_MAX_FILE_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("the voice cache cannot be read (%s); the voice is computed anew", error.strerror)
            return None
        found = self._parse(data, content_key)
        if found is None:
            _log.warning("voice cache file %s is damaged; the voice is computed anew", path.name)
        return found

    def _parse(self, data: bytes, content_key: str) -> Conditioning | None:
        tensors, labels = _load(data)
        try:
            found = Conditioning(content_key, tensors["gpt_latents"], tensors["speaker_embedding"])
        except KeyError:
            return None
        return found if is_sound(found) and labels == self._labels(found) else None


def _safetensors() -> ModuleType:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise MissingExtra("the voice cache needs safetensors: pip install 'xtts-rtc[cpu]'") from error
    return safetensors.numpy


def _load(data: bytes) -> tuple[dict[str, Float32], dict[str, str]]:
    """Tensors and labels of a safetensors file; nothing of a damaged one."""
    try:
        # Copied: the loaded arrays lie in `data` and could not be handed to torch without a warning.
        tensors = {name: np.array(array) for name, array in _safetensors().load(data).items()}
        size = int.from_bytes(data[:8], "little")
        labels = json.loads(data[8 : 8 + size]).get("__metadata__", {})
    except XttsRtcError:
        raise
    except Exception:  # SafetensorError, ValueError, KeyError: whatever bytes at random can cause
        return {}, {}
    return tensors, labels


__all__ = ["MAX_VOICES", "ConditioningCache", "is_sound"]
