"""Weights to a bundle: all graphs, tables and the manifest, in one atomic step.

Needs the `onnx` package; no torch. Which operator int8 means is decided here, by comparing with fp32 on the
weights at hand, and written into the manifest.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtts_rtc.errors import CheckpointError, ConfigError
from xtts_rtc.model.interface import ModelInfo, checked_token_hz
from xtts_rtc.model.onnx import gate
from xtts_rtc.model.onnx.bundle import (
    MANIFEST,
    PRONUNCIATION,
    Manifest,
    SamplingDefaults,
    Tables,
    hash_file,
    is_bundle,
    pack_speakers,
)
from xtts_rtc.model.onnx.conditioning import Conditioner
from xtts_rtc.model.onnx.conditioning_graph import write_conditioning
from xtts_rtc.model.onnx.gpt_graph import OPERATORS, count_layers, write_gpt
from xtts_rtc.model.onnx.speaker_graph import write_speaker_encoder
from xtts_rtc.model.onnx.tables import build_tables, conditioning_key
from xtts_rtc.model.onnx.vocoder_graph import write_vocoder
from xtts_rtc.types import LANGUAGES, MODEL_HZ, Conditioning, Float32

PRECISIONS = ("int8", *OPERATORS)
"""int8: the first of int8-static, int8-row and int8-block that passes the gate on these weights, else the best; with
keys and values in int8 where that passes, else in fp32."""
_INPUT_HEADROOM = 1.2
_KV_HEADROOM = 1.6  # over the largest key or value that the calibration run saw; what is over it saturates

Progress = Callable[[float, str], None]
"""Called with the share done (0 to 1) and what comes next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a bundle is made from besides the weights.

    config: the text of config.json; vocabulary: of vocab.json; pronunciation: the bytes of pronunciation.xz;
    speakers: voices that come with the checkpoint; max_segment_tokens: how much text it speaks well at a time,
    where that is less than it takes; clip and texts: speech [S] at `MODEL_HZ` and token ids that int8 is tried with,
    else something made up.
    """

    config: str
    vocabulary: str
    licence: str
    name: str
    speakers: Mapping[str, Conditioning] = field(default_factory=dict)
    max_segment_tokens: int | None = None
    pronunciation: bytes | None = None
    clip: Float32 | None = None
    texts: Sequence[NDArray[np.int64]] = ()


def write_bundle(
    weights: Mapping[str, Float32],
    source: Source,
    out: Path,
    *,
    precision: str = "int8",
    progress: Progress = lambda share, what: None,
) -> Manifest:
    """Write the bundle `out`; it is there whole or not at all. A bundle that was there is replaced.

    weights: by coqui-tts' names, float32. Raises ConfigError for a precision that does not exist or an `out`
    that holds something else, CheckpointError for weights that are missing, not finite or of other sizes.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"no precision is called {precision!r}; there are {', '.join(PRECISIONS)}")
    if out.exists() and not is_bundle(out) and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there and is not a bundle; choose another place, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        manifest = _fill(folder, _Checked(weights), source, precision, progress)
        _replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    progress(1.0, "done")
    return manifest


def _fill(folder: Path, weights: _Checked, source: Source, precision: str, progress: Progress) -> Manifest:
    folder.chmod(0o755)  # mkdtemp's own is for its owner alone
    progress(0.0, "tables")
    tables = build_tables(weights)
    manifest = _describe(weights, source, precision)
    np.savez(folder / "tables.npz", **{name: getattr(tables, name) for name in Tables.__slots__})
    (folder / "tokenizer.json").write_text(source.vocabulary, encoding="utf-8")
    if source.pronunciation is not None:
        (folder / PRONUNCIATION).write_bytes(source.pronunciation)
    if source.speakers:
        np.savez(folder / "speakers.npz", **pack_speakers(source.speakers))  # type: ignore[arg-type]
    progress(0.05, "conditioning")
    write_conditioning(weights, folder, num_heads=manifest.info.num_heads)
    progress(0.15, "speaker encoder")
    write_speaker_encoder(weights, folder)
    progress(0.2, "vocoder")
    write_vocoder(weights, folder)
    progress(0.3, "GPT")
    trial = _trial(folder, weights, manifest, tables, source)
    manifest = _write_gpt(folder, weights, manifest, tables, trial, precision, progress)
    progress(0.9, "checksums")
    files = {path.name: hash_file(path) for path in sorted(folder.iterdir())}
    manifest = replace(manifest, files=files)
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def _write_gpt(
    folder: Path,
    weights: _Checked,
    manifest: Manifest,
    tables: Tables,
    trial: gate.Trial,
    precision: str,
    progress: Progress,
) -> Manifest:
    """Write the GPT graph; the manifest with what was chosen and its figures against fp32."""
    num_heads = manifest.info.num_heads
    if precision == "fp32":
        write_gpt(weights, folder, num_heads=num_heads, operator="fp32")
        return replace(manifest, operator="fp32")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fp32.") as reference:
        write_gpt(weights, Path(reference), num_heads=num_heads, operator="fp32", is_watched=True)
        progress(0.5, "fp32 for comparison")
        probe = gate.Probe(Path(reference), manifest, tables, trial)
        truth, peaks = probe.run(), probe.peaks()
        del probe
    input_scales = np.maximum(_INPUT_HEADROOM * peaks.inputs, 1e-6).astype(np.float32) / 127
    kv_scales = {"int8": np.maximum(_KV_HEADROOM * peaks.kv, 1e-6).astype(np.float32) / 127, "fp32": None}

    def write(chosen: Manifest) -> None:
        scales = {"kv_scales": kv_scales[chosen.kv], "input_scales": input_scales}
        write_gpt(weights, folder, num_heads=num_heads, operator=chosen.operator, **scales)

    operators = ("int8-static", "int8-row", "int8-block") if precision == "int8" else (precision,)
    tried: list[Manifest] = []
    for operator, kv in product(operators, kv_scales):
        progress(0.6 + 0.04 * len(tried), f"GPT as {operator}, keys and values as {kv}")
        found = replace(manifest, operator=operator, kv=kv)
        write(found)
        quality = gate.compare(truth, gate.Probe(folder, found, tables, trial).run(truth.tokens))
        tried.append(replace(found, quality=quality))
        wanted = gate.MIN_STATIC_COSINE if operator == "int8-static" else gate.MIN_COSINE
        if quality.latent_cosine_mean >= wanted:
            return tried[-1]
    best = max(tried, key=lambda one: one.quality.latent_cosine_mean if one.quality else 0.0)
    if best is not tried[-1]:
        write(best)
    return best


def _trial(folder: Path, weights: _Checked, manifest: Manifest, tables: Tables, source: Source) -> gate.Trial:
    """Of what the source brings; its conditioning graphs are in `folder` already."""
    if source.clip is None or len(source.texts) < 2:
        gamma = weights["gpt.conditioning_perceiver.norm.gamma"]
        return gate.made_up(manifest, tables.text_embedding.shape[0], gamma)
    voice = Conditioning("trial", *Conditioner(folder, tables)([source.clip]))
    return gate.Trial(voice, tuple(ids[: manifest.info.max_text_tokens] for ids in source.texts))


def _describe(weights: _Checked, source: Source, precision: str) -> Manifest:
    """The manifest but for what is only known later. Sizes are read off the weights."""
    config, ids = _parse(source)
    arguments = config.get("model_args", {})
    num_tokens, dim = weights["gpt.mel_head.weight"].shape
    num_heads = int(arguments.get("gpt_n_heads", 16))
    if dim % num_heads or (dim // num_heads) % 8:
        raise CheckpointError(f"config.json says {num_heads} heads, which does not fit a width of {dim}")
    info = ModelInfo(
        num_layers=count_layers(weights),
        num_heads=num_heads,
        dim=dim,
        num_audio_tokens=num_tokens,
        start_audio_token=int(arguments.get("gpt_start_audio_token", 1024)),
        stop_audio_token=int(arguments.get("gpt_stop_audio_token", 1025)),
        # coqui-tts: the tables have 3 rows more than gpt_max_audio_tokens, of which 3 less are generated, and
        # 2 more than gpt_max_text_tokens, below which the number of ids must stay.
        max_audio_tokens=weights["gpt.mel_pos_embedding.emb.weight"].shape[0] - 6,
        max_text_tokens=weights["gpt.text_pos_embedding.emb.weight"].shape[0] - 3,
        num_prefix=weights["gpt.conditioning_perceiver.latents"].shape[0],
        token_hz=checked_token_hz(arguments.get("input_sample_rate", MODEL_HZ)),
    )
    _check_ids(info, max(ids.values()) + 1, weights["gpt.text_embedding.weight"].shape[0])
    defaults = SamplingDefaults()
    return Manifest(
        info=info,
        precision=precision,
        operator="fp32",
        start_text_token=ids["[START]"],
        stop_text_token=ids["[STOP]"],
        conditioning_key=conditioning_key(weights),
        licence=source.licence,
        source=source.name,
        max_segment_tokens=source.max_segment_tokens,
        languages=tuple(config.get("languages") or LANGUAGES),
        sampling=SamplingDefaults(**{name: config.get(name, getattr(defaults, name)) for name in defaults.__slots__}),
    )


def _check_ids(info: ModelInfo, num_ids: int, num_texts: int) -> None:
    """That no id of vocab.json or config.json is one that the weights lack."""
    if num_ids > num_texts or max(info.start_audio_token, info.stop_audio_token) >= info.num_audio_tokens:
        raise CheckpointError(
            f"the weights have {num_texts} text and {info.num_audio_tokens} audio tokens; vocab.json has {num_ids},"
            f" config.json starts and stops with {info.start_audio_token} and {info.stop_audio_token}:"
            " use files of one model"
        )


def _parse(source: Source) -> tuple[dict[str, Any], dict[str, int]]:
    """The config, and the ids of the vocabulary."""
    try:
        config = json.loads(source.config)
        vocabulary = json.loads(source.vocabulary)
        ids = dict(vocabulary["model"]["vocab"])
        ids |= {token["content"]: token["id"] for token in vocabulary.get("added_tokens") or ()}
        missing = {"[START]", "[STOP]"} - ids.keys()
        if config.get("model") != "xtts" or missing:
            raise ValueError(f'no "model": "xtts", or no {" ".join(sorted(missing))}')
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"config.json or vocab.json is not of an XTTS model ({error}); copy them again") from None
    return config, ids


def _replace(folder: Path, out: Path) -> None:
    """Put the finished folder in the place of `out`."""
    if not out.exists():
        os.rename(folder, out)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
    os.rename(out, aside / "bundle")
    os.rename(folder, out)
    shutil.rmtree(aside, ignore_errors=True)


class _Checked(Mapping[str, Float32]):
    """Weights that say clearly what is missing or not finite."""

    def __init__(self, weights: Mapping[str, Float32]) -> None:
        self._weights = weights

    def __getitem__(self, name: str) -> Float32:
        try:
            weight = self._weights[name]
        except KeyError:
            raise CheckpointError(f"the weights have no {name}: not an XTTS v2 checkpoint, or not all of it") from None
        if not np.isfinite(weight).all():
            raise CheckpointError(f"{name} holds NaN or infinity; the file is damaged, copy it again")
        return weight

    def __contains__(self, name: object) -> bool:
        return name in self._weights

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def get(self, name: str, default: Any = None) -> Any:
        """Mapping's own catches KeyError, which is a CheckpointError here."""
        return self[name] if name in self else default


__all__ = ["PRECISIONS", "Progress", "Source", "write_bundle"]
