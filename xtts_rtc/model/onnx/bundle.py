"""The bundle: a folder of graphs, tables and a tokenizer that runs XTTS v2 without torch.

    manifest.json                             sizes, precision, checksums, licence, quality (`Manifest`)
    tokenizer.json                            the checkpoint's vocab.json, unchanged
    pronunciation.xz                          how words are read, if the model reads phonemes; unchanged
    tables.npz                                embeddings, positions and the encoders' constants (`Tables`)
    gpt.onnx, gpt.data                        one step of the GPT body
    vocoder.onnx, vocoder_<part>.onnx, vocoder.data
    conditioning.onnx/.data, speaker.onnx/.data    what cloning a voice needs
    speakers.npz                              voices that came with the checkpoint, if any

Reading needs numpy alone. Writing is in `write.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from xtts_rtc.errors import CheckpointError
from xtts_rtc.model.interface import ModelInfo
from xtts_rtc.types import Conditioning, Float32

FORMAT = 4
MANIFEST = "manifest.json"
PRONUNCIATION = "pronunciation.xz"
KIND = "xtts-rtc bundle"
"""Tells a bundle's manifest from that of other folders: a checkpoint may bring a manifest.json of its own."""
_HASH_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of the bundle: its length and the sha256 of its bytes in hex."""

    num_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The GPT graph against fp32 on the same weights and teacher-forced random tokens.

    Cosines are of the latents, per position; `logit_kl_max` is in nats at temperature 1.
    """

    num_steps: int
    latent_cosine_mean: float
    latent_cosine_min: float
    logit_kl_max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingDefaults:
    """What the checkpoint's config.json says; the published values where it is silent."""

    temperature: float = 0.75
    repetition_penalty: float = 5.0
    top_k: int = 50
    top_p: float = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle says of itself.

    `operator` is one of `OPERATORS` in gpt_graph.py, `precision` what was asked for, `kv` how keys and values are
    kept: int8 (one scale per channel, from a calibration run) or fp32. `conditioning_key` hashes
    the weights that a voice's conditioning depends on: kept voices are good as long as it is equal.
    `max_segment_tokens` is how much text it speaks well at a time, where that is less than `info.max_text_tokens`.
    """

    info: ModelInfo
    precision: str
    operator: str
    start_text_token: int
    stop_text_token: int
    conditioning_key: str
    licence: str
    source: str
    languages: tuple[str, ...]
    sampling: SamplingDefaults = field(default_factory=SamplingDefaults)
    quality: Quality | None = None
    max_segment_tokens: int | None = None
    kv: str = "fp32"
    files: dict[str, FileEntry] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of manifest.json."""
        return json.dumps({"format": FORMAT, "kind": KIND, **asdict(self)}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Raises ValueError, TypeError or KeyError for anything that `to_json` did not write."""
        values = json.loads(text)
        if values.pop("kind", None) != KIND:
            raise ValueError("it is not the manifest of a bundle")
        version = values.pop("format")
        if version != FORMAT:
            raise ValueError(f"format {version} is not {FORMAT}, the one read here; convert the checkpoint again")
        values["info"] = ModelInfo(**values["info"])
        values["sampling"] = SamplingDefaults(**values["sampling"])
        values["quality"] = Quality(**values["quality"]) if values["quality"] else None
        values["files"] = {name: FileEntry(**entry) for name, entry in values["files"].items()}
        values["languages"] = tuple(values["languages"])
        return cls(**values)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Tables:
    """What is looked up instead of computed, float32.

    text_embedding [text ids, D], text_positions, mel_embedding [V, D], mel_positions, mel_stats [80],
    speaker_emphasis [2], speaker_window [400] and speaker_filters [257, 64] of the speaker encoder's front end.
    """

    text_embedding: Float32
    text_positions: Float32
    mel_embedding: Float32
    mel_positions: Float32
    mel_stats: Float32
    speaker_emphasis: Float32
    speaker_window: Float32
    speaker_filters: Float32


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle, its files checked."""

    path: Path
    manifest: Manifest

    def tables(self) -> Tables:
        """Read tables.npz. Raises CheckpointError."""
        try:
            with np.load(self.path / "tables.npz", allow_pickle=False) as arrays:
                return Tables(**{name: np.asarray(arrays[name], np.float32) for name in Tables.__slots__})
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise CheckpointError(f"{self.path / 'tables.npz'} cannot be read: {error}. Convert again") from None

    def vocabulary(self) -> str:
        """The text of tokenizer.json."""
        return (self.path / "tokenizer.json").read_text(encoding="utf-8")

    def pronunciation(self) -> bytes | None:
        """What pronunciation.xz holds, if there is one."""
        return (self.path / PRONUNCIATION).read_bytes() if PRONUNCIATION in self.manifest.files else None

    def speakers(self) -> dict[str, Conditioning]:
        """The voices that came with the checkpoint, by name; empty for most."""
        if "speakers.npz" not in self.manifest.files:
            return {}
        with np.load(self.path / "speakers.npz", allow_pickle=False) as arrays:
            return unpack_speakers(arrays)


def pack_speakers(speakers: Mapping[str, Conditioning]) -> dict[str, Float32]:
    """Voices as the arrays of speakers.npz, two a voice, named by its key and its name."""
    arrays: dict[str, Float32] = {}
    for name, voice in speakers.items():
        arrays[f"{voice.key}/latents/{name}"] = voice.gpt_latents
        arrays[f"{voice.key}/embedding/{name}"] = voice.speaker_embedding
    return arrays


def unpack_speakers(arrays: Mapping[str, Float32]) -> dict[str, Conditioning]:
    """The reverse of `pack_speakers`."""
    voices = {}
    for entry in arrays:
        key, part, name = entry.split("/", 2)
        if part == "latents":
            voices[name] = Conditioning(key, arrays[entry], arrays[f"{key}/embedding/{name}"])
    return voices


def is_bundle(path: Path) -> bool:
    """Whether the folder has the manifest of a bundle (its files may still be damaged)."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("kind") == KIND


def open_bundle(path: Path, *, is_checked: bool = True) -> Bundle:
    """Read the manifest and check every file's length and, unless told otherwise, its checksum.

    Checking reads all files once (0.3 s for the full size with warm files). Raises CheckpointError naming the
    file that is missing, cut or changed.
    """
    try:
        manifest = Manifest.from_json((path / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path} has no {MANIFEST}: it is not a bundle; make one with xtts-rtc convert") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path / MANIFEST} cannot be used: {error}") from None
    for name, entry in sorted(manifest.files.items()):
        _check(path, name, entry, is_checked)
    return Bundle(path, manifest)


def hash_file(path: Path) -> FileEntry:
    """Length and checksum of a file."""
    digest, num_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK_BYTES):
            digest.update(block)
            num_bytes += len(block)
    return FileEntry(num_bytes=num_bytes, sha256=digest.hexdigest())


def _check(folder: Path, name: str, entry: FileEntry, is_checked: bool) -> None:
    if Path(name).name != name:
        raise CheckpointError(f"{folder / MANIFEST} names a file outside the bundle; it was tampered with")
    path = folder / name
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; copy the bundle again or convert the checkpoint again")
    if (found := path.stat().st_size) != entry.num_bytes:
        raise CheckpointError(f"{path} has {found} bytes instead of {entry.num_bytes}: cut short; copy it again")
    if is_checked and hash_file(path).sha256 != entry.sha256:
        raise CheckpointError(f"{path} was changed: its checksum is not the manifest's; copy the bundle again")


__all__ = [
    "FORMAT",
    "KIND",
    "MANIFEST",
    "Bundle",
    "FileEntry",
    "Manifest",
    "Quality",
    "SamplingDefaults",
    "Tables",
    "hash_file",
    "is_bundle",
    "open_bundle",
    "pack_speakers",
    "unpack_speakers",
]
