"""A published checkpoint folder to a bundle.

In: config.json, vocab.json, model.pth or model.safetensors; optionally speakers_xtts.pth, and a manifest.json
with the model's name, licence and max_segment_tokens. Out: what `model/onnx/bundle.py` describes. torch is
needed only to read .pth files.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtts_rtc.errors import CheckpointError, MissingExtra
from xtts_rtc.model.onnx.bundle import PRONUNCIATION, Manifest, is_bundle
from xtts_rtc.model.onnx.weights import SafetensorsWeights
from xtts_rtc.model.onnx.write import Progress, Source, write_bundle
from xtts_rtc.types import Conditioning, Float32

PUBLISHED_LICENCE = "Coqui Public Model License 1.0.0 (non-commercial)"
"""Of the published XTTS v2 weights and what was tuned from them: assumed where a checkpoint says nothing."""
Speech = Callable[[str, bytes | None], tuple[Float32, Sequence[NDArray[np.int64]]]]
"""From the text of vocab.json and the bytes of pronunciation.xz: a clip [S] at `MODEL_HZ`, token ids of sentences."""
_TRAINER_KEYS = ("torch_mel_spectrogram_style_encoder", "torch_mel_spectrogram_dvae", "dvae")


def convert(
    folder: Path,
    out: Path,
    *,
    precision: str = "int8",
    licence: str | None = None,
    progress: Progress = lambda share, what: None,
    speech: Speech | None = None,
) -> Manifest:
    """Convert the checkpoint in `folder` to the bundle `out` and return its manifest.

    licence: None for what the folder's manifest.json says, else the published one. speech: makes what int8 is tried
    with; without it that is made up, which says less. Raises CheckpointError for a folder that is incomplete or
    damaged, MissingExtra for a .pth file without torch, ConfigError for a precision that does not exist or an `out`
    that is something else.
    """
    notes = _read_notes(folder)
    weights = _Named(_open_weights(folder))
    vocabulary, pronunciation = _read_text(folder, "vocab.json"), _read_pronunciation(folder)
    clip, texts = (None, ()) if speech is None else speech(vocabulary, pronunciation)
    source = Source(
        config=_read_text(folder, "config.json"),
        vocabulary=vocabulary,
        licence=licence or notes.get("licence") or PUBLISHED_LICENCE,
        name=notes.get("name") or folder.name,
        speakers=_read_speakers(folder),
        max_segment_tokens=notes.get("max_segment_tokens"),
        pronunciation=pronunciation,
        clip=clip,
        texts=texts,
    )
    return write_bundle(weights, source, out, precision=precision, progress=progress)


def convert_loaded(
    loaded: Any,
    name: str,
    out: Path,
    *,
    precision: str = "int8",
    progress: Progress = lambda share, what: None,
    speech: Speech | None = None,
) -> Manifest:
    """Convert a model that torch holds already (`LoadedModel` of model/torch/checkpoint.py); otherwise as `convert`."""
    arguments = {"gpt_n_heads": loaded.xtts.gpt.heads, "input_sample_rate": loaded.xtts.args.input_sample_rate}
    clip, texts = (None, ()) if speech is None else speech(loaded.vocab, loaded.pronunciation)
    config = {"model": "xtts", "model_args": arguments, "languages": list(loaded.languages)}
    source = Source(
        config=json.dumps(config),
        vocabulary=loaded.vocab,
        licence="none: random numbers" if name.startswith("random") else PUBLISHED_LICENCE,
        name=name,
        speakers=loaded.speakers,
        max_segment_tokens=loaded.max_segment_tokens,
        pronunciation=loaded.pronunciation,
        clip=clip,
        texts=texts,
    )
    return write_bundle(TorchWeights(loaded.xtts.state_dict()), source, out, precision=precision, progress=progress)


class TorchWeights(Mapping[str, Float32]):
    """A torch state dict, each tensor converted to a float32 array when it is read."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._state = state

    def __getitem__(self, name: str) -> Float32:
        array: Float32 = self._state[name].detach().float().cpu().numpy()
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)


class _Named(Mapping[str, Float32]):
    """Names without what the trainer puts before them, and without what only training needs."""

    def __init__(self, weights: Mapping[str, Float32]) -> None:
        self._weights = weights
        names = {name.removeprefix("xtts."): name for name in weights}
        self._names = {short: name for short, name in names.items() if short.split(".")[0] not in _TRAINER_KEYS}

    def __getitem__(self, name: str) -> Float32:
        return self._weights[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _open_weights(folder: Path) -> Mapping[str, Float32]:
    if (path := folder / "model.safetensors").is_file():
        return SafetensorsWeights(path)
    if (path := folder / "model.pth").is_file():
        return TorchWeights(_load_pickle(path, "model"))
    raise CheckpointError(f"{folder} has neither model.safetensors nor model.pth; copy the weights there")


def _load_pickle(path: Path, part: str | None = None) -> dict[str, Any]:
    """A .pth file, mapped: tensors are read when they are used."""
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra(f"reading {path.name} needs torch; install xtts-rtc[torch], or use a .safetensors file")
    import torch

    try:
        loaded = _load_allowing_configs(torch, path)
        state = loaded[part] if part else loaded
        if not isinstance(state, dict):
            raise ValueError(f"it holds a {type(state).__name__}")
    except pickle.UnpicklingError:  # torch's own message advises to trust the file
        raise CheckpointError(
            f"{path} is damaged, or holds more than tensors, which is not loaded; copy it again"
        ) from None
    except (
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        zipfile.BadZipFile,
    ) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} cannot be read ({reason}); it is cut short or damaged: copy it again") from None
    return state


def _load_allowing_configs(torch: Any, path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        if importlib.util.find_spec("TTS") is None:
            raise
        # The first published files pickle their configuration by class name; coqui-tts knows which to allow.
        from TTS.tts.models.xtts import _legacy_safe_globals

        with _legacy_safe_globals():
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def _read_speakers(folder: Path) -> dict[str, Conditioning]:
    """The voices of speakers_xtts.pth, by name."""
    path = folder / "speakers_xtts.pth"
    if not path.is_file():
        return {}
    voices = {}
    for name, entry in _load_pickle(path).items():
        try:
            latents = entry["gpt_cond_latent"].float().numpy().reshape(32, -1)
            embedding = entry["speaker_embedding"].float().numpy().reshape(-1)
        except (KeyError, AttributeError, TypeError, ValueError):
            raise CheckpointError(f"{path}: an entry is not a voice; copy the file again or remove it") from None
        key = hashlib.sha256(np.concatenate([latents.ravel(), embedding]).tobytes()).hexdigest()
        voices[name] = Conditioning(key, latents, embedding)
    return voices


def _read_notes(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        return {}
    try:
        notes = json.loads(_read_text(folder, path.name))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON ({error}); restore it or remove it") from None
    if is_bundle(folder):
        raise CheckpointError(f"{folder} is a bundle already; convert the checkpoint it was made from")
    return notes if isinstance(notes, dict) else {}


def _read_pronunciation(folder: Path) -> bytes | None:
    path = folder / PRONUNCIATION
    return path.read_bytes() if path.is_file() else None


def _read_text(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise CheckpointError(
            f"{folder / name}: {reason}. A model folder holds config.json, vocab.json, model.pth (or .safetensors)"
        ) from None


__all__ = ["PUBLISHED_LICENCE", "Speech", "TorchWeights", "convert", "convert_loaded"]
