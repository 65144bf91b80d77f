"""From the name of a model to a running engine. The only place that chooses a runtime."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from xtts_rtc.engine.worker import XttsBackend
from xtts_rtc.errors import CheckpointError, ConfigError, MissingExtra
from xtts_rtc.model.interface import Runtime
from xtts_rtc.text.segmenter import Segmenter
from xtts_rtc.text.tokenizer import TextFrontend
from xtts_rtc.types import Conditioning
from xtts_rtc.voices.cache import ConditioningCache
from xtts_rtc.voices.clip import read_clip
from xtts_rtc.voices.library import VoiceLibrary
from xtts_rtc.voices.store import VoiceStore

EMBEDDED = Path(__file__).parent.parent / "assets" / "embedded"
DEFAULT_CLIP = EMBEDDED / "default.wav"


@dataclass(frozen=True, slots=True)
class LoadedRuntime:
    """A runtime and what belongs to its weights.

    `conditioning_key` names the weights that voices depend on; `speakers` are the checkpoint's own voices;
    `max_segment_chars` is the model's own limit, None for the language's; `xtts` is the coqui-tts model where
    the runtime stands on one.
    """

    runtime: Runtime
    frontend: TextFrontend
    conditioning_key: str
    speakers: dict[str, Conditioning] = field(default_factory=dict)
    max_segment_chars: int | None = None
    xtts: Any = None

    def segmenter(self, language: str) -> Segmenter:
        """A segmenter for one utterance, with this model's limits. Raises UnknownLanguage."""
        code = self.frontend.resolve(language)
        limit = self.frontend.char_limit(code)
        return Segmenter(
            code,
            count_tokens=partial(self.frontend.count, language=code),
            max_tokens=self.runtime.info.max_text_tokens,
            max_chars=limit if self.max_segment_chars is None else min(limit, self.max_segment_chars),
        )


@dataclass(frozen=True, slots=True)
class LoadedEngine:
    """A running backend with its model and voices."""

    backend: XttsBackend
    model: LoadedRuntime
    voices: VoiceLibrary


def load_engine(
    *,
    model: str = "embedded",
    device: str = "auto",
    speakers_dir: Path,
    cache_dir: Path,
    max_streams: int = 4,
    max_queue_s: float = 2.0,
    max_ahead_s: float = 3.0,
) -> LoadedEngine:
    """Load `model` (embedded, random-tiny, random-full or a folder) and its voices; blocking.

    Raises CheckpointError, MissingExtra or ConfigError. A broken clip does not stop the start: the store's
    `report` names it.
    """
    if max_streams < 1:
        raise ConfigError(f"max_streams is {max_streams}; it must be at least 1")
    loaded = load_runtime(model, device=device, num_slots=max_streams)
    store = VoiceStore(speakers_dir)
    builtin = dict(loaded.speakers)
    if not store.exists("default"):
        builtin.setdefault("default", _packaged_voice(loaded.runtime))
    cache = ConditioningCache(cache_dir / "voices", loaded.conditioning_key)
    voices = VoiceLibrary(store, cache, loaded.runtime.condition, builtin=builtin)
    voices.load_all()
    backend = XttsBackend(loaded.runtime, loaded.frontend, voices, max_queue_s=max_queue_s, max_ahead_s=max_ahead_s)
    return LoadedEngine(backend, loaded, voices)


def load_runtime(model: str, *, device: str = "auto", num_slots: int = 1) -> LoadedRuntime:
    """The weights on their device, with KV memory for `num_slots` rows. Raises as `load_engine`."""
    checkpoint = _need("xtts_rtc.model.torch.checkpoint", "torch")
    torch_runtime = _need("xtts_rtc.model.torch.runtime", "torch")
    folder = EMBEDDED if model == "embedded" else Path(model)
    loaded = checkpoint.load_model(folder if folder.is_dir() else model, device=_device(device))
    tokenizer = _need("tokenizers", "torch").Tokenizer.from_str(loaded.vocab)
    return LoadedRuntime(
        runtime=torch_runtime.TorchRuntime(loaded.xtts, num_slots=num_slots),
        frontend=TextFrontend(tokenizer),
        conditioning_key=loaded.conditioning_key,
        speakers=loaded.speakers,
        max_segment_chars=_manifest(folder).get("max_segment_chars"),
        xtts=loaded.xtts,
    )


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        return {}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON ({error}); restore it or remove it") from None
    return manifest if isinstance(manifest, dict) else {}


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


__all__ = ["DEFAULT_CLIP", "EMBEDDED", "LoadedEngine", "LoadedRuntime", "load_engine", "load_runtime"]
