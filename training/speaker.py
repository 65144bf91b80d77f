"""Stage 3a: the speaker encoder, in closed form.

The ResNet keeps its random filters; its batch norms are given the statistics of speech, and its last layer is
solved for, so that the cosine of two clips falls with the distance of their speakers. A good code of *who speaks*
needs no more here: the training set knows how its speakers differ.

    python -m training.speaker
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from training import state
from training.config import Config, load
from training.corpus import Corpus, held_out_shards, shards_there
from training.network import build

HZ = 16_000
CLIPS = 3
_BATCH = 8
_LENGTH = 0.5
"""Speakers one such unit apart (units: see `_coordinates`) have a cosine of 0.14."""


def checkpoint(config: Config) -> Path:
    return config.folder / "speaker.pt"


def fit(config: Config) -> None:
    """Solve for the last layer, or keep an earlier model's encoder, which its vocoder knows; nothing to do when that
    was done."""
    if checkpoint(config).is_file():
        return
    torch.set_num_threads(config.threads)
    encoder = build(config).hifigan_decoder.speaker_encoder
    if config.warm_start is not None:
        state.save(checkpoint(config), {"encoder": encoder.state_dict()})
        return
    corpus = Corpus.read(config, held_out_shards(config) + shards_there(config))
    rng, seconds = np.random.default_rng(0), config.speaker.clip_s
    _coarsen(encoder)
    _settle(encoder, corpus, min(16, config.speaker.clips // _BATCH), rng, seconds)
    owners = np.arange(config.speaker.clips) % len(corpus.speakers)
    pooled = _pooled(encoder, corpus, owners, rng, seconds)
    wanted = _targets(np.array([_coordinates(s) for s in corpus.speakers]))[owners]
    num = int(len(owners) * 0.85)
    weight, bias = _solve(pooled[:num], wanted[:num])
    found = nn.functional.normalize(pooled[num:] @ weight.T + bias, dim=1)
    right = (found @ nn.functional.normalize(wanted, dim=1).T).argmax(1)
    same = [corpus.speakers[owners[int(r)]] == corpus.speakers[owners[num + i]] for i, r in enumerate(right)]
    print(
        f"cosine to the right embedding {float((found * wanted[num:]).sum(1).mean()):.3f}, nearest {np.mean(same):.1%}"
    )
    with torch.no_grad():
        encoder.fc.weight.copy_(weight)
        encoder.fc.bias.copy_(bias)
    state.save(checkpoint(config), {"encoder": encoder.state_dict()})


def embeddings(config: Config, corpus: Corpus) -> Tensor:
    """Of each of the corpus's speakers, from different clips: [speakers, CLIPS, 512]. Kept beside the encoder."""
    path = checkpoint(config).with_name("embeddings.pt")
    known = state.read(path) or {}
    missing = [owner for owner, facts in enumerate(corpus.speakers) if facts not in known]
    if missing:
        encoder = build(config).hifigan_decoder.speaker_encoder
        fitted = state.read(checkpoint(config))
        assert fitted is not None, "python -m training.speaker comes first"
        encoder.load_state_dict(fitted["encoder"])
        rng = np.random.default_rng(2)
        for owner in tqdm(missing, desc="embeddings", mininterval=10):
            clips = _clips(corpus, np.full(CLIPS, owner), rng, config.speaker.clip_s)
            with torch.no_grad():
                known.setdefault(corpus.speakers[owner], encoder(clips, l2_norm=True))
        state.save(path, known)
    return torch.stack([known[facts] for facts in corpus.speakers])


def _coordinates(speaker: tuple[str, float, float, float]) -> list[float]:
    """Vocal tract in units of 12 %, pitch in units of 8 %; the pace is no matter for the vocoder."""
    _, formant, pitch, _ = speaker
    return [np.log(formant) / 0.12, np.log(pitch) / 0.08]


def _targets(places: np.ndarray) -> Tensor:
    """Random Fourier features, unit length: a cosine of exp(-distance^2 / (2 length^2))."""
    rng = np.random.default_rng(1)
    turns, shift = rng.standard_normal((places.shape[1], 512)) / _LENGTH, rng.uniform(0, 2 * np.pi, 512)
    return nn.functional.normalize(torch.from_numpy(np.cos(places @ turns + shift)).float(), dim=1)


def _clips(corpus: Corpus, owners: np.ndarray, rng: np.random.Generator, seconds: float) -> Tensor:
    return torch.from_numpy(np.stack([corpus.clip(rng, int(o), seconds, HZ, set()) for o in owners]))


@torch.no_grad()
def _coarsen(encoder: Any) -> None:
    """Filters of two values: as random as any other, and a sixteenth of the size once they are packed."""
    for layer in encoder.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d):
            size = layer.weight.pow(2).mean().sqrt().bfloat16().float()
            layer.weight.copy_(torch.where(layer.weight < 0, -size, size))


@torch.no_grad()
def _settle(encoder: Any, corpus: Corpus, num: int, rng: np.random.Generator, seconds: float) -> None:
    """Give the batch norms the statistics of speech."""
    norms = [m for m in encoder.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    encoder.train()
    for _ in tqdm(range(num), desc="norms"):
        encoder(_clips(corpus, rng.integers(0, len(corpus.speakers), _BATCH), rng, seconds))
    encoder.eval()


@torch.no_grad()
def _pooled(encoder: Any, corpus: Corpus, owners: np.ndarray, rng: np.random.Generator, seconds: float) -> Tensor:
    """What the last layer gets, [clips, 4096]."""
    kept: list[Tensor] = []
    hook = encoder.fc.register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0].clone()))
    for start in tqdm(range(0, len(owners), _BATCH), desc="speakers", mininterval=10):
        encoder(_clips(corpus, owners[start : start + _BATCH], rng, seconds))
    hook.remove()
    return torch.cat(kept)


def _solve(pooled: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Ridge regression in the space of the clips, of which there are fewer than inputs."""
    mean, centre = pooled.mean(0), wanted.mean(0)
    spread = pooled.std(0) + 1e-5
    x = ((pooled - mean) / spread).double()
    kernel = x @ x.T
    strength = 0.03 * kernel.diagonal().mean()
    weight = (x.T @ torch.linalg.solve(kernel + strength * torch.eye(len(x)), (wanted - centre).double())).T.float()
    weight = weight / spread
    return weight, centre - weight @ mean


if __name__ == "__main__":
    fit(load())
