"""A running engine from options: the runtime, the voices, the thread."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from xtts_rtc.engine.conversion import DEFAULT_CLIP, Progress
from xtts_rtc.engine.runtimes import LoadedRuntime, ModelChoice, load_runtime
from xtts_rtc.engine.worker import XttsBackend
from xtts_rtc.errors import ConfigError, MissingExtra
from xtts_rtc.metrics import Metrics
from xtts_rtc.model.interface import Runtime
from xtts_rtc.types import Conditioning
from xtts_rtc.voices.cache import ConditioningCache
from xtts_rtc.voices.clip import read_clip
from xtts_rtc.voices.library import VoiceLibrary
from xtts_rtc.voices.store import VoiceStore


@dataclass(frozen=True, slots=True)
class LoadedEngine:
    """A running backend with its model and voices."""

    backend: XttsBackend
    model: LoadedRuntime
    voices: VoiceLibrary


def load_engine(
    choice: ModelChoice,
    *,
    speakers_dir: Path,
    cache_dir: Path,
    max_streams: int = 4,
    max_queue_s: float = 2.0,
    max_ahead_s: float = 3.0,
    metrics: Metrics | None = None,
    progress: Progress = lambda share, what: None,
) -> LoadedEngine:
    """Load a model and its voices and start the engine thread; blocking.

    Raises CheckpointError, MissingExtra or ConfigError. A broken clip does not stop the start: the store's
    `report` names it.
    """
    if max_streams < 1:
        raise ConfigError(f"max_streams is {max_streams}; it must be at least 1")
    loaded = load_runtime(choice, num_slots=max_streams, cache_dir=cache_dir, progress=progress)
    store, cache = VoiceStore(speakers_dir), ConditioningCache(cache_dir / "voices", loaded.conditioning_key)
    builtin = dict(loaded.speakers)
    if not store.exists("default"):
        builtin.setdefault("default", packaged_voice(loaded.runtime, cache))
    voices = VoiceLibrary(store, cache, loaded.runtime.condition, builtin=builtin)
    voices.load_all()
    for language in loaded.frontend.languages:
        with contextlib.suppress(MissingExtra):  # who asks for such a language is told which extra to install
            loaded.frontend.check(language)  # dictionaries are read here, not on an event loop
    backend = XttsBackend(
        loaded.runtime, loaded.frontend, voices, max_queue_s=max_queue_s, max_ahead_s=max_ahead_s, metrics=metrics
    )
    return LoadedEngine(backend, loaded, voices)


def packaged_voice(runtime: Runtime, cache: ConditioningCache) -> Conditioning:
    """The clip inside the package, for an installation without a speakers folder."""
    data = DEFAULT_CLIP.read_bytes()
    key = hashlib.sha256(data).hexdigest()
    if (known := cache.get(key)) is not None:
        return known
    latents, embedding = runtime.condition([read_clip(data).pcm])
    voice = Conditioning(key, latents, embedding)
    cache.put(voice)
    return voice


__all__ = ["LoadedEngine", "load_engine", "packaged_voice"]
