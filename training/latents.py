"""Stage 4: what the GPT hands to the vocoder, for real speech: its latents with the true codes given.

    python -m training.latents

Half of the utterances are fed as they are, half as a repetition penalty would have changed them. One file for each
state of the GPT, in the order of its steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from training import state
from training.codes import Codebook
from training.config import Config, load
from training.corpus import MODEL_HZ, Corpus, shards_there
from training.gpt import Student, spoiled
from training.gpt import checkpoint as gpt_checkpoint
from training.speakers import Speaker
from training.teacher import PARTS, Teacher

_GROUP = 16
_CLIP_S = 4.0
_RIDGE = 1e-4


@dataclass(frozen=True, slots=True)
class Latents:
    """Of the first utterances of a corpus: values [sum, D] float16 and where each utterance begins [U + 1].

    weight [C, D], bias [C]: the features of the frame before, as far as they are a linear function of a latent.
    pcm, pcm_begins: with `melody: own` the audio of all, sung on the melody that the latents know, and where each
    utterance's begins.
    """

    step: int
    shards: list[int]
    values: Tensor
    begins: np.ndarray
    weight: Tensor
    bias: Tensor
    pcm_begins: np.ndarray
    pcm: np.ndarray

    def audio(self, row: int) -> np.ndarray:
        """int16 [S]."""
        return self.pcm[self.pcm_begins[row] : self.pcm_begins[row + 1]]

    def of(self, row: int) -> Tensor:
        return self.values[self.begins[row] : self.begins[row + 1]]


def folder(config: Config) -> Path:
    return config.folder / "latents"


def newest(config: Config) -> Latents | None:
    """Of the GPT that is there: what another run left of later steps is passed over."""
    kept = state.read(gpt_checkpoint(config))
    own = [path for path in folder(config).glob("*.pt") if kept is not None and int(path.stem) <= kept["step"]]
    return read(max(own, default=None))


def of_step(config: Config, step: int) -> Latents | None:
    return read(folder(config) / f"{step:07d}.pt")


def read(path: Path | None) -> Latents | None:
    kept = None if path is None else state.read(path)
    if path is None or kept is None:
        return None
    sung = path.with_suffix(".npy")
    return Latents(**kept, pcm=np.load(sung, mmap_mode="r") if sung.is_file() else np.zeros(0, np.int16))


@torch.no_grad()
def make(config: Config) -> None:
    """For the GPT as it is now; nothing to do when they are there."""
    torch.set_num_threads(config.threads)
    kept = state.read(gpt_checkpoint(config))
    assert kept is not None, "python -m training.gpt comes first"
    path = folder(config) / f"{kept['step']:07d}.pt"
    if path.is_file():
        return
    student = averaged(config, kept)
    shards = shards_there(config)[: config.vocoder.latent_shards]
    corpus = Corpus.read(config, shards)
    parts = speak(config, student, corpus)
    begins = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    values = torch.cat(parts)
    weight, bias = linear_map(values.float(), *before(corpus, parts))
    folder(config).mkdir(exist_ok=True)
    sung = sing(config, corpus, parts) if config.vocoder.melody == "own" else []
    if sung:
        np.save(path.with_suffix(".npy"), np.concatenate(sung))
    made = {
        "step": kept["step"], "shards": shards, "values": values, "begins": begins, "weight": weight, "bias": bias,
        "pcm_begins": np.concatenate([[0], np.cumsum([len(pcm) for pcm in sung])]),
    }  # fmt: skip
    state.save(path, made)


def averaged(config: Config, kept: dict[str, object]) -> Student:
    """The GPT with its averaged weights."""
    student = Student(config)
    student.gpt.load_state_dict(kept["average"], strict=False)  # buffers are not averaged; there are none that matter
    return student


def speak(config: Config, student: Student, corpus: Corpus) -> list[Tensor]:
    """Latents [N + 1, D] float16 of each utterance, the stop's included."""
    near = torch.from_numpy(Codebook.read(config).neighbours(8))
    rng, found = np.random.default_rng(3), [torch.zeros(0)] * len(corpus)
    for own in tqdm(corpus.of_speaker, desc="latents", mininterval=10):
        ranked = sorted(own, key=lambda row: len(corpus.codes[row]))
        for rows in (ranked[i : i + _GROUP] for i in range(0, len(ranked), _GROUP)):
            batch = corpus.batch(rows, 1)
            inputs = batch.inputs if rng.uniform() < 0.5 else spoiled(batch, corpus, near, rng)
            clip = corpus.clip(rng, int(batch.speakers[0]), _CLIP_S, MODEL_HZ, set(rows))
            with torch.autocast(config.device, torch.bfloat16):
                latents, _ = student(batch.to(config.device), inputs.to(config.device), student.condition([clip]))
            for b, row in enumerate(rows):
                found[row] = latents[b, batch.text.shape[1] :][: int(batch.lengths[b])].half().cpu()
    return found


def sing(config: Config, corpus: Corpus, parts: list[Tensor]) -> list[np.ndarray]:
    """The audio of each utterance on the melody that its latents know, int16."""
    x = torch.cat([part[1:] for part in parts]).float()
    f0 = torch.from_numpy(np.concatenate(corpus.f0).astype(np.float32))
    melodies = torch.zeros(len(x), PARTS)
    for moment in range(PARTS):
        weight, bias = linear_map(x, f0[:, moment : moment + 1], f0[:, PARTS + moment] > 0.5)
        melodies[:, moment] = x @ weight[0] + bias
    off = (melodies - f0[:, :PARTS])[f0[:, PARTS:] > 0.5] / 3
    print(f"the latents know the fundamental to {float(off.std()):.1%}")
    teacher = Teacher(config)
    sung, at = [], 0
    for row in tqdm(range(len(parts)), desc="singing", mininterval=10):
        num = len(parts[row]) - 1
        hz = 190 * torch.exp(melodies[at : at + num].reshape(-1) / 3)
        speaker = Speaker(*corpus.speakers[corpus.speaker_of[row]])
        pcm = teacher.sing(corpus.texts[row], speaker, hz.numpy())
        sung.append(np.clip(pcm * 32767, -32767, 32767).astype(np.int16))
        at += num
    return sung


def before(corpus: Corpus, parts: list[Tensor]) -> tuple[Tensor, Tensor]:
    """For each latent the features of the frame before, and whether there was one."""
    rows = []
    for row in range(len(parts)):
        rows.append(torch.cat([torch.zeros(1, features_of(corpus, 0).shape[1]), features_of(corpus, row)]))
    known = torch.cat([torch.arange(len(part)) > 0 for part in parts])
    return torch.cat(rows), known


def features_of(corpus: Corpus, row: int) -> Tensor:
    """What the vocoder is pre-trained on: [N, C + 8]."""
    return torch.from_numpy(np.concatenate([corpus.features[row], corpus.f0[row]], axis=1).astype(np.float32))


def linear_map(x: Tensor, y: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Ridge regression of y [N, C] on x [N, D]: weight [C, D] and bias [C]."""
    inputs = torch.cat([x, torch.ones(len(x), 1)], dim=1)[known]
    gram = inputs.T @ inputs + len(inputs) * _RIDGE * torch.eye(inputs.shape[1])
    solved = torch.linalg.solve(gram, inputs.T @ y[known])
    left = (inputs @ solved - y[known]).pow(2).sum() / (y[known] - y[known].mean(0)).pow(2).sum()
    print(f"linear map: {float(left):.1%} of the variance is left")
    return solved[:-1].T.contiguous(), solved[-1]


if __name__ == "__main__":
    make(load())
