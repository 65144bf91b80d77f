"""Stage 3: the GPT with its conditioning encoder, end to end. Stops and continues at any moment.

    python -m training.gpt

Beside the codes it learns, for a while, heads that are thrown away: the features, fundamental and phonemes of the
code just heard and the next one, so that a latent carries what the vocoder needs, and where in the text it is.
Latent j has seen code j - 1 and not j, so it is trained to *sound like* frame j - 1: one token of delay.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from training import state
from training.codes import Codebook
from training.config import Config, load
from training.corpus import MODEL_HZ, Batch, Corpus, held_out_shards, shards_there
from training.network import NUM_CODES, NUM_PREFIX, Trunk, attention_bias, build, trained_parameters

NUM_PHONES = 180  # ids of the teacher's alphabet
WEIGHTS = {"code": 1.0, "text": 0.02, "next": 2.0, "now": 5.0, "f0": 3.0, "phone": 0.3, "place": 0.1, "seed": 1.0}
NUM_SEEDS = 16
_NEIGHBOURS = 8
_HEAD_BATCHES, _HEAD_STEPS = 40, 600


def checkpoint(config: Config) -> Path:
    return config.folder / "gpt.pt"


class Student(nn.Module):
    """The GPT and its temporary heads."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.xtts: Any = [build(config)]  # in a list: its other parts are not trained here
        self.gpt = self.xtts[0].gpt
        self.width = config.codes.num_components
        self.heads = nn.Linear(config.sizes.dim, 2 * self.width + 16 + 4 * NUM_PHONES)
        self.seed_head = nn.Linear(config.sizes.dim, NUM_SEEDS)
        self.seeds = _seeds(config.sizes.max_audio_tokens + 3)
        self.trunk = Trunk(self.gpt)
        self.device = config.device
        self._watched = range(1, config.sizes.layers)
        self.to(config.device)

    def condition(self, clips: list[np.ndarray]) -> Tensor:
        """Clips [S] of equal length at 22,050 Hz to prefixes [G, 32, D]."""
        mels = torch.cat([conditioning_mel(clip, self.xtts[0].mel_stats) for clip in clips]).to(self.device)
        prefixes: Tensor = self.gpt.get_style_emb(mels).transpose(1, 2)
        if not prefixes.any():
            raise FloatingPointError("clips no longer reach the GPT: go back to an earlier gpt.pt, with a lower rate")
        return prefixes

    def forward(self, batch: Batch, inputs: Tensor, prefix: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        """Latents of all positions [B, T + M, D] and watched scores."""
        bias = attention_bias(batch.text_lengths, batch.text.shape[1], batch.lengths, batch.codes.shape[1])
        return self.trunk(prefix, self.trunk.embed(batch.text, inputs), bias, self._watched)

    def losses(self, batch: Batch, inputs: Tensor, prefix: Tensor) -> dict[str, Tensor]:
        latents, scores = self(batch, inputs, prefix)
        num_text = batch.text.shape[1]
        spoken = latents[:, num_text:]
        is_code = self._is_code(batch)
        logits = self.gpt.mel_head(spoken)[is_code].float()
        found = {"code": F.cross_entropy(logits, batch.codes[is_code])}
        is_text = torch.arange(1, num_text, device=self.device) < batch.text_lengths[:, None]
        guesses = self.gpt.text_head(latents[:, : num_text - 1])[is_text].float()
        found["text"] = F.cross_entropy(guesses, batch.text[:, 1:][is_text])
        found |= self.latent_losses(batch, spoken)
        found["place"] = _place_loss(batch, scores, num_text, is_code)
        found["right"] = (logits.argmax(-1) == batch.codes[is_code]).float().mean()
        return found

    def latent_losses(self, batch: Batch, spoken: Tensor) -> dict[str, Tensor]:
        """What the temporary heads make of the latents [B, M, D] of codes."""
        is_code = self._is_code(batch)
        seeds = self.seeds[: spoken.shape[1]].to(self.device).expand(len(spoken), -1, -1)
        found = {"seed": F.mse_loss(self.seed_head(spoken).float()[is_code], seeds[is_code])}
        return found | self._sound_losses(batch, self.heads(spoken).float())

    def _is_code(self, batch: Batch) -> Tensor:
        return torch.arange(batch.codes.shape[1], device=self.device) < batch.lengths[:, None]

    def _sound_losses(self, batch: Batch, guesses: Tensor) -> dict[str, Tensor]:
        width, phones = self.width, 2 * NUM_PHONES
        following, now, f0_next, f0_now, phone_next, phone_now = guesses.split([width, width, 8, 8, phones, phones], -1)
        real = (batch.codes >= 0) & (batch.codes < NUM_CODES)
        past = torch.roll(real, 1, 1)
        past[:, 0] = False
        features, f0, spoken = (_delayed(x) for x in (batch.features, batch.f0, batch.phones))
        return {
            "next": F.mse_loss(following[real], batch.features[real]),
            "now": F.mse_loss(now[past], features[past]),
            "f0": F.smooth_l1_loss(f0_next[real], batch.f0[real]) + 2 * F.smooth_l1_loss(f0_now[past], f0[past]),
            "phone": 0.5
            * (
                F.cross_entropy(phone_next[real].view(-1, NUM_PHONES), batch.phones[real].view(-1))
                + F.cross_entropy(phone_now[past].view(-1, NUM_PHONES), spoken[past].view(-1))
            ),
        }


def conditioning_mel(clip: np.ndarray, mel_stats: Tensor) -> Tensor:
    """The front end of coqui-tts for the conditioning encoder: [1, 80, F]."""
    from TTS.tts.models.xtts import wav_to_mel_cloning

    mel: Tensor = wav_to_mel_cloning(
        torch.from_numpy(clip)[None], mel_norms=mel_stats.cpu(), n_fft=2048, hop_length=256, win_length=1024, power=2,
        normalized=False, sample_rate=MODEL_HZ, f_min=0, f_max=8000, n_mels=80,
    )  # fmt: skip
    return mel


def _seeds(num: int) -> Tensor:
    """A random vector for each position, that the latents are to carry: a vocoder has no source of noise of its own,
    and without one makes hiss of whatever repeats with its frames."""
    return torch.from_numpy(np.random.default_rng(7).standard_normal((num, NUM_SEEDS)).astype(np.float32))


def _delayed(x: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)


def _place_loss(batch: Batch, scores: dict[int, Tensor], num_text: int, is_code: Tensor) -> Tensor:
    """One head of each watched layer is to look at the text that is being spoken, or its neighbours."""
    last = batch.text_lengths[:, None] - 1
    total = torch.zeros((), device=is_code.device)
    for score in scores.values():
        chances = score[:, num_text:].float().log_softmax(-1)
        for step, share in ((0, 0.7), (1, 0.15), (-1, 0.15)):
            place = (batch.places + step).clamp_min(0).minimum(last) + NUM_PREFIX
            total = total - share * chances.gather(2, place[..., None])[..., 0][is_code].mean()
    return total / len(scores)


def spoiled(batch: Batch, corpus: Corpus, near: Tensor, rng: np.random.Generator) -> Tensor:
    """Inputs as they may be when the model speaks freely: a third as they are, a third without repetitions, the rest
    with 6 % of random codes; and of all but the first third a fifth replaced by one that sounds alike."""
    inputs, real = batch.inputs.clone(), batch.inputs < NUM_CODES
    kind = torch.from_numpy(rng.uniform(size=(len(inputs), 1)))
    for b in np.flatnonzero(((kind > 0.33) & (kind < 0.66)).numpy()):
        replaced = corpus.unrepeated[batch.rows[b]]
        inputs[b, 1 : len(replaced) + 1] = torch.from_numpy(replaced).long()
    draw = torch.from_numpy(rng.uniform(size=inputs.shape))
    at_random = torch.from_numpy(rng.integers(0, NUM_CODES, inputs.shape))
    inputs = torch.where(real & (kind >= 0.66) & (draw < 0.06), at_random, inputs)
    which = torch.from_numpy(rng.integers(0, _NEIGHBOURS, inputs.shape))
    alike = near[inputs.clamp_max(NUM_CODES - 1)].gather(2, which[..., None])[..., 0]
    return torch.where(real & (kind > 0.33) & (draw > 0.8), alike, inputs)


class Training:
    """All that changes while it runs."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.student = Student(config)
        listening = trained_parameters(self.student.gpt, conditioning=True)
        speaking = trained_parameters(self.student.gpt, conditioning=False)
        speaking += [*self.student.heads.parameters(), *self.student.seed_head.parameters()]
        self.parameters = speaking + listening
        groups = [
            {"params": [p for p in parameters if (p.ndim > 1) == (decay > 0)], "weight_decay": decay, "share": share}
            for parameters, share in ((speaking, 1.0), (listening, config.gpt.listening))
            for decay in (0.02, 0.0)
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.98), fused=True)
        self.average = state.Average(self.student.gpt, most=0.999)
        self.rng = np.random.default_rng(config.sound.seed)
        self.near = torch.from_numpy(Codebook.read(config).neighbours(_NEIGHBOURS))
        self.step, self.pending, self.shards = 0, list[list[int]](), list[int]()
        self._resume()

    def _resume(self) -> None:
        kept = state.read(checkpoint(self.config))
        if kept is None:
            return
        self.student.gpt.load_state_dict(kept["gpt"])
        self.student.heads.load_state_dict(kept["heads"])
        self.student.seed_head.load_state_dict(kept["seed_head"])
        self.average.load(kept["average"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.rng.bit_generator.state = kept["rng"]
        self.step, self.pending, self.shards = kept["step"], kept["pending"], kept["shards"]

    def save(self) -> None:
        student = self.student
        kept = {
            "gpt": student.gpt.state_dict(), "heads": student.heads.state_dict(),
            "seed_head": student.seed_head.state_dict(), "average": self.average.values,
            "optimizer": self.optimizer.state_dict(), "rng": self.rng.bit_generator.state, "step": self.step,
            "pending": self.pending, "shards": self.shards,
        }  # fmt: skip
        state.save(checkpoint(self.config), kept)

    def prefixes(self, batch: Batch, corpus: Corpus, rng: np.random.Generator) -> Tensor:
        shortest, longest = self.config.gpt.clip_s
        seconds = float(rng.uniform(shortest, longest))
        avoid = set(batch.rows.tolist())
        clips = [corpus.clip(rng, int(speaker), seconds, MODEL_HZ, avoid) for speaker in batch.speakers]
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.config.gpt.listening > 0):
            return self.student.condition(clips)

    def update(self, batch: Batch, corpus: Corpus) -> dict[str, float]:
        """One step."""
        settings = self.config.gpt
        rate = state.learning_rate(
            self.step, peak=settings.lr, warmup=settings.warmup, steps=settings.steps, decay=settings.decay
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        device = self.config.device
        inputs = spoiled(batch, corpus, self.near, self.rng).to(device)
        batch = batch.to(device)
        with torch.autocast(device, torch.bfloat16):
            found = self.student.losses(batch, inputs, self.prefixes(batch, corpus, self.rng))
        total = torch.stack([weight * found[name] for name, weight in WEIGHTS.items()]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.average.update(self.step)
        self.step += 1
        return {name: float(value.detach()) for name, value in found.items()}

    def fit_heads(self, corpus: Corpus) -> None:
        """Let the temporary heads learn what an earlier model's latents say, before they may change those."""
        student, settings, kept = self.student, self.config.gpt, list[tuple[Batch, Tensor]]()
        for rows in corpus.order(self.rng, settings.groups, settings.group_size)[:_HEAD_BATCHES]:
            batch = corpus.batch(rows, settings.groups)
            prefixes, moved = self.prefixes(batch, corpus, self.rng), batch.to(self.config.device)
            with torch.no_grad(), torch.autocast(self.config.device, torch.bfloat16):
                latents, _ = student(moved, moved.inputs, prefixes)
            kept.append((moved, latents[:, batch.text.shape[1] :].float()))
        parameters = [*student.heads.parameters(), *student.seed_head.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=3e-3)
        for step in tqdm(range(_HEAD_STEPS), desc="heads", mininterval=10):
            optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / _HEAD_STEPS)
            found = student.latent_losses(*kept[step % len(kept)])
            optimizer.zero_grad(set_to_none=True)
            torch.stack([WEIGHTS[name] * value for name, value in found.items()]).sum().backward()
            optimizer.step()

    @torch.no_grad()
    def judge(self, corpus: Corpus) -> dict[str, float]:
        """Losses on speech that is never trained on."""
        rng, sums, groups = np.random.default_rng(0), dict[str, float](), self.config.gpt.groups
        order = corpus.order(rng, groups, self.config.gpt.group_size)
        for rows in order:
            batch = corpus.batch(rows, groups).to(self.config.device)
            with torch.autocast(self.config.device, torch.bfloat16):
                found = self.student.losses(batch, batch.inputs, self.prefixes(batch, corpus, rng))
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + float(value) / len(order)
        return sums


def train(config: Config) -> None:
    """To the last step of the configuration, from wherever it was left."""
    torch.set_num_threads(config.threads)
    training, settings = Training(config), config.gpt
    curves = state.Curves(config.folder / "gpt.csv", every=50)
    judged = Corpus.read(config, held_out_shards(config))
    corpus = Corpus.read(config, training.shards) if training.shards else Corpus()
    progress = tqdm(total=settings.steps, initial=training.step, desc="gpt", mininterval=30)
    saved = time.monotonic()
    while training.step < settings.steps:
        if not training.pending:
            if training.shards != shards_there(config):
                training.shards = shards_there(config)
                corpus = Corpus.read(config, training.shards)
            if config.warm_start is not None and training.step == 0:
                training.fit_heads(corpus)
            training.pending = corpus.order(training.rng, settings.groups, settings.group_size)
        rows = training.pending.pop()
        if line := curves.add(training.step + 1, training.update(corpus.batch(rows, settings.groups), corpus)):
            progress.write(f"{time.strftime('%H:%M:%S')} {line}")
        progress.update()
        if training.step % 500 == 0:
            curves.write(training.step, training.judge(judged), "held out")
        if time.monotonic() - saved > config.save_every_s or training.step == settings.steps:
            training.save()
            saved = time.monotonic()


if __name__ == "__main__":
    train(load())
