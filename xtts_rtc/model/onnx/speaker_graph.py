"""The speaker encoder of XTTS v2 (ResNet with squeeze-excitation, attentive statistics) as an ONNX graph.

Follows TTS/encoder/models/resnet.py of coqui-tts 0.28.0; batch norms that directly follow a convolution
are folded into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xtts_rtc.model.onnx.graph import Graph, WeightFile
from xtts_rtc.types import Float32

PREFIX = "hifigan_decoder.speaker_encoder."
_EPSILON = 1e-5
"""Of batch and instance norm (torch's default)."""


def write_speaker_encoder(weights: Mapping[str, Float32], folder: Path) -> None:
    """Write speaker.onnx and speaker.data: mel power [1, 64, F] float32 to embedding [1, 512] of unit length."""
    with WeightFile(folder / "speaker.data") as file:
        _Encoder(Graph("speaker", file), weights).write(folder)


class _Encoder:
    def __init__(self, graph: Graph, weights: Mapping[str, Float32]) -> None:
        self._graph = graph
        self._weights = weights

    def write(self, folder: Path) -> None:
        g = self._graph
        x = g.node("Log", [g.node("Add", [g.input("mel", [1, 64, "F"]), g.scalar(1e-6)])])
        scales = [g.const("ones", np.ones(64, np.float32)), g.const("zeros", np.zeros(64, np.float32))]
        x = g.node("Unsqueeze", [g.node("InstanceNormalization", [x, *scales], epsilon=_EPSILON), g.ints(1)])
        x = self._batch_norm(g.node("Relu", [self._conv(x, "conv1")]), "bn1")  # ReLU first: nothing to fold into
        for layer in (1, 2, 3, 4):
            block = 0
            while f"{PREFIX}layer{layer}.{block}.conv1.weight" in self._weights:
                x = self._block(x, f"layer{layer}.{block}", stride=2 if layer > 1 and block == 0 else 1)
                block += 1
        x = g.node("Reshape", [x, g.ints(1, self._weight("attention.0.weight").shape[1], -1)])
        pooled = g.node("Gemm", [self._pool(x), self._const("fc.weight"), self._const("fc.bias")], transB=1)
        length = g.node("Max", [g.node("ReduceL2", [pooled, g.ints(1)], keepdims=1), g.scalar(1e-12)])
        g.node("Div", [pooled, length], out="embedding")
        g.output("embedding", [1, self._weight("fc.bias").size])
        g.save(folder / "speaker.onnx")

    def _weight(self, name: str) -> Float32:
        return self._weights[PREFIX + name]

    def _const(self, name: str) -> str:
        return self._graph.const(name, self._weight(name))

    def _conv(self, x: str, name: str, norm: str | None = None, stride: int = 1) -> str:
        """2-D convolution, the batch norm `norm` folded in."""
        weight = self._weight(f"{name}.weight")
        bias = self._weights.get(f"{PREFIX}{name}.bias", np.zeros(weight.shape[0], np.float32))
        if norm is not None:
            gain, shift = self._affine(norm)
            weight, bias = weight * gain[:, None, None, None], bias * gain + shift
        g, pad = self._graph, weight.shape[2] // 2
        inputs = [x, g.const(f"{name}.weight", weight), g.const(f"{name}.bias", bias)]
        return g.node("Conv", inputs, pads=[pad] * 4, strides=[stride] * 2, kernel_shape=list(weight.shape[2:]))

    def _affine(self, norm: str) -> tuple[Float32, Float32]:
        """A batch norm as gain and shift per channel."""
        gain = self._weight(f"{norm}.weight") / np.sqrt(self._weight(f"{norm}.running_var") + np.float32(_EPSILON))
        return gain, self._weight(f"{norm}.bias") - self._weight(f"{norm}.running_mean") * gain

    def _batch_norm(self, x: str, norm: str) -> str:
        g, parts = self._graph, ("weight", "bias", "running_mean", "running_var")
        return g.node("BatchNormalization", [x, *(self._const(f"{norm}.{part}") for part in parts)], epsilon=_EPSILON)

    def _block(self, x: str, name: str, stride: int) -> str:
        g = self._graph
        y = g.node("Relu", [self._conv(x, f"{name}.conv1", stride=stride)])
        y = self._conv(self._batch_norm(y, f"{name}.bn1"), f"{name}.conv2", f"{name}.bn2")
        y = self._squeeze_excite(y, f"{name}.se.fc")
        if f"{PREFIX}{name}.downsample.0.weight" in self._weights:
            x = self._conv(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
        return g.node("Relu", [g.node("Add", [y, x])])

    def _squeeze_excite(self, x: str, name: str) -> str:
        g = self._graph
        y = g.node("ReduceMean", [x, g.ints(2, 3)], keepdims=0)
        y = g.node(
            "Relu", [g.node("Gemm", [y, self._const(f"{name}.0.weight"), self._const(f"{name}.0.bias")], transB=1)]
        )
        y = g.node("Gemm", [y, self._const(f"{name}.2.weight"), self._const(f"{name}.2.bias")], transB=1)
        return g.node("Mul", [x, g.node("Unsqueeze", [g.node("Sigmoid", [y]), g.ints(2, 3)])])

    def _pool(self, x: str) -> str:
        """Attentive mean and standard deviation over time: x [1, C, F] to [1, 2 C]."""
        g = self._graph
        attention = [self._const("attention.0.weight"), self._const("attention.0.bias")]
        y = g.node("Relu", [g.node("Conv", [x, *attention], kernel_shape=[1])])
        attention = [self._const("attention.3.weight"), self._const("attention.3.bias")]
        y = g.node("Conv", [self._batch_norm(y, "attention.2"), *attention], kernel_shape=[1])
        weight = g.node("Softmax", [y], axis=2)
        mean = g.node("ReduceSum", [g.node("Mul", [x, weight]), g.ints(2)], keepdims=0)
        square = g.node("ReduceSum", [g.node("Mul", [g.node("Mul", [x, x]), weight]), g.ints(2)], keepdims=0)
        variance = g.node("Sub", [square, g.node("Mul", [mean, mean])])
        deviation = g.node("Sqrt", [g.node("Max", [variance, g.scalar(1e-5)])])
        return g.node("Concat", [mean, deviation], axis=1)


__all__ = ["write_speaker_encoder"]
