"""Stage 2: what the 1,024 audio codes stand for, and the components of a spectrum.

Codes are clusters of the neutral spectra, so they say *what* is spoken and not who speaks; who speaks is left to
the latents. With a warm start the clusters begin where the earlier model's codes sound.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.config import Config, load
from training.network import NUM_CODES
from training.sound import shard_folder
from training.teacher import TOKEN, Array, log_mel
from training.text import Writer

_NUM_LISTENED = 420
_MIN_HEARD = 4
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
    folders = [shard_folder(config, index) for index in range(config.codes.num_shards)]
    neutral = np.concatenate([np.load(folder / "neutral.npy") for folder in folders]).astype(np.float32)
    mel = np.concatenate([np.load(folder / "mel.npy") for folder in folders]).astype(np.float32)
    rng = np.random.default_rng(0)
    mean, axes, _ = _components(neutral, config.codes.num_components)
    points: Array = np.asarray((neutral - mean) @ axes, np.float32)[rng.permutation(len(neutral))[:_SAMPLE]]
    centroids = points[rng.permutation(len(points))[:NUM_CODES]].copy()
    if config.warm_start is not None:
        heard, counts = listen(config.warm_start, _NUM_LISTENED)
        known = counts >= _MIN_HEARD
        centroids[known] = (heard[known] - mean) @ axes
        print(f"{known.sum()} of {NUM_CODES} codes of the earlier model were heard")
    for _ in tqdm(range(config.codes.num_passes), desc="codes"):
        centroids = _improved(points, centroids)
    mel_mean, mel_axes, variances = _components(mel, config.codes.num_components)
    made = Codebook(mean, axes, centroids, mel_mean, mel_axes, variances)
    beside = path(config).with_suffix(".part.npz")
    np.savez(beside, **{name: getattr(made, name) for name in Codebook.__slots__})
    beside.replace(path(config))


def listen(folder: Path, num: int) -> tuple[Array, np.ndarray]:
    """Let an earlier model speak, and average what each code sounded like: [K, 320] and how often [K].

    Its latent j sounds like code j - 1, the one it has just seen.
    """
    from xtts_rtc.engine.conversion import DEFAULT_CLIP
    from xtts_rtc.engine.runtimes import ModelChoice, load_runtime
    from xtts_rtc.types import Conditioning
    from xtts_rtc.voices.clip import read_clip

    cache = Path("~/.cache/xtts-rtc-training/bundles").expanduser()
    loaded = load_runtime(ModelChoice(name=str(folder), device="cpu"), num_slots=1, cache_dir=cache)
    voice = Conditioning("clip", *loaded.runtime.condition([read_clip(DEFAULT_CLIP).pcm]))
    sums, counts = np.zeros((NUM_CODES, 320)), np.zeros(NUM_CODES, int)
    writer = Writer(77, max_chars=70)
    for seed in tqdm(range(num), desc="listening", mininterval=10):
        ids = np.array(loaded.frontend.encode(writer.sentence(), "en"))
        codes, pcm = _speak(loaded.runtime, voice, ids, seed)
        centres = np.round((np.arange(4, 4 * len(codes)) + 0.5) * TOKEN / 4).astype(int)  # from token 1 on
        if len(codes) > 2:
            np.add.at(sums, codes[:-1], log_mel(pcm, centres))
            np.add.at(counts, codes[:-1], 1)
    return np.asarray(sums / np.maximum(counts, 1)[:, None], np.float32), counts


def _speak(runtime, voice, ids: np.ndarray, seed: int) -> tuple[np.ndarray, Array]:  # type: ignore[no-untyped-def]
    """Codes without the stop, and the audio, at the published sampling defaults but no penalty."""
    from xtts_rtc.model.sampling import choose_token, new_history
    from xtts_rtc.model.window import LatentWindow
    from xtts_rtc.types import SamplingParams

    info, rng, sampling = runtime.info, np.random.default_rng(seed), SamplingParams(repetition_penalty=1.0)
    window, codes = LatentWindow(), list[int]()
    seen = new_history(info.num_audio_tokens, info.start_audio_token)
    latent, logits = runtime.prefill(0, voice, ids)
    while True:
        window.append(latent.copy())
        noise = np.maximum(rng.standard_exponential(info.num_audio_tokens, np.float32), np.float32(1e-30))
        token = choose_token(logits.copy(), seen, sampling, noise)
        if token == info.stop_audio_token or len(codes) > 200:
            break
        codes.append(token)
        latents, all_logits = runtime.step(np.zeros(1, np.int64), np.array([token]))
        latent, logits = latents[0], all_logits[0]
    runtime.release(0)
    whole = window.take(is_end=True)
    assert whole is not None
    return np.array(codes), runtime.decode(whole.frames, voice)


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
