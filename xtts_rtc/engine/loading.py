"""From the name of a model to a running engine. The only place that chooses a runtime."""

from __future__ import annotations

import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any

from xtts_rtc.engine.worker import XttsBackend
from xtts_rtc.errors import ConfigError, MissingExtra
from xtts_rtc.model.interface import Runtime
from xtts_rtc.text.tokenizer import TextFrontend
from xtts_rtc.types import Conditioning
from xtts_rtc.voices.cache import ConditioningCache
from xtts_rtc.voices.clip import read_clip
from xtts_rtc.voices.library import VoiceLibrary
from xtts_rtc.voices.store import VoiceStore

EMBEDDED = Path(__file__).parent.parent / "assets" / "embedded"
DEFAULT_CLIP = EMBEDDED / "default.wav"


def load_backend(
    *,
    model: str = "embedded",
    device: str = "auto",
    speakers_dir: Path,
    cache_dir: Path,
    max_streams: int = 4,
    max_queue_s: float = 2.0,
    max_ahead_s: float = 3.0,
) -> XttsBackend:
    """Load `model` (embedded, random-tiny, random-full or a folder) and its voices; blocking.

    Raises CheckpointError, MissingExtra or ConfigError. Broken clips do not stop the start: `voices.report()`
    names them.
    """
    if max_streams < 1:
        raise ConfigError(f"max_streams is {max_streams}; it must be at least 1")
    torch_model = _need("xtts_rtc.model.torch.checkpoint", "torch")
    torch_runtime = _need("xtts_rtc.model.torch.runtime", "torch")
    loaded = torch_model.load_model(EMBEDDED if model == "embedded" else model, device=_device(device))
    runtime = torch_runtime.TorchRuntime(loaded.xtts, num_slots=max_streams)
    cache = ConditioningCache(cache_dir / "voices", loaded.conditioning_key)
    store = VoiceStore(speakers_dir)
    builtin = dict(loaded.speakers)
    if not store.exists("default"):
        builtin.setdefault("default", _packaged_voice(runtime))
    voices = VoiceLibrary(store, cache, runtime.condition, builtin=builtin)
    voices.load_all()
    tokenizer = _need("tokenizers", "torch").Tokenizer.from_str(loaded.vocab)
    return XttsBackend(runtime, TextFrontend(tokenizer), voices, max_queue_s=max_queue_s, max_ahead_s=max_ahead_s)


def _packaged_voice(runtime: Runtime) -> Conditioning:
    """The clip inside the package, for an installation without a speakers folder."""
    data = DEFAULT_CLIP.read_bytes()
    latents, embedding = runtime.condition([read_clip(data).pcm])
    return Conditioning(hashlib.sha256(data).hexdigest(), latents, embedding)


def _need(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name} is not installed; pip install 'xtts-rtc[{extra}]' brings it") from None


def _device(device: str) -> str:
    torch = _need("torch", "torch")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device {device!r} was asked for, but torch sees no CUDA; use cpu or auto")
    return device


__all__ = ["EMBEDDED", "load_backend"]
