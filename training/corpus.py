"""The shards that are there, as batches of padded tensors."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.codes import Codebook
from training.config import Config
from training.network import START, START_TEXT, STOP
from training.sound import shard_folder
from training.teacher import HZ, PARTS, TOKEN, Array

MODEL_HZ = 22_050


@dataclass(slots=True)
class Batch:
    """B utterances of G speakers, B / G each, in the order of the speakers.

    text [B, T] with start and stop, text_lengths [B]; codes [B, M] the targets (-1 where there is none, STOP after
    the last), lengths [B]; inputs [B, M] what the model is fed; places [B, M]; features [B, M, C]; f0 [B, M, 8];
    phones [B, M, 2]; rows are utterance numbers, speakers [G] speaker numbers.
    """

    text: Tensor
    text_lengths: Tensor
    codes: Tensor
    lengths: Tensor
    inputs: Tensor
    places: Tensor
    features: Tensor
    f0: Tensor
    phones: Tensor
    rows: NDArray[np.int64]
    speakers: NDArray[np.int64]

    def to(self, device: str) -> Batch:
        """The same with its tensors there."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: x.to(device) if isinstance(x, Tensor) else x for name, x in values.items()}
        return Batch(**moved)


@dataclass(slots=True)
class Corpus:
    """Everything but the audio is in memory, about 230 MB for 15 hours."""

    texts: list[str] = field(default_factory=list)
    ids: list[NDArray[np.int64]] = field(default_factory=list)
    codes: list[NDArray[np.int16]] = field(default_factory=list)
    unrepeated: list[NDArray[np.int16]] = field(default_factory=list)
    features: list[NDArray[np.float16]] = field(default_factory=list)
    f0: list[NDArray[np.float16]] = field(default_factory=list)
    phones: list[NDArray[np.int16]] = field(default_factory=list)
    places: list[NDArray[np.int16]] = field(default_factory=list)
    pcm: list[NDArray[np.int16]] = field(default_factory=list)
    flat: list[NDArray[np.int16]] = field(default_factory=list)
    speaker_of: list[int] = field(default_factory=list)
    speakers: list[tuple[str, float, float, float]] = field(default_factory=list)
    of_speaker: list[list[int]] = field(default_factory=list)

    @classmethod
    def read(cls, config: Config, shards: list[int], book: Codebook | None = None) -> Corpus:
        corpus, book = cls(), book or Codebook.read(config)
        near = book.neighbours(24)
        for index in shards:
            corpus._add(shard_folder(config, index), book, near)
        return corpus

    def __len__(self) -> int:
        return len(self.texts)

    def _add(self, folder: Path, book: Codebook, near: NDArray[np.int64]) -> None:
        facts = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        arrays = {name: np.load(folder / f"{name}.npy") for name in ("neutral", "mel", "f0", "phones", "places")}
        pcm = np.load(folder / "pcm.npy", mmap_mode="r")
        flat = np.load(folder / "flat.npy", mmap_mode="r") if (folder / "flat.npy").is_file() else pcm[:0]
        codes, features = book.encode(arrays["neutral"]), book.features(arrays["mel"]).astype(np.float16)
        first_speaker, at, sample = len(self.speakers), 0, 0
        self.speakers += [tuple(entry) for entry in facts["speakers"]]
        self.of_speaker += [[] for _ in facts["speakers"]]
        for entry in facts["utterances"]:
            here = slice(at, at + entry["tokens"])
            speaker = first_speaker + entry["speaker"]
            self.of_speaker[speaker].append(len(self.texts))
            self.speaker_of.append(speaker)
            self.texts.append(entry["text"])
            self.ids.append(np.array(entry["ids"]))
            self.codes.append(codes[here])
            self.unrepeated.append(_unrepeated(codes[here], near))
            self.features.append(features[here])
            self.f0.append(_filled(arrays["f0"][here]))
            self.phones.append(arrays["phones"][here])
            self.places.append(arrays["places"][here])
            self.pcm.append(pcm[sample : sample + entry["samples"]])
            self.flat.append(flat[sample : sample + entry["samples"]])
            at, sample = here.stop, sample + entry["samples"]

    def order(self, rng: np.random.Generator, groups: int, size: int) -> list[list[int]]:
        """One pass: batches of `groups` x `size` utterances, a group of one speaker, all of about equal length."""
        bundles = []
        for own in self.of_speaker:
            key = np.array([len(self.codes[i]) for i in own]) + rng.uniform(-6, 6, len(own))
            ranked = [own[i] for i in np.argsort(key)]
            first = int(rng.integers(0, len(ranked) % size + 1))
            bundles += [ranked[start : start + size] for start in range(first, len(ranked) - size + 1, size)]
        lengths = np.array([max(len(self.codes[i]) for i in bundle) for bundle in bundles])
        ranked_bundles = np.argsort(lengths + rng.uniform(-8, 8, len(bundles)))
        batches = [ranked_bundles[i : i + groups] for i in range(0, len(bundles) - groups + 1, groups)]
        return [[row for b in batches[i] for row in bundles[b]] for i in rng.permutation(len(batches))]

    def batch(self, rows: list[int], groups: int) -> Batch:
        num_text = _up(max(len(self.ids[i]) for i in rows) + 2, 4)
        num = _up(max(len(self.codes[i]) for i in rows) + 1, 8)
        count, width = len(rows), self.features[0].shape[1]
        text, codes = torch.zeros(count, num_text, dtype=torch.long), torch.full((count, num), -1)
        inputs, places = torch.full((count, num), START), torch.zeros(count, num, dtype=torch.long)
        features, f0 = torch.zeros(count, num, width), torch.zeros(count, num, 8)
        phones = torch.full((count, num, 2), -1)
        for b, i in enumerate(rows):
            ids, length = self.ids[i], len(self.codes[i])
            text[b, 0] = START_TEXT
            text[b, 1 : len(ids) + 1] = torch.from_numpy(ids)
            codes[b, :length] = torch.from_numpy(self.codes[i]).long()
            inputs[b, 1 : length + 1] = codes[b, :length]
            codes[b, length] = STOP
            places[b, :length] = torch.from_numpy(self.places[i]).long()
            places[b, length] = len(ids) + 1
            features[b, :length] = torch.from_numpy(self.features[i]).float()
            f0[b, :length] = torch.from_numpy(self.f0[i]).float()
            phones[b, :length] = torch.from_numpy(self.phones[i]).long()
        lengths = torch.tensor([len(self.codes[i]) + 1 for i in rows])
        text_lengths = torch.tensor([len(self.ids[i]) + 2 for i in rows])
        owners = np.array([self.speaker_of[rows[g * (count // groups)]] for g in range(groups)])
        return Batch(
            text, text_lengths, codes, lengths, inputs, places, features, f0, phones, np.array(rows), owners
        )  # fmt: skip

    def clip(self, rng: np.random.Generator, speaker: int, seconds: float, hz: int, avoid: set[int]) -> Array:
        """So many seconds of a speaker at `hz`, of other utterances than those to avoid where there are enough."""
        own = self.of_speaker[speaker]
        free = [i for i in own if i not in avoid] or own
        parts: list[Any] = []
        while sum(map(len, parts)) < (seconds + 0.5) * HZ:
            parts.append(self.pcm[int(rng.choice(free))])
        joined = np.concatenate(parts).astype(np.float32) / 32767
        start = int(rng.integers(0, joined.size - int(seconds * HZ)))
        return np.asarray(soxr.resample(joined[start : start + int(seconds * HZ)], HZ, hz), np.float32)


def excerpt(pcm: NDArray[np.int16], start: int, length: int) -> Array:
    """Samples [start, start + length) of an utterance, silence outside of it."""
    out = np.zeros(length, np.float32)
    low, high = max(start, 0), min(start + length, len(pcm))
    if high > low:
        out[low - start : high - start] = pcm[low:high].astype(np.float32) / 32767
    return out


def shards_there(config: Config) -> list[int]:
    """Those to train on."""
    return [i for i in range(config.sound.held_out_shards, config.sound.num_shards) if shard_folder(config, i).is_dir()]


def held_out_shards(config: Config) -> list[int]:
    return list(range(config.sound.held_out_shards))


def _filled(f0: NDArray[np.float16]) -> NDArray[np.float16]:
    """The fundamental drawn through where there is none: what lies between two tokens is interpolated, and half-way
    to a zero is no pitch at all."""
    log, voiced = f0[:, :PARTS].astype(np.float32).reshape(-1), f0[:, PARTS:].reshape(-1) > 0.5
    if voiced.any():
        log = np.interp(np.arange(log.size), np.flatnonzero(voiced), log[voiced]).astype(np.float32)
    return np.concatenate([log.reshape(-1, PARTS), f0[:, PARTS:]], axis=1).astype(np.float16)


def _unrepeated(codes: NDArray[np.int16], near: NDArray[np.int64]) -> NDArray[np.int16]:
    """Each code the first time only, then the nearest one that was not used: what a repetition penalty makes of it."""
    out, used = codes.copy(), set[int]()
    for index, code in enumerate(codes.tolist()):
        if code in used:
            code = next((int(other) for other in near[code] if int(other) not in used), code)
        out[index] = code
        used.add(code)
    return out


def _up(number: int, step: int) -> int:
    return -(-number // step) * step


__all__ = ["HZ", "MODEL_HZ", "TOKEN", "Batch", "Corpus", "excerpt", "held_out_shards", "shards_there"]
