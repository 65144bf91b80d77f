"""The conditioning encoder and perceiver of XTTS v2 as an ONNX graph: a log-mel chunk to 32 latents.

Follows ConditioningEncoder and AttentionBlock (TTS/tts/layers/tortoise) and PerceiverResampler
(TTS/tts/layers/xtts/perceiver_encoder.py) of coqui-tts 0.28.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xtts_rtc.model.onnx.graph import Graph, WeightFile
from xtts_rtc.types import Float32

_ENCODER = "gpt.conditioning_encoder."
_PERCEIVER = "gpt.conditioning_perceiver."
_PERCEIVER_HEAD = 64


def write_conditioning(weights: Mapping[str, Float32], folder: Path, *, num_heads: int) -> None:
    """Write conditioning.onnx and conditioning.data: mel [1, 80, F] float32 to latents [1, 32, D] float32.

    mel is the log-mel already divided by mel_stats; num_heads is the GPT's.
    """
    with WeightFile(folder / "conditioning.data") as file:
        g = Graph("conditioning", file)
        mel = g.input("mel", [1, weights[f"{_ENCODER}init.weight"].shape[1], "F"])
        x = _pointwise(g, weights, mel, f"{_ENCODER}init")
        block = 0
        while f"{_ENCODER}attn.{block}.qkv.weight" in weights:
            x = _attention_block(g, weights, x, f"{_ENCODER}attn.{block}", num_heads)
            block += 1
        _perceiver(g, weights, g.node("Transpose", [x], perm=[0, 2, 1]))
        g.save(folder / "conditioning.onnx")


def num_groups(channels: int) -> int:
    """Groups of the encoder's group norm (`normalization` in tortoise/arch_utils.py)."""
    groups = 8 if channels <= 16 else 16 if channels <= 64 else 32
    while channels % groups:
        groups //= 2
    return groups


def _pointwise(g: Graph, weights: Mapping[str, Float32], x: str, name: str) -> str:
    parts = [g.const(f"{name}.{part}", weights[f"{name}.{part}"]) for part in ("weight", "bias")]
    return g.node("Conv", [x, *parts], kernel_shape=[1])


def _attention_block(g: Graph, weights: Mapping[str, Float32], x: str, name: str, num_heads: int) -> str:
    """x [1, D, F]; the residual is the normed input, as coqui-tts has it (tortoise_norm=False)."""
    dim = weights[f"{name}.norm.weight"].shape[0]
    head = dim // num_heads
    normed = _group_norm(g, weights, x, f"{name}.norm", dim)
    qkv = g.node("Reshape", [_pointwise(g, weights, normed, f"{name}.qkv"), g.ints(num_heads, 3 * head, -1)])
    parts = [f"{name}.{part}" for part in "qkv"]
    q, k, v = g.nodes("Split", [qkv], outs=parts, axis=1, num_outputs=3)  # [heads, head, F]
    scores = g.node("MatMul", [g.node("Transpose", [q], perm=[0, 2, 1]), k])
    attention = g.node("Softmax", [g.node("Mul", [scores, g.scalar(head**-0.5)])], axis=-1)
    mixed = g.node("MatMul", [v, g.node("Transpose", [attention], perm=[0, 2, 1])])
    joined = g.node("Reshape", [mixed, g.ints(1, dim, -1)])
    return g.node("Add", [normed, _pointwise(g, weights, joined, f"{name}.proj_out")])


def _group_norm(g: Graph, weights: Mapping[str, Float32], x: str, name: str, dim: int) -> str:
    groups = num_groups(dim)
    ones, zeros = np.ones(groups, np.float32), np.zeros(groups, np.float32)
    flat = g.node("Reshape", [x, g.ints(1, groups, -1)])
    scales = [g.const(f"ones_{groups}", ones), g.const(f"zeros_{groups}", zeros)]
    normed = g.node("Reshape", [g.node("InstanceNormalization", [flat, *scales], epsilon=1e-5), g.ints(1, dim, -1)])
    gain, bias = (g.const(f"{name}.{part}", weights[f"{name}.{part}"][:, None]) for part in ("weight", "bias"))
    return g.node("Add", [g.node("Mul", [normed, gain]), bias])


def _perceiver(g: Graph, weights: Mapping[str, Float32], context: str) -> None:
    """context [1, F, D] to the output latents [1, 32, D]."""
    if f"{_PERCEIVER}proj_context.weight" in weights:
        bias = weights[f"{_PERCEIVER}proj_context.bias"]
        context = g.node("Add", [_matmul(g, weights, context, f"{_PERCEIVER}proj_context"), g.const("proj.bias", bias)])
    x = g.const(f"{_PERCEIVER}latents", weights[f"{_PERCEIVER}latents"][None])
    layer = 0
    while f"{_PERCEIVER}layers.{layer}.0.to_q.weight" in weights:
        name = f"{_PERCEIVER}layers.{layer}"
        x = g.node("Add", [_cross_attention(g, weights, x, context, f"{name}.0"), x])
        x = g.node("Add", [_feed_forward(g, weights, x, f"{name}.1"), x])
        layer += 1
    # RMSNorm: x / max(|x|, 1e-12) * sqrt(D) * gamma
    gamma = weights[f"{_PERCEIVER}norm.gamma"]
    length = g.node("Max", [g.node("ReduceL2", [x, g.ints(-1)], keepdims=1), g.scalar(1e-12)])
    gain = g.const(f"{_PERCEIVER}gain", (gamma * np.sqrt(gamma.size)).astype(np.float32))
    g.node("Mul", [g.node("Div", [x, length]), gain], out="latents")
    g.output("latents", [1, weights[f"{_PERCEIVER}latents"].shape[0], gamma.size])


def _cross_attention(g: Graph, weights: Mapping[str, Float32], x: str, context: str, name: str) -> str:
    """The latents attend to themselves and the context."""
    inner = weights[f"{name}.to_q.weight"].shape[0]
    split = g.ints(1, -1, inner // _PERCEIVER_HEAD, _PERCEIVER_HEAD)
    q = g.node("Reshape", [_matmul(g, weights, x, f"{name}.to_q"), split])
    kv = _matmul(g, weights, g.node("Concat", [x, context], axis=1), f"{name}.to_kv")
    halves = g.nodes("Split", [kv], outs=[f"{name}.k", f"{name}.v"], axis=2, num_outputs=2)
    k, v = (g.node("Reshape", [half, split]) for half in halves)
    scores = g.node(
        "MatMul", [g.node("Transpose", [q], perm=[0, 2, 1, 3]), g.node("Transpose", [k], perm=[0, 2, 3, 1])]
    )
    attention = g.node("Softmax", [g.node("Mul", [scores, g.scalar(_PERCEIVER_HEAD**-0.5)])], axis=-1)
    mixed = g.node("MatMul", [attention, g.node("Transpose", [v], perm=[0, 2, 1, 3])])
    joined = g.node("Reshape", [g.node("Transpose", [mixed], perm=[0, 2, 1, 3]), g.ints(1, -1, inner)])
    return _matmul(g, weights, joined, f"{name}.to_out")


def _feed_forward(g: Graph, weights: Mapping[str, Float32], x: str, name: str) -> str:
    """Linear, GEGLU, linear."""
    wide = g.node("Add", [_matmul(g, weights, x, f"{name}.0"), g.const(f"{name}.0.bias", weights[f"{name}.0.bias"])])
    value, gate = g.nodes("Split", [wide], outs=[f"{name}.value", f"{name}.gate"], axis=2, num_outputs=2)
    inner = g.node("Mul", [value, g.node("Gelu", [gate], approximate="none")])
    return g.node(
        "Add", [_matmul(g, weights, inner, f"{name}.2"), g.const(f"{name}.2.bias", weights[f"{name}.2.bias"])]
    )


def _matmul(g: Graph, weights: Mapping[str, Float32], x: str, name: str) -> str:
    """Linear without bias; torch keeps the weight as [outputs, inputs]."""
    return g.node("MatMul", [x, g.const(f"{name}.weight", np.ascontiguousarray(weights[f"{name}.weight"].T))])


__all__ = ["num_groups", "write_conditioning"]
