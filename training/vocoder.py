"""Stages 3b, 5 and 6: the vocoder, first on true features, then on the GPT's latents, then against discriminators.

    python -m training.vocoder ground_truth | latents | adversarial

The first phase needs no GPT and can run beside it. Between the phases only the first convolution changes: the
linear map from latents to features (or to the latents of an earlier GPT) is folded into it.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from training import latents as stage
from training import speaker, state
from training.config import Config, Phase, load
from training.corpus import TOKEN, Corpus, excerpt, shards_there
from training.latents import Latents
from training.network import build
from training.residual import convolve, residual
from training.teacher import PERIOD
from training.waveform import (
    Discriminators,
    coherence_loss,
    discriminator_loss,
    generator_losses,
    harmonic_loss,
    spectral_losses,
)

PHASES = ("ground_truth", "latents", "adversarial")
EDGE = 6
"""Frames at both ends of a window that are not compared: their surroundings are missing."""
TRIMMED = 4
"""Of those, what not even the later layers need, of which all but the first see less than two frames."""
ENDS_EVERY = 6
"""One step in so many is on the ends of utterances, or they would never be compared."""
_HOP = 256
_WEIGHTS = {"mel": 1.0, "log": 0.7, "conv": 0.5, "coh": 2.0, "harm": 1.0}
_FEATURE_NOISE = 0.1
NUM_F0 = 8
_NUM_FITTED = 5  # utterances of each speaker


def checkpoint(config: Config, phase: str) -> Path:
    return config.folder / f"vocoder.{phase}.pt"


class Vocoder(torch.nn.Module):
    """HifiganGenerator, its 1-D convolutions computed as 2-D ones in channels-last order: 2 to 3 times as fast in
    bfloat16 on a CPU."""

    def __init__(self, width: int, inputs: int) -> None:
        super().__init__()
        from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder

        decoder = HifiDecoder(decoder_input_dim=inputs, upsample_initial_channel_decoder=width)
        self.net: Any = decoder.waveform_decoder

    def forward(self, latents: Tensor, speakers: Tensor, trimmed: int = 0) -> Tensor:
        """latents [B, W, C], speakers [B, 512] -> pcm [B, S], so many frames less at both ends."""
        x = F.interpolate(latents.transpose(1, 2), scale_factor=[4.0], mode="linear")
        x = F.interpolate(x, scale_factor=[24000 / 22050], mode="linear")
        net, voice = self.net, speakers[:, :, None]
        x = x.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        x = convolve(net.conv_pre, x) + net.cond_layer(voice).unsqueeze(2)
        for index, up in enumerate(net.ups):
            weight = up.weight.unsqueeze(2)
            x = F.leaky_relu(x, 0.1)
            x = F.conv_transpose2d(x, weight, up.bias, (1, up.stride[0]), (0, up.padding[0]))
            x = x + net.conds[index](voice).unsqueeze(2)
            blocks = net.resblocks[3 * index : 3 * index + 3]
            x = (residual(blocks[0], x) + residual(blocks[1], x) + residual(blocks[2], x)) / 3
            if index == 0:
                x = x[..., 8 * trimmed : x.shape[3] - 8 * trimmed]
        return torch.tanh(convolve(net.conv_post, F.leaky_relu(x)).flatten(1).float())


def fold(weights: dict[str, Tensor], weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """Weights for other inputs x, where what was expected is weight @ x + bias (exact but for the edges)."""
    kernel = weights["conv_pre.weight"]
    return {
        **weights,
        "conv_pre.weight": torch.einsum("ock,cd->odk", kernel, weight),
        "conv_pre.bias": weights["conv_pre.bias"] + torch.einsum("ock,c->o", kernel, bias),
    }


class Windows:
    """Pieces of utterances: what the vocoder is given, and what it should say."""

    def __init__(self, config: Config, phase: str) -> None:
        self.window, self.is_flat = config.vocoder.window, config.vocoder.melody == "flat"
        self.latents = None if phase == "ground_truth" else stage.newest(config)
        if phase != "ground_truth" and self.latents is None:
            raise FileNotFoundError("no latents: python -m training.latents comes first")
        shards = shards_there(config) if self.latents is None else self.latents.shards
        self.corpus = Corpus.read(config, shards)
        self.speakers = speaker.embeddings(config, self.corpus)
        self._share = shares(self.corpus, config.vocoder.default_share)
        self.inputs = self.source(0).shape[1]
        self.frames = int(int(self.window * 4) * 24000 / 22050)

    def draw(self, rng: np.random.Generator, count: int, *, at_ends: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """latents [B, W, C], speakers [B, 512], pcm [B, (frames - 2 EDGE) * 256]; or the first windows of B / 2
        utterances and the last ones of others, pcm [B, (frames - EDGE) * 256], nothing left out at those ends."""
        given, wanted, voices = [], [], []
        for index, row in enumerate(rng.choice(len(self.corpus), count, p=self._share)):
            source, is_first = self.source(int(row)), at_ends and index < count // 2
            last = max(0, len(source) - self.window)
            start = (0 if is_first else last) if at_ends else int(rng.integers(0, last + 1))
            piece = source[start : start + self.window]
            given.append(torch.cat([piece, piece[-1:].expand(self.window - len(piece), -1)]))
            first = round((start - 1) * TOKEN) + (0 if is_first else EDGE * _HOP)  # one token of delay
            if self.is_flat:
                first = round(first / PERIOD) * PERIOD  # at most 3 ms off, and every pulse in its place
            pcm = self._audio(int(row))
            wanted.append(excerpt(pcm, first, (self.frames - (1 if at_ends else 2) * EDGE) * _HOP))
            voices.append(self.speakers[self.corpus.speaker_of[row], rng.integers(0, speaker.CLIPS)])
        x = torch.stack(given)
        if self.latents is None:
            noise = torch.from_numpy(rng.standard_normal(x.shape).astype(np.float32))
            noise[:, :, -NUM_F0:] = 0  # the fundamental must be exact, or no harmonic above the tenth can be
            x = x + _FEATURE_NOISE * noise
        return x, torch.stack(voices), torch.from_numpy(np.stack(wanted))

    def _audio(self, row: int) -> np.ndarray:
        if self.is_flat:
            return self.corpus.flat[row]
        return self.corpus.pcm[row] if self.latents is None else self.latents.audio(row)

    def source(self, row: int) -> Tensor:
        """Of each latent of an utterance; features are delayed as latents are, silence before the first."""
        if self.latents is not None:
            return self.latents.of(row).float()
        features = stage.features_of(self.corpus, row)
        return torch.cat([features[:1], features])


def shares(corpus: Corpus, default_share: float) -> NDArray[np.float64]:
    """How often a window is of each utterance [N]: by its length, those of the default voice so often in all."""
    lengths = np.array([len(codes) for codes in corpus.codes], float)
    is_default = np.array([corpus.speakers[owner][0] == "default" for owner in corpus.speaker_of])
    if is_default.all() or not is_default.any():
        return lengths / lengths.sum()
    wanted = np.where(is_default, default_share, 1 - default_share)
    return wanted * lengths / np.where(is_default, lengths[is_default].sum(), lengths[~is_default].sum())


def start(config: Config, phase: str, windows: Windows) -> dict[str, Tensor]:
    """What a phase begins with: the one before that has steps, its first layer made to fit; else the earlier model."""
    before = [name for name in PHASES[: PHASES.index(phase)] if getattr(config.vocoder, name).steps]
    if not before:
        return _from_warm_start(config, windows) if config.warm_start else {}
    earlier = state.read(checkpoint(config, before[-1]))
    assert earlier is not None, f"the phase {before[-1]} comes before {phase}"
    return fit(config, earlier, windows)


def fit(config: Config, earlier: dict[str, Any], windows: Windows) -> dict[str, Tensor]:
    """Averaged weights of an earlier state for what these windows give."""
    weights, now = {**earlier["weights"], **earlier["average"]}, windows.latents
    assert now is not None
    if earlier["latents"] is None:
        return fold(weights, now.weight, now.bias)
    if earlier["latents"] == now.step:
        return weights
    past = stage.of_step(config, earlier["latents"])
    assert past is not None, f"the latents of step {earlier['latents']} were deleted"
    return fold(weights, *_between(now, past))


def _between(now: Latents, past: Latents) -> tuple[Tensor, Tensor]:
    num = min(len(now.values), len(past.values), 200_000)
    x, y = now.values[:num].float(), past.values[:num].float()
    return stage.linear_map(x, y, torch.ones(num, dtype=torch.bool))


def _from_warm_start(config: Config, windows: Windows) -> dict[str, Tensor]:
    """The earlier model's vocoder: what windows give is mapped to the latents of that model's own GPT."""
    from training.gpt import Student

    corpus = replace(windows.corpus, of_speaker=[rows[:_NUM_FITTED] for rows in windows.corpus.of_speaker])
    with torch.no_grad():
        parts = stage.speak(config, Student(config), corpus)
    rows = [row for row, part in enumerate(parts) if len(part)]
    given = torch.cat([windows.source(row)[1:] for row in rows])
    wanted = torch.cat([parts[row][1:].float() for row in rows])
    weights = build(config).hifigan_decoder.waveform_decoder.state_dict()
    return fold(weights, *stage.linear_map(given, wanted, torch.ones(len(given), dtype=torch.bool)))


class Training:
    """All that changes while a phase runs."""

    def __init__(self, config: Config, phase: str) -> None:
        self.config, self.phase = config, phase
        self.settings: Phase = getattr(config.vocoder, phase)
        self.windows = Windows(config, phase)
        self.vocoder = Vocoder(config.sizes.vocoder_width, self.windows.inputs).to(config.device)
        self.judges = Discriminators().to(config.device) if self.settings.weight else None
        self.rng, self.step = np.random.default_rng([config.sound.seed, PHASES.index(phase)]), 0
        kept = state.read(checkpoint(config, phase))
        weights = start(config, phase, self.windows) if kept is None else self._weights_of(kept)
        if weights:
            self.vocoder.net.load_state_dict(weights)
        self.average = state.Average(self.vocoder.net, most=0.998)
        self.optimizer = _adam(self.vocoder)
        self.judging = None if self.judges is None else _adam(self.judges)
        if kept is not None:
            self._resume(kept)

    def _weights_of(self, kept: dict[str, Any]) -> dict[str, Tensor]:
        is_same = kept["latents"] == (self.windows.latents and self.windows.latents.step)
        return kept["weights"] if is_same else fit(self.config, kept, self.windows)

    def _resume(self, kept: dict[str, Any]) -> None:
        self.rng.bit_generator.state, self.step = kept["rng"], kept["step"]
        if kept["latents"] == (self.windows.latents and self.windows.latents.step):
            self.average.load(kept["average"])
            self.optimizer.load_state_dict(kept["optimizer"])
        if self.judges is not None and self.judging is not None:
            self.judges.load_state_dict(kept["judges"])
            self.judging.load_state_dict(kept["judging"])

    def save(self) -> None:
        kept = {
            "weights": self.vocoder.net.state_dict(), "average": self.average.values, "step": self.step,
            "optimizer": self.optimizer.state_dict(), "rng": self.rng.bit_generator.state,
            "latents": None if self.windows.latents is None else self.windows.latents.step,
            "judges": self.judges and self.judges.state_dict(),
            "judging": self.judging and self.judging.state_dict(),
        }  # fmt: skip
        state.save(checkpoint(self.config, self.phase), kept)

    def update(self) -> dict[str, float]:
        """One step."""
        settings = self.settings
        rate = state.learning_rate(
            self.step, peak=settings.lr, warmup=self.config.vocoder.warmup, steps=settings.steps, decay=settings.decay
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        made, wanted = self._speak(at_ends=self.step % ENDS_EVERY == 0)
        found = {**spectral_losses(made, wanted), "coh": coherence_loss(made, wanted)}
        if self.windows.is_flat:
            found["harm"] = harmonic_loss(made, wanted)
        total = torch.stack([_WEIGHTS[name] * value for name, value in found.items()]).sum()
        if self.judges is not None and self.judging is not None:
            found |= self._judge(self.judges, self.judging, made, wanted)
            ramp = settings.weight * min(1.0, self.step / 200)
            total = total + ramp * (found["adv"] + 2 * found["maps"])
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.vocoder.parameters(), 5.0)
        self.optimizer.step()
        self.average.update(self.step)
        self.step += 1
        return {name: float(value.detach()) for name, value in found.items()}

    def _speak(self, *, at_ends: bool) -> tuple[Tensor, Tensor]:
        """What is said and what should be, of one batch."""
        device, count = self.config.device, self.config.vocoder.batch
        drawn = self.windows.draw(self.rng, count, at_ends=at_ends)
        given, speakers, wanted = (x.to(device) for x in drawn)
        trimmed = 0 if at_ends else TRIMMED
        with torch.autocast(device, torch.bfloat16):
            made: Tensor = self.vocoder(given, speakers, trimmed)
        length, skipped = wanted.shape[1], (EDGE - trimmed) * _HOP
        if not at_ends:
            return made[:, skipped : skipped + length], wanted
        half = count // 2
        return torch.cat([made[:half, :length], made[half:, skipped : skipped + length]]), wanted

    def _judge(
        self, judges: Discriminators, judging: torch.optim.Optimizer, made: Tensor, wanted: Tensor
    ) -> dict[str, Tensor]:
        with torch.autocast(self.config.device, torch.bfloat16):
            loss = discriminator_loss(judges, made, wanted)
            judging.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(judges.parameters(), 10.0)
            judging.step()
            judges.requires_grad_(False)
            found = generator_losses(judges, made, wanted)
            judges.requires_grad_(True)
        return {"judge": loss, **found}


def _adam(module: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(module.parameters(), lr=3e-4, betas=(0.8, 0.99), weight_decay=0.0, fused=True)


def train(config: Config, phase: str) -> None:
    """To the last step of a phase, from wherever it was left."""
    torch.set_num_threads(config.threads)
    training = Training(config, phase)
    curves = state.Curves(config.folder / f"vocoder.{phase}.csv", every=50)
    progress = tqdm(total=training.settings.steps, initial=training.step, desc=phase, mininterval=30)
    saved = time.monotonic()
    while training.step < training.settings.steps:
        if line := curves.add(training.step + 1, training.update()):
            progress.write(f"{time.strftime('%H:%M:%S')} {line}")
        progress.update()
        if time.monotonic() - saved > config.save_every_s or training.step == training.settings.steps:
            training.save()
            saved = time.monotonic()


if __name__ == "__main__":
    train(load(), sys.argv[1])
