"""A model folder, or random weights by name, to an `Xtts` of coqui-tts on its device.

The published layout is config.json, vocab.json and model.pth (or model.safetensors); speakers_xtts.pth is
optional. Everything that can be wrong with the files is a CheckpointError that names the file and the fix.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import pickle
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xtts_rtc.errors import CheckpointError
from xtts_rtc.model.interface import checked_token_hz
from xtts_rtc.model.torch import random_model
from xtts_rtc.types import Conditioning

_TRAINER_KEYS = ("torch_mel_spectrogram_style_encoder", "torch_mel_spectrogram_dvae", "dvae")
_CONDITIONING_KEYS = ("gpt.conditioning_", "hifigan_decoder.speaker_encoder.", "mel_stats")
_WIDTH_KEY = "hifigan_decoder.waveform_decoder.conv_pre.weight"
_UNUSED_IDS = ("Model config: bos_token_id must be", "Model config: eos_token_id must be")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """xtts: `TTS.tts.models.xtts.Xtts`, eval mode. `conditioning_key` hashes the weights a voice depends on.

    `max_segment_tokens` is what the folder's manifest.json says, None where it says nothing; `pronunciation` are the
    bytes of pronunciation.xz, where the model reads phonemes.
    """

    xtts: Any
    vocab: str
    languages: tuple[str, ...]
    conditioning_key: str
    speakers: dict[str, Conditioning] = field(default_factory=dict)
    max_segment_tokens: int | None = None
    pronunciation: bytes | None = None


@contextlib.contextmanager
def _without_warnings_of_unused_ids() -> Iterator[None]:
    """coqui-tts builds a GPT-2 that has no text ids, and transformers warns of the default ones nobody uses."""
    source = logging.getLogger("transformers.configuration_utils")
    source.addFilter(_is_news)
    try:
        yield
    finally:
        source.removeFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_UNUSED_IDS)


@_without_warnings_of_unused_ids()
def load_model(model: str | Path, *, device: str = "cpu") -> LoadedModel:
    """`random-tiny`, `random-full` or a folder.

    device: anything torch accepts. Raises CheckpointError for a folder that is incomplete, truncated, of
    other sizes than its config says, or holds NaN.
    """
    if str(model) in random_model.VOCODER_WIDTH:
        return _random(str(model), device)
    folder = Path(model)
    config, vocab = _read_text(folder, "config.json"), _read_text(folder, "vocab.json")
    weights = _read_weights(folder)
    width = weights[_WIDTH_KEY].shape[0] if _WIDTH_KEY in weights else 512
    _check(folder, weights)
    xtts = _built(folder, _parse(folder, config), vocab, width)
    try:
        xtts.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(
            f"{folder}: the weights do not fit config.json and vocab.json ({reason}); use files of one model"
        ) from None
    conditioning_key = _hash(weights)
    del weights
    _ready(xtts, device)
    read = folder / "pronunciation.xz"
    return LoadedModel(
        xtts=xtts,
        vocab=vocab,
        languages=tuple(json.loads(config).get("languages", ())),
        conditioning_key=conditioning_key,
        speakers=_speakers(folder),
        max_segment_tokens=_max_segment_tokens(folder),
        pronunciation=read.read_bytes() if read.is_file() else None,
    )


def _built(folder: Path, config: Any, vocab: str, width: int) -> Any:
    """`_build` for files that may be of anything."""
    checked_token_hz(config.model_args.input_sample_rate)
    try:
        return _build(config, vocab, width)
    except Exception as error:  # coqui-tts, transformers and tokenizers raise what they like, Exception included
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(
            f"{folder}: config.json and vocab.json make no XTTS model ({reason}); use files of one model"
        ) from None


def _random(name: str, device: str) -> LoadedModel:
    from TTS.tts.configs.xtts_config import XttsConfig

    config = XttsConfig()
    for key, value in random_model.sizes(name).items():
        setattr(config.model_args, key, value)
    vocab = random_model.vocabulary()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        xtts = _build(config, vocab, random_model.VOCODER_WIDTH[name])
    random_model.make_it_speak(xtts, name)
    _ready(xtts, device)
    return LoadedModel(xtts, vocab, tuple(config.languages), name)


def _build(config: Any, vocab: str, width: int) -> Any:
    from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
    from TTS.tts.models.xtts import Xtts

    config.model_args.gpt_number_text_tokens = 0  # else the GPT is built twice, and memory peaks at three copies
    with tempfile.TemporaryDirectory() as folder, _vocoder_width(width):
        path = Path(folder) / "vocab.json"
        path.write_text(vocab, encoding="utf-8")
        xtts = Xtts(config)
        xtts.tokenizer = VoiceBpeTokenizer(vocab_file=str(path))
        xtts.init_models()
    return xtts


def _ready(xtts: Any, device: str) -> None:
    xtts.gpt.init_gpt_for_inference(kv_cache=True)
    torch.nn.Module.eval(xtts)  # Xtts.eval() rebuilds the inference model and returns None
    xtts.to(device)


@contextlib.contextmanager
def _vocoder_width(width: int) -> Iterator[None]:
    """`Xtts` cannot be told the vocoder's width, so its class is exchanged while it builds one."""
    from TTS.tts.models import xtts as module

    original = module.HifiDecoder
    module.HifiDecoder = lambda **sizes: original(upsample_initial_channel_decoder=width, **sizes)
    try:
        yield
    finally:
        module.HifiDecoder = original


def _parse(folder: Path, config: str) -> Any:
    from TTS.tts.configs.xtts_config import XttsConfig

    parsed = XttsConfig()
    try:
        if json.loads(config).get("model") != "xtts":
            raise ValueError('its "model" is not "xtts"')
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            file.write(config)
            file.flush()
            parsed.load_json(file.name)
    except Exception as error:
        raise CheckpointError(f"{folder / 'config.json'} is not an XTTS configuration: {error}") from None
    return parsed


def _read_text(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise CheckpointError(
            f"{folder / name}: {reason}. A model folder holds config.json, vocab.json, model.pth (or .safetensors)"
        ) from None


def _read_weights(folder: Path) -> dict[str, Tensor]:
    path = next((folder / n for n in ("model.safetensors", "model.pth") if (folder / n).is_file()), None)
    if path is None:
        raise CheckpointError(f"{folder} has neither model.safetensors nor model.pth; copy the weights there")
    try:
        state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    except pickle.UnpicklingError:  # torch's own message advises to trust the file
        raise CheckpointError(
            f"{path} is damaged, or holds more than tensors, which is not loaded; copy it again"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} cannot be read ({reason}); it is cut short or damaged: copy it again") from None
    named = {name.removeprefix("xtts."): tensor for name, tensor in state.items()}
    return {name: tensor for name, tensor in named.items() if name.split(".")[0] not in _TRAINER_KEYS}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from None
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        # The first published files pickle their configuration by class name; coqui-tts knows which to allow.
        from TTS.tts.models.xtts import _legacy_safe_globals

        with _legacy_safe_globals():
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    state = loaded.get("model") if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError('no "model" of tensors in it')
    return {k: v.float() if v.is_floating_point() else v for k, v in state.items()}


def _check(folder: Path, weights: dict[str, Tensor]) -> None:
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{folder}: {name} holds NaN or infinity; the file is damaged, copy it again")


def _hash(weights: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(n for n in weights if n.startswith(_CONDITIONING_KEYS)):
        digest.update(name.encode())
        digest.update(weights[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def _max_segment_tokens(folder: Path) -> int | None:
    path = folder / "manifest.json"
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("max_segment_tokens")
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a JSON object ({error}); restore it or remove it") from None
    return None if found is None else int(found)


def _speakers(folder: Path) -> dict[str, Conditioning]:
    path = folder / "speakers_xtts.pth"
    if not path.is_file():
        return {}
    try:
        table = torch.load(path, map_location="cpu", weights_only=True)
        return {
            name: Conditioning(
                key=hashlib.sha256(latents.tobytes() + embedding.tobytes()).hexdigest(),
                gpt_latents=latents,
                speaker_embedding=embedding,
            )
            for name, entry in table.items()
            for latents in [entry["gpt_cond_latent"].float().reshape(32, -1).numpy()]
            for embedding in [entry["speaker_embedding"].float().flatten().numpy()]
        }
    except (RuntimeError, KeyError, AttributeError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} cannot be read ({type(error).__name__}); copy it again or remove it") from None


__all__ = ["LoadedModel", "load_model"]
