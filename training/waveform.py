"""What the vocoder is compared by: spectra at several resolutions, and discriminators."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from training.teacher import HZ, PERIOD

RESOLUTIONS = (240, 512, 1024, 2048)
"""Samples of a window; the shortest is within a period of most voices and sees how a pulse rings."""
_MELS = {512: 40, 1024: 80, 2048: 100}
_QUIET = 1e-3
_COHERENCE_SIZE, _COHERENCE_HOP, _COHERENCE_LAGS = 512, 128, (2, 4, 6)


def spectral_losses(made: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    """Audio [B, S] both; mel, log-magnitude and convergence."""
    mel, log, convergence = [], [], []
    for size in RESOLUTIONS:
        found = _magnitudes(made, size)
        with torch.no_grad():
            truth = _magnitudes(wanted, size)
        if size in _MELS:
            filters = _filters(size, str(made.device))
            share = 1.0 if size == 1024 else 0.5
            mel.append(share * F.l1_loss((filters(found) + _QUIET).log(), (filters(truth) + _QUIET).log()))
        log.append(F.l1_loss((found + _QUIET).log(), (truth + _QUIET).log()))
        convergence.append((found - truth).norm() / truth.norm().clamp_min(1e-3))
    return {"mel": torch.stack(mel).sum(), "log": torch.stack(log).mean(), "conv": torch.stack(convergence).mean()}


def coherence_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """How alike the sound is to itself a moment later, in every band: audio [B, S] both.

    Magnitudes do not tell noise from a click at every vocoder frame, which is what a network without a source of noise
    makes of it. A click is coherent from frame to frame, noise is not, a voice is at its harmonics.
    """
    with torch.no_grad():
        truth = _coherence(wanted)
    return torch.stack([F.l1_loss(a, b) for a, b in zip(_coherence(made), truth, strict=True)]).mean()


def _coherence(pcm: Tensor) -> list[Tensor]:
    window = _window(_COHERENCE_SIZE, str(pcm.device))
    x = torch.stft(pcm, _COHERENCE_SIZE, _COHERENCE_HOP, window=window, return_complex=True)
    power = x.real**2 + x.imag**2 + 1e-6
    found = []
    for lag in _COHERENCE_LAGS:
        cross = x[..., lag:] * x[..., :-lag].conj()
        size = (_smooth(cross.real) ** 2 + _smooth(cross.imag) ** 2 + 1e-12).sqrt()
        found.append(size / (_smooth(power[..., lag:]) * _smooth(power[..., :-lag])).sqrt())
    return found


def harmonic_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Harmonics of the one note of `Teacher.chant`, magnitude and phase, at the power of 0.3: audio [B, S] both,
    beginning with a period."""
    with torch.no_grad():
        truth = _harmonics(wanted)
    return (_harmonics(made) - truth).pow(2).sum(-1).add(1e-6).sqrt().mean()


def _harmonics(pcm: Tensor) -> Tensor:
    """[B, harmonics, frames, 2]."""
    size = 8 * PERIOD
    found = torch.stft(pcm, size, size // 4, window=_window(size, str(pcm.device)), return_complex=True)
    parts = torch.view_as_real(found[:, 8 : 58 * 8 + 1 : 8])
    return parts * (parts.pow(2).sum(-1, keepdim=True) + 1e-3) ** -0.35


def _smooth(x: Tensor) -> Tensor:
    return F.avg_pool2d(x[:, None], 5, stride=2)


def _magnitudes(pcm: Tensor, size: int) -> Tensor:
    spectrum = torch.stft(pcm, size, size // 4, window=_window(size, str(pcm.device)), return_complex=True)
    return (spectrum.real**2 + spectrum.imag**2 + 1e-9).sqrt()


@cache
def _window(size: int, device: str) -> Tensor:
    return torch.hann_window(size, device=device)


@cache
def _filters(size: int, device: str) -> nn.Module:
    scale: nn.Module = torchaudio.transforms.MelScale(
        _MELS[size], HZ, 0, HZ / 2, size // 2 + 1, norm="slaney", mel_scale="slaney"
    )
    return scale.to(device)


class Discriminators(nn.Module):
    """Four that fold the wave by a period, three that see spectra; light ones, for a CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([*map(_Folding, (2, 3, 5, 7)), *map(_Spectral, (512, 1024, 2048))])

    def forward(self, pcm: Tensor) -> list[list[Tensor]]:
        """pcm [B, S] to each one's feature maps, its verdict last."""
        return [part(pcm) for part in self.parts]


class _Folding(nn.Module):
    def __init__(self, period: int) -> None:
        super().__init__()
        self._period = period
        widths = (1, 24, 48, 96, 96)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (3 if index < 3 else 1, 1), (2, 0)))
            for index, (a, b) in enumerate(zip(widths, widths[1:], strict=False))
        )
        self.last = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), 1, (1, 0)))

    def forward(self, pcm: Tensor) -> list[Tensor]:
        padded = F.pad(pcm, (0, -pcm.shape[1] % self._period), "reflect")
        x = padded.view(len(pcm), 1, -1, self._period).contiguous(memory_format=torch.channels_last)
        return _maps(self.layers, self.last, x)


class _Spectral(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self.layers = nn.ModuleList(
            [weight_norm(nn.Conv2d(1 if index == 0 else 24, 24, (3, 7), (1, 2), (1, 3))) for index in range(3)]
            + [weight_norm(nn.Conv2d(24, 24, 3, 1, 1))]
        )
        self.last = weight_norm(nn.Conv2d(24, 1, 3, 1, 1))

    def forward(self, pcm: Tensor) -> list[Tensor]:
        with torch.autocast(pcm.device.type, enabled=False):
            x = (_magnitudes(pcm.float(), self._size) + _QUIET).log().transpose(1, 2).unsqueeze(1)
        return _maps(self.layers, self.last, x.contiguous(memory_format=torch.channels_last))


def _maps(layers: nn.ModuleList, last: nn.Module, x: Tensor) -> list[Tensor]:
    found = []
    for layer in layers:
        x = F.leaky_relu(layer(x), 0.1)
        found.append(x)
    return [*found, last(x)]


def discriminator_loss(judges: Discriminators, made: Tensor, wanted: Tensor) -> Tensor:
    """Least squares: 1 for the truth, 0 for what was made."""
    pairs = zip(judges(wanted), judges(made.detach()), strict=True)
    losses = [(1 - truth[-1].float()).pow(2).mean() + found[-1].float().pow(2).mean() for truth, found in pairs]
    return torch.stack(losses).mean()


def generator_losses(judges: Discriminators, made: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    """What is told apart, and how far the feature maps are."""
    with torch.no_grad():
        truths = judges(wanted)
    pairs = list(zip(judges(made), truths, strict=True))
    adversarial = torch.stack([(1 - found[-1].float()).pow(2).mean() for found, _ in pairs]).mean()
    distances = [
        F.l1_loss(a.float(), b.float()) for found, truth in pairs for a, b in zip(found[:-1], truth[:-1], strict=True)
    ]
    return {"adv": adversarial, "maps": torch.stack(distances).mean()}


__all__ = [
    "RESOLUTIONS",
    "Discriminators",
    "coherence_loss",
    "discriminator_loss",
    "generator_losses",
    "harmonic_loss",
    "spectral_losses",
]
