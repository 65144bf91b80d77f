"""voice.yaml as dataclasses. An unknown or missing key is an error at start, not hours later."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from xtts_rtc.text import pronunciation

DEFAULT = Path(__file__).parent / "voice.yaml"


@dataclass(frozen=True, slots=True)
class Sound:
    seed: int
    num_shards: int
    speakers_per_shard: int
    utterances_per_speaker: int
    max_chars: int
    max_s: float
    held_out_shards: int
    default_share: float
    shipped_share: float
    formant: list[float]
    pitch: list[float]
    rate: list[float]
    shipped: dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Codes:
    num_shards: int
    num_components: int
    num_passes: int


@dataclass(frozen=True, slots=True)
class Sizes:
    dim: int
    layers: int
    heads: int
    max_audio_tokens: int
    max_text_tokens: int
    max_segment_tokens: int
    vocoder_width: int


@dataclass(frozen=True, slots=True)
class Gpt:
    groups: int
    group_size: int
    steps: int
    warmup: int
    decay: int
    lr: float
    listening: float
    clip_s: list[float]


@dataclass(frozen=True, slots=True)
class Phase:
    steps: int
    lr: float
    decay: int
    weight: float = 0.0


@dataclass(frozen=True, slots=True)
class Vocoder:
    melody: str
    batch: int
    window: int
    warmup: int
    ground_truth: Phase
    latents: Phase
    adversarial: Phase
    latent_shards: int
    default_share: float


@dataclass(frozen=True, slots=True)
class Speaker:
    clips: int
    clip_s: float


@dataclass(frozen=True, slots=True)
class Config:
    """One run; its paths are absolute."""

    folder: Path
    warm_start: Path | None
    sound: Sound
    codes: Codes
    sizes: Sizes
    gpt: Gpt
    vocoder: Vocoder
    speaker: Speaker
    save_every_s: float
    device: str
    threads: int

    @property
    def vocabulary(self) -> Path:
        """The tokenizer file, made by `training.reading`."""
        return self.folder / "vocab.json"

    @property
    def pronunciation(self) -> Path:
        """How words are read, made with it."""
        return self.folder / pronunciation.FILE


def load(path: Path | None = None) -> Config:
    """By default the file that XTTS_TRAINING names, else voice.yaml. Raises ValueError naming a key that is unknown
    or missing."""
    path = path or Path(os.environ.get("XTTS_TRAINING") or DEFAULT)
    config: Config = _build(Config, yaml.safe_load(path.read_text(encoding="utf-8")), str(path))
    return config


def _build(kind: type[Any], values: dict[str, Any], where: str) -> Any:
    hints, known = get_type_hints(kind), {field.name for field in fields(kind)}
    if unknown := set(values) - known:
        raise ValueError(f"{where}: unknown key {', '.join(sorted(unknown))}")
    made = {}
    for name, value in values.items():
        hint = hints[name]
        if is_dataclass(hint):
            value = _build(hint, value, f"{where}: {name}")  # type: ignore[arg-type]
        elif name in ("folder", "warm_start"):
            value = None if value is None else Path(value).expanduser().absolute()
        made[name] = value
    try:
        return kind(**made)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None


__all__ = ["DEFAULT", "Config", "Phase", "load"]
