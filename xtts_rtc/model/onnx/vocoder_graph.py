"""The HiFi-GAN generator of XTTS v2 as an ONNX graph, weight norm folded.

Follows TTS/vocoder/models/hifigan_generator.py and TTS/tts/layers/xtts/hifigan_decoder.py of coqui-tts 0.28.0;
widths, kernel sizes and the number of blocks are read off the weights, strides and dilations are fixed there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from onnx import TensorProto

from xtts_rtc.model.onnx.graph import Graph, WeightFile
from xtts_rtc.types import FRAME_SAMPLES, Float32

PREFIX = "hifigan_decoder.waveform_decoder."
_STRIDES = (8, 8, 2, 2)
_DILATIONS = (1, 3, 5)
_SLOPE = 0.1
PARTS = {
    "head": range(1),
    "trunk": range(1, 4),
    "body": range(1, 3),
    "tail": range(3, 5),
    "post": range(4, 5),
}
"""Pieces of the generator by upsampling stages, the last convolution counting as stage 4. Head, trunk, post in
a row are all of it, as are head, body, tail: so they can run in different number formats, and on what is needed."""
_LAST_SLOPE = 0.01
"""torch's own default: the generator's last leaky ReLU is called without a slope."""


def fold_weight_norm(weights: Mapping[str, Float32], name: str) -> Float32:
    """The plain weight of layer `name`: original0 * original1 / |original1|, the norm over all axes but the first."""
    if f"{name}.weight" in weights:
        return weights[f"{name}.weight"]
    for gain_name, direction_name in (
        ("parametrizations.weight.original0", "parametrizations.weight.original1"),
        ("weight_g", "weight_v"),  # checkpoints from before torch's parametrizations
    ):
        if f"{name}.{gain_name}" in weights:
            direction = weights[f"{name}.{direction_name}"]
            norm = np.sqrt((direction.astype(np.float64) ** 2).sum(axis=(1, 2), keepdims=True))
            return np.asarray(weights[f"{name}.{gain_name}"] * (direction / norm), np.float32)
    raise KeyError(f"{name}.weight")


def split_phases(weight: Float32, stride: int) -> Float32:
    """A transposed convolution's weight [C, N, K] as that of a plain one, [stride * N, C, taps].

    Output channel r * N + n is output n at the positions r, r + stride, ...; a transposed convolution in
    openvino's bf16 took half the time of its stage.
    """
    inputs, outputs, size = weight.shape
    pad = (size - stride) // 2
    reach = -(-(size - pad - 1) // stride)
    phases = np.zeros((stride, outputs, inputs, 2 * reach + 1), np.float32)
    for phase in range(stride):
        for tap in range(-reach, reach + 1):
            k = phase + pad - stride * tap
            if 0 <= k < size:
                phases[phase, :, :, tap + reach] = weight[:, :, k].T
    return phases.reshape(stride * outputs, inputs, -1)


def write_vocoder(weights: Mapping[str, Float32], folder: Path) -> None:
    """Write vocoder.onnx and vocoder_<part>.onnx for all `PARTS`, which share vocoder.data, into `folder`.

    The whole: inputs z [1, D, F] and speaker [1, 512, 1], output pcm [1, 1, F * 256], all float32. A part gives
    y [1, C, T] (or pcm), the next one's x, and also takes length [1] int64 <= F: frames past it are padding, and
    what stands before is what the whole gives for length frames.
    """
    with WeightFile(folder / "vocoder.data") as file:
        for name, stages in {"vocoder": range(len(_STRIDES) + 1), **PARTS}.items():
            is_whole = name == "vocoder"
            graph = Graph(name, file)
            _Generator(graph, weights, is_padded=not is_whole).write(stages)
            graph.save(folder / ("vocoder.onnx" if is_whole else f"vocoder_{name}.onnx"))


class _Generator:
    """Emits the generator. With padding, every convolution's input is set to zero past the true length.

    Zero is what the layer's own padding would be there. Appending zero frames to z alone is not the same: the
    biases and the speaker's terms make them non-zero after the first layer.
    """

    def __init__(self, graph: Graph, weights: Mapping[str, Float32], is_padded: bool) -> None:
        self._graph = graph
        self._weights = weights
        self._is_padded = is_padded
        self._scale = 1
        self._mask = ""

    def write(self, stages: range) -> None:
        g = self._graph
        x = self._begin(stages)
        for stage in stages:
            if stage < len(_STRIDES):
                x = self._upsample(self._masked(self._leaky(x)), stage, _STRIDES[stage])
                x = self._stage(x, stage)
        if stages.stop <= len(_STRIDES):
            g.node("Identity", [x], out="y")
            g.output("y", [1, "C", "T"])
            return
        x = self._conv(self._masked(self._leaky(x, _LAST_SLOPE)), "conv_post")
        g.node("Tanh", [x], out="pcm")
        g.output("pcm", [1, 1, "S"])

    def _begin(self, stages: range) -> str:
        """The inputs, and what the first stage starts from."""
        g = self._graph
        if stages.start:
            channels = fold_weight_norm(self._weights, f"{PREFIX}ups.{stages.start - 1}").shape[1]
            x = g.input("x", [1, channels, "T"])
        else:
            x = g.input("z", [1, self._weights[f"{PREFIX}conv_pre.weight"].shape[1], "F"])
        g.input("speaker", [1, self._weights[f"{PREFIX}cond_layer.weight"].shape[1], 1])
        if self._is_padded:
            g.input("length", [1], TensorProto.INT64)
        self._set_scale(int(np.prod(_STRIDES[: stages.start])), x)
        if stages.start:
            return x
        return g.node("Add", [self._conv(self._masked(x), "conv_pre"), self._conv("speaker", "cond_layer")])

    def _set_scale(self, scale: int, x: str) -> None:
        """From here on a frame is `scale` values long: make the mask of that resolution, [1, 1, F * scale]."""
        self._scale = scale
        if self._is_padded:
            g = self._graph
            end = g.node("Mul", ["length", g.ints(scale)])
            size = g.node("Squeeze", [g.node("Shape", [x], start=2, end=3)])
            index = g.node(
                "Range", [g.const("zero", np.array(0, np.int64)), size, g.const("one", np.array(1, np.int64))]
            )
            kept = g.node("Cast", [g.node("Less", [index, end])], to=TensorProto.FLOAT)
            self._mask = g.node("Unsqueeze", [kept, g.ints(0, 1)])

    def _masked(self, x: str) -> str:
        return self._graph.node("Mul", [x, self._mask]) if self._is_padded else x

    def _leaky(self, x: str, slope: float = _SLOPE) -> str:
        return self._graph.node("LeakyRelu", [x], alpha=slope)

    def _upsample(self, x: str, stage: int, stride: int) -> str:
        g, name = self._graph, f"ups.{stage}"
        weight = fold_weight_norm(self._weights, PREFIX + name)
        phases = split_phases(weight, stride)
        bias = np.tile(self._weights[f"{PREFIX}{name}.bias"], stride)
        inputs = [x, g.const(f"{name}.weight", phases), g.const(f"{name}.bias", bias)]
        y = g.node("Conv", inputs, pads=[phases.shape[2] // 2] * 2, kernel_shape=[phases.shape[2]])
        y = g.node("Reshape", [y, g.ints(1, stride, weight.shape[1], -1)])
        y = g.node("Transpose", [y], perm=[0, 2, 3, 1])
        y = g.node("Reshape", [y, g.ints(1, weight.shape[1], -1)])
        if f"{PREFIX}conds.{stage}.weight" in self._weights:
            y = g.node("Add", [y, self._conv("speaker", f"conds.{stage}")])
        self._set_scale(self._scale * stride, y)
        return y

    def _stage(self, x: str, stage: int) -> str:
        """Mean of the parallel residual blocks."""
        g = self._graph
        num_blocks = self._num_resblocks() // len(_STRIDES)
        entry = self._masked(self._leaky(x))  # the same for all blocks of the stage
        outs = [self._resblock(x, entry, stage * num_blocks + j) for j in range(num_blocks)]
        total = outs[0]
        for out in outs[1:]:
            total = g.node("Add", [total, out])
        return g.node("Mul", [total, g.scalar(1 / num_blocks)])

    def _resblock(self, x: str, entry: str, index: int) -> str:
        g = self._graph
        for j, dilation in enumerate(_DILATIONS):
            y = entry if j == 0 else self._masked(self._leaky(x))
            y = self._conv(y, f"resblocks.{index}.convs1.{j}", dilation)
            y = self._conv(self._masked(self._leaky(y)), f"resblocks.{index}.convs2.{j}")
            x = g.node("Add", [y, x])
        return x

    def _conv(self, x: str, name: str, dilation: int = 1) -> str:
        g = self._graph
        weight = fold_weight_norm(self._weights, PREFIX + name)
        inputs = [x, g.const(f"{name}.weight", weight)]
        if f"{PREFIX}{name}.bias" in self._weights:
            inputs.append(g.const(f"{name}.bias", self._weights[f"{PREFIX}{name}.bias"]))
        pad = dilation * (weight.shape[2] - 1) // 2
        return g.node("Conv", inputs, pads=[pad, pad], dilations=[dilation], kernel_shape=[weight.shape[2]])

    def _num_resblocks(self) -> int:
        return sum(n.startswith(f"{PREFIX}resblocks.") and n.endswith("convs1.0.bias") for n in self._weights)


assert np.prod(_STRIDES) == FRAME_SAMPLES

__all__ = ["PARTS", "PREFIX", "fold_weight_norm", "split_phases", "write_vocoder"]
