"""The HiFi-GAN of XTTS with its weight norm folded: frames in, samples out.

The network of coqui-tts 0.28.0 `HifiganGenerator` (`vocoder/models/hifigan_generator.py`), written out over
plain tensors: its own `remove_weight_norm` raises for this configuration, and removing the parametrizations
of a copy breaks the original, which shares their classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_SLOPE = 0.1  # leaky ReLU inside the network; the last one has torch's default 0.01


@dataclass(frozen=True, slots=True)
class _Conv:
    weight: Tensor
    bias: Tensor | None
    stride: int
    padding: int
    dilation: int

    @classmethod
    def fold(cls, module: Any, dtype: torch.dtype) -> _Conv:
        bias = None if module.bias is None else module.bias.detach().to(dtype)
        weight = module.weight.detach().clone().to(dtype)  # reading a parametrized weight computes it
        return cls(weight, bias, module.stride[0], module.padding[0], module.dilation[0])

    def __call__(self, x: Tensor) -> Tensor:
        return F.conv1d(x, self.weight, self.bias, padding=self.padding, dilation=self.dilation)

    def upsample(self, x: Tensor) -> Tensor:
        return F.conv_transpose1d(x, self.weight, self.bias, stride=self.stride, padding=self.padding)


@dataclass(frozen=True, slots=True)
class _Stage:
    up: _Conv
    condition: _Conv
    blocks: list[list[tuple[_Conv, _Conv]]]


class TorchVocoder:
    """decoder: `TTS.tts.layers.xtts.hifigan_decoder.HifiDecoder`, only read."""

    def __init__(self, decoder: Any, *, dtype: torch.dtype = torch.float32) -> None:
        generator = decoder.waveform_decoder
        self._dtype = dtype
        self._device = next(generator.parameters()).device
        self._pre, self._post = _Conv.fold(generator.conv_pre, dtype), _Conv.fold(generator.conv_post, dtype)
        self._condition = _Conv.fold(generator.cond_layer, dtype)
        self._stages = [self._stage(generator, index) for index in range(generator.num_upsamples)]

    def _stage(self, generator: Any, index: int) -> _Stage:
        num = generator.num_kernels
        blocks = [
            [
                (_Conv.fold(first, self._dtype), _Conv.fold(second, self._dtype))
                for first, second in zip(block.convs1, block.convs2, strict=True)
            ]
            for block in generator.resblocks[index * num : (index + 1) * num]
        ]
        up, condition = _Conv.fold(generator.ups[index], self._dtype), _Conv.fold(generator.conds[index], self._dtype)
        return _Stage(up, condition, blocks)

    def decode(self, frames: Tensor, speaker_embedding: Tensor, rest: tuple[int, int] | None = None) -> Tensor:
        """frames [D, F], speaker_embedding [512] -> pcm [F * 256] float32.

        rest: only the samples of frames [first, stop), exact where the first stage's context is there.
        """
        speaker = speaker_embedding.to(self._device, self._dtype).view(1, -1, 1)
        x = self._pre(frames.to(self._device, self._dtype)[None]) + self._condition(speaker)  # [1, C, F]
        for index, stage in enumerate(self._stages):
            x = stage.up.upsample(F.leaky_relu(x, _SLOPE)) + stage.condition(speaker)
            x = reduce(torch.add, (_residual(block, x) for block in stage.blocks)) / len(stage.blocks)
            if index == 0 and rest is not None:
                x = x[:, :, rest[0] * stage.up.stride : rest[1] * stage.up.stride]
        x = self._post(F.leaky_relu(x))
        return torch.tanh(x)[0, 0].float()


def _residual(block: list[tuple[_Conv, _Conv]], x: Tensor) -> Tensor:
    for first, second in block:
        x = x + second(F.leaky_relu(first(F.leaky_relu(x, _SLOPE)), _SLOPE))
    return x


__all__ = ["TorchVocoder"]
