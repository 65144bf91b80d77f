"""The GPT body of XTTS v2 as one ONNX graph: embeddings in, last latent and logits out, KV in the caller's buffers.

Attention is onnxruntime's GroupQueryAttention with packed QKV, past and present meant to be bound to one
buffer, each row at its own length. Weights are named as in coqui-tts 0.28.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from xtts_rtc.model.onnx.graph import MICROSOFT, Graph, WeightFile
from xtts_rtc.types import Float32

OPERATORS = ("fp32", "int8-static", "int8-row", "int8-tensor", "int8-block")
"""How a linear layer is computed.

int8-static  int8 weights per output, uint8 activations with one scale per layer, from a calibration run; fastest,
             rows independent of the batch, and only for weights whose activations keep to such a scale
int8-row     int8 weights per output, uint8 activations with one scale per position (row): a stream's result
             does not depend on who shares the batch
int8-tensor  DynamicQuantizeMatMul: one activation scale for the whole batch
int8-block   MatMulNBits, blocks of 32 weights, activations per block; most exact of the three, slow prefill
"""
LINEARS = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
"""The linear layers of a block, in the order of the graph."""
_BLOCK = 32
_EPSILON = 1e-5


class _Linear:
    """Emits linear layers of one kind into a graph. Weights come as [inputs, outputs]."""

    def __init__(self, graph: Graph, operator: str, scales: Float32 | None, is_watched: bool) -> None:
        self._graph = graph
        self._is_watched = is_watched
        self._scales = iter(() if scales is None else scales)
        self.peaks: list[str] = []
        self._emit = {
            "fp32": self._fp32,
            "int8-static": self._static,
            "int8-row": self._row,
            "int8-tensor": self._tensor,
            "int8-block": self._block,
        }[operator]

    def __call__(self, x: str, name: str, weight: Float32, bias: Float32) -> str:
        return self._emit(x, name, weight, bias)

    def _fp32(self, x: str, name: str, weight: Float32, bias: Float32) -> str:
        g = self._graph
        if self._is_watched:
            self.peaks.append(g.node("ReduceMax", [g.node("Abs", [x])], keepdims=0))
        y = g.node("MatMul", [x, g.const(f"{name}.weight", weight)])
        return g.node("Add", [y, g.const(f"{name}.bias", bias)])

    def _static(self, x: str, name: str, weight: Float32, bias: Float32) -> str:
        g = self._graph
        packed, scale = quantize_columns(weight)
        step, zero = (
            g.const(f"{name}.input_scale", next(self._scales)),
            g.const("zero_point_128", np.array(128, np.uint8)),
        )
        quantized = g.node("QuantizeLinear", [x, step, zero])
        inputs = [quantized, g.const(f"{name}.int8", packed), step, g.const(f"{name}.scale", scale), zero, ""]
        return g.node("MatMulIntegerToFloat", [*inputs, g.const(f"{name}.bias", bias)], domain=MICROSOFT)

    def _tensor(self, x: str, name: str, weight: Float32, bias: Float32) -> str:
        g = self._graph
        packed, scale = quantize_columns(weight)
        inputs = [x, g.const(f"{name}.int8", packed), g.const(f"{name}.scale", scale)]
        inputs += [g.const(f"zeros_int8_{scale.size}", np.zeros(scale.size, np.int8)), g.const(f"{name}.bias", bias)]
        return g.node("DynamicQuantizeMatMul", inputs, domain=MICROSOFT)

    def _row(self, x: str, name: str, weight: Float32, bias: Float32) -> str:
        g = self._graph
        packed, scale = quantize_columns(weight)
        # Each row is scaled to a peak of 1 and then quantised with one constant scale: QuantizeLinear with a
        # scale per row is scalar code (189 ms against 63 ms for a prefill of 92 positions).
        peak = g.node("ReduceMax", [g.node("Abs", [x]), g.ints(-1)], keepdims=1)
        peak = g.node("Max", [peak, g.scalar(1e-12)])
        step, zero = g.scalar(1 / 127), g.const("zero_point_128", np.array(128, np.uint8))
        quantized = g.node("QuantizeLinear", [g.node("Div", [x, peak]), step, zero])
        inputs = [quantized, g.const(f"{name}.int8", packed), step, g.const(f"{name}.scale", scale), zero]
        y = g.node("Mul", [g.node("MatMulIntegerToFloat", inputs, domain=MICROSOFT), peak])
        return g.node("Add", [y, g.const(f"{name}.bias", bias)])

    def _block(self, x: str, name: str, weight: Float32, bias: Float32) -> str:
        g = self._graph
        packed, scale = quantize_blocks(weight)
        inputs = [
            x,
            g.const(f"{name}.int8", packed),
            g.const(f"{name}.scale", scale),
            "",
            "",
            g.const(f"{name}.bias", bias),
        ]
        return g.node(
            "MatMulNBits", inputs, domain=MICROSOFT, K=weight.shape[0], N=weight.shape[1],
            bits=8, block_size=_BLOCK, accuracy_level=4,
        )  # fmt: skip


def quantize_columns(weight: Float32) -> tuple[NDArray[np.int8], Float32]:
    """Weight [K, N] to int8 [K, N] and one scale per output [N]."""
    peak = np.abs(weight).max(axis=0)
    scale = (np.where(peak > 0, peak, 1.0) / 127).astype(np.float32)
    return np.round(weight / scale).astype(np.int8), scale


def quantize_blocks(weight: Float32) -> tuple[NDArray[np.uint8], Float32]:
    """Weight [K, N] to MatMulNBits' uint8 [N, K / 32, 32] around 128 and scales [N, K / 32]."""
    blocks = np.ascontiguousarray(weight.T).reshape(weight.shape[1], -1, _BLOCK)
    peak = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[..., None], axis=2)
    # The largest of a block becomes -128 whatever its sign: that uses all 256 codes.
    scale = np.where(peak != 0, peak, 1.0) / -128
    packed = np.clip(np.round(blocks / scale) + 128, 0, 255).astype(np.uint8)
    return packed, np.ascontiguousarray(scale[..., 0], dtype=np.float32)


def write_gpt(
    weights: Mapping[str, Float32],
    folder: Path,
    *,
    num_heads: int,
    operator: str,
    kv_scales: Float32 | None = None,
    input_scales: Float32 | None = None,
    is_watched: bool = False,
) -> int:
    """Write gpt.onnx and gpt.data into `folder`; returns the number of layers.

    Inputs: x [B, T, D] float32, last [B] int32 (index of the last position each row will hold), total [] int32
    (positions of the longest row), pk<i> and pv<i> [B, heads, M, head size]. Outputs: latents [B, D], logits
    [B, V] of the last position, qk<i> and qv<i> to be bound to the same memory as pk<i> and pv<i>.

    kv_scales: [2 * layers, heads, head size], keys before values, makes that memory int8 (value / scale, rounded);
    None leaves it float32. input_scales: [layers * len(LINEARS)], what int8-static divides the linear layers' inputs
    by. is_watched: an fp32 graph also gives peaks, the largest magnitudes among those inputs in the same order.
    """
    num_layers = count_layers(weights)
    dim = weights["gpt.final_norm.weight"].shape[0]
    with WeightFile(folder / "gpt.data") as file:
        g = Graph("gpt", file)
        x = g.input("x", ["B", "T", dim])
        g.input("last", ["B"], TensorProto.INT32)
        g.input("total", [], TensorProto.INT32)
        linear = _Linear(g, operator, input_scales, is_watched)
        norms = [f"gpt.gpt.h.{layer}.{name}" for layer in range(num_layers) for name in ("ln_1", "ln_2")]
        normed = _norm(g, weights, x, norms[0])
        for layer in range(num_layers):
            scales = None if kv_scales is None else (kv_scales[2 * layer], kv_scales[2 * layer + 1])
            after = [*norms, "gpt.gpt.ln_f"][2 * layer + 1 : 2 * layer + 3]
            block = _Block(g, linear, weights, layer, num_heads, dim // num_heads, scales)
            x, normed = _add_norm(g, weights, x, block.attend(normed), after[0])
            x, normed = _add_norm(g, weights, x, block.think(normed), after[1])
        _head(g, weights, normed)
        if is_watched:
            g.node("Concat", [g.node("Unsqueeze", [peak, g.ints(0)]) for peak in linear.peaks], out="peaks", axis=0)
            g.output("peaks", [len(linear.peaks)])
        g.save(folder / "gpt.onnx")
    return num_layers


def count_layers(weights: Mapping[str, Float32]) -> int:
    """How many transformer blocks the weights hold."""
    return sum(name.startswith("gpt.gpt.h.") and name.endswith(".ln_1.weight") for name in weights)


@dataclass(frozen=True, slots=True)
class _Block:
    """The two branches of one pre-norm GPT-2 block, each on normed [B, T, D]."""

    graph: Graph
    linear: _Linear
    weights: Mapping[str, Float32]
    layer: int
    num_heads: int
    head: int
    kv_scales: tuple[Float32, Float32] | None

    def attend(self, normed: str) -> str:
        """Causal attention to what the rows hold, which it extends."""
        g, layer = self.graph, self.layer
        kind = TensorProto.FLOAT if self.kv_scales is None else TensorProto.INT8
        shape: list[int | str] = ["B", self.num_heads, "M", self.head]
        past = [g.input(f"p{part}{layer}", shape, kind) for part in "kv"]
        inputs = [self._project(normed, "attn.c_attn"), "", "", *past, "last", "total"]
        attributes = dict[str, int | str]()
        if self.kv_scales is not None:
            named = zip(("k_scale", "v_scale"), self.kv_scales, strict=True)
            inputs += [""] * 5 + [g.const(f"{name}{layer}", scale) for name, scale in named]
            attributes = {"k_quant_type": "PER_CHANNEL", "v_quant_type": "PER_CHANNEL", "kv_cache_bit_width": 8}
        attended, *present = g.nodes(
            "GroupQueryAttention", inputs, outs=[f"attended{layer}", f"qk{layer}", f"qv{layer}"], domain=MICROSOFT,
            num_heads=self.num_heads, kv_num_heads=self.num_heads, **attributes,
        )  # fmt: skip
        for name in present:
            g.output(name, shape, kind)
        return self._project(attended, "attn.c_proj")

    def think(self, normed: str) -> str:
        """The feed-forward layers."""
        inner = self.graph.node("Gelu", [self._project(normed, "mlp.c_fc")], approximate="tanh")
        return self._project(inner, "mlp.c_proj")

    def _project(self, x: str, name: str) -> str:
        at = f"gpt.gpt.h.{self.layer}.{name}"
        return self.linear(x, at, self.weights[f"{at}.weight"], self.weights[f"{at}.bias"])


def _head(g: Graph, weights: Mapping[str, Float32], x: str) -> None:
    """Second final norm and audio head, fp32 (1 M of 379 M parameters), on the last position of x [B, T, D] only."""
    last = g.node("Gather", [x, g.const("minus_one", np.array(-1, np.int64))], axis=1)
    g_norm = _norm(g, weights, last, "gpt.final_norm", out="latents")
    head = g.const("gpt.mel_head.weight", np.ascontiguousarray(weights["gpt.mel_head.weight"].T))
    g.node(
        "Add",
        [g.node("MatMul", [g_norm, head]), g.const("gpt.mel_head.bias", weights["gpt.mel_head.bias"])],
        out="logits",
    )
    dim, num_tokens = weights["gpt.mel_head.weight"].shape[::-1]
    g.output("latents", ["B", dim])
    g.output("logits", ["B", num_tokens])


def _norm(g: Graph, weights: Mapping[str, Float32], x: str, name: str, out: str | None = None) -> str:
    gain, bias = (g.const(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias"))
    return g.node("LayerNormalization", [x, gain, bias], out=out, axis=-1, epsilon=_EPSILON)


def _add_norm(g: Graph, weights: Mapping[str, Float32], x: str, y: str, name: str) -> tuple[str, str]:
    """x + y, and its layer norm."""
    gain, bias = (g.const(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias"))
    outs = [f"{name}.normed", "", "", f"{name}.sum"]
    normed, _, _, total = g.nodes(
        "SkipLayerNormalization", [x, y, gain, bias], outs=outs, domain=MICROSOFT, epsilon=_EPSILON
    )
    return total, normed


__all__ = ["LINEARS", "OPERATORS", "count_layers", "quantize_blocks", "quantize_columns", "write_gpt"]
