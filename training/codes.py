"""Stage 2: what the 1,024 audio codes stand for, and the components of a spectrum.

Codes are clusters of the neutral spectra, so they say *what* is spoken and not who speaks; who speaks is left to
the latents. With a warm start they are what the earlier model's codes are (`training.recall`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.config import Config, load
from training.network import NUM_CODES
from training.sound import shard_folder
from training.teacher import Array

_SAMPLE = 150_000


@dataclass(frozen=True, slots=True)
class Codebook:
    """neutral_* for codes: mean [320], axes [320, C], centroids [K, C]. mel_* for features: mean, axes, variances."""

    neutral_mean: Array
    neutral_axes: Array
    centroids: Array
    mel_mean: Array
    mel_axes: Array
    mel_variances: Array

    @classmethod
    def read(cls, config: Config) -> Codebook:
        with np.load(path(config)) as arrays:
            return cls(**{name: arrays[name] for name in cls.__slots__})

    def encode(self, neutral: Array) -> np.ndarray:
        """[N, 320] to codes [N] int16."""
        points = np.asarray((neutral.astype(np.float32) - self.neutral_mean) @ self.neutral_axes, np.float32)
        return _nearest(points, self.centroids)

    def features(self, mel: Array) -> Array:
        """[N, 320] to [N, C]: components, half whitened, the first of unit variance."""
        scale = self.mel_variances**0.25 * self.mel_variances[0] ** 0.25
        return np.asarray((mel.astype(np.float32) - self.mel_mean) @ (self.mel_axes / scale), np.float32)

    def neighbours(self, num: int) -> np.ndarray:
        """[K, num]: the codes that sound most alike, nearest first."""
        square = (self.centroids**2).sum(1)
        distance = square[:, None] + square - 2 * self.centroids @ self.centroids.T
        np.fill_diagonal(distance, np.inf)
        return np.argsort(distance, axis=1)[:, :num]


def path(config: Config) -> Path:
    return config.folder / "codebook.npz"


def make_codebook(config: Config) -> None:
    """From the first shards; nothing to do when it is there."""
    if path(config).is_file():
        return
    shards = list(range(config.codes.num_shards))
    folders = [shard_folder(config, index) for index in shards]
    neutral = np.concatenate([np.load(folder / "neutral.npy") for folder in folders]).astype(np.float32)
    mel = np.concatenate([np.load(folder / "mel.npy") for folder in folders]).astype(np.float32)
    mean, axes, _ = _components(neutral, config.codes.num_components)
    points: Array = np.asarray((neutral - mean) @ axes, np.float32)
    mel_mean, mel_axes, variances = _components(mel, config.codes.num_components)
    made = Codebook(mean, axes, _clusters(points, config.codes.num_passes), mel_mean, mel_axes, variances)
    if config.warm_start is not None:
        from training.recall import recall

        made = recall(config, made, shards, points)
    beside = path(config).with_suffix(".part.npz")
    np.savez(beside, **{name: getattr(made, name) for name in Codebook.__slots__})
    beside.replace(path(config))


def _clusters(points: Array, num_passes: int) -> Array:
    """k-means of [N, C]: [K, C]."""
    some = points[np.random.default_rng(0).permutation(len(points))[:_SAMPLE]]
    centroids = some[:NUM_CODES].copy()
    for _ in tqdm(range(num_passes), desc="codes"):
        centroids = _improved(some, centroids)
    return centroids


def _components(points: Array, num: int) -> tuple[Array, Array, Array]:
    mean = points.mean(0)
    values, vectors = np.linalg.eigh(np.cov((points - mean).T))
    return mean, np.asarray(vectors[:, ::-1][:, :num], np.float32), np.asarray(values[::-1][:num], np.float32)


def _nearest(points: Array, centroids: Array) -> np.ndarray:
    square = (centroids**2).sum(1)
    return np.concatenate([(square - 2 * block @ centroids.T).argmin(1).astype(np.int16) for block in _blocks(points)])


def _blocks(points: Array) -> list[Array]:
    return [points[start : start + 20_000] for start in range(0, len(points), 20_000)]


def _improved(points: Array, centroids: Array) -> Array:
    """One pass of k-means; a cluster that lost all its points stays where it is."""
    nearest = _nearest(points, centroids)
    counts = np.bincount(nearest, minlength=len(centroids))
    sums = np.zeros_like(centroids, np.float64)
    np.add.at(sums, nearest, points)
    return np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centroids).astype(np.float32)


if __name__ == "__main__":
    make_codebook(load())
