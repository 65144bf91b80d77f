"""One block of the GPT over plain tensors, in the precision asked for.

The layer is HF GPT-2's as coqui-tts 0.28.0 uses it (pre-norm, `gelu_new`, Conv1D weights [in, out]). Only the
four linears and the attention are computed in half; the residual stream and both norms stay float32, which costs
B * D additions. Smallest cosine of the latents to float32, teacher-forced on full-size random weights, CPU:
bfloat16 0.999999 (0.99990 with the residual in bfloat16 too), float16 1.000000 (0.999998).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class GptLayer(NamedTuple):
    """Weights of one block: linears [in, out] and their biases in the compute dtype, norms in float32.

    A tuple of tensors and nothing else, so that one compiled function serves all layers.
    """

    norm_1: Tensor
    norm_1_bias: Tensor
    qkv: Tensor
    qkv_bias: Tensor
    out: Tensor
    out_bias: Tensor
    norm_2: Tensor
    norm_2_bias: Tensor
    up: Tensor
    up_bias: Tensor
    down: Tensor
    down_bias: Tensor
    eps: float

    def project(self, x: Tensor) -> Tensor:
        """x [N, D] float32 -> query, key and value side by side, [N, 3 * D] in the compute dtype."""
        normed = F.layer_norm(x, (x.shape[-1],), self.norm_1, self.norm_1_bias, self.eps)
        return torch.addmm(self.qkv_bias, normed.to(self.qkv.dtype), self.qkv)

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """x [N, D] float32 and the attention's output [N, D] -> the block's output [N, D] float32."""
        x = x + torch.addmm(self.out_bias, mixed, self.out)
        normed = F.layer_norm(x, (x.shape[-1],), self.norm_2, self.norm_2_bias, self.eps)
        wide = F.gelu(torch.addmm(self.up_bias, normed.to(self.up.dtype), self.up), approximate="tanh")
        return x + torch.addmm(self.down_bias, wide, self.down)


def plain_layers(blocks: Any, dtype: torch.dtype) -> list[GptLayer]:
    """blocks: the `GPT2Block`s of coqui-tts, only read. float32 shares their memory, half copies it."""
    return [_plain(block, dtype) for block in blocks]


def _plain(block: Any, dtype: torch.dtype) -> GptLayer:
    def of(module: Any, kind: torch.dtype) -> tuple[Tensor, Tensor]:
        return module.weight.detach().to(kind), module.bias.detach().to(kind)

    return GptLayer(
        *of(block.ln_1, torch.float32),
        *of(block.attn.c_attn, dtype),
        *of(block.attn.c_proj, dtype),
        *of(block.ln_2, torch.float32),
        *of(block.mlp.c_fc, dtype),
        *of(block.mlp.c_proj, dtype),
        eps=block.ln_1.eps,
    )


def step_layer(
    layer: GptLayer, x: Tensor, keys: Tensor, values: Tensor, slots: Tensor, places: Tensor, mask: Tensor
) -> Tensor:
    """One position of B rows through one block; writes the new key and value in place.

    x [B, D] float32; keys, values [slots, H, P, D/H]; slots, places [B] int64 (row's slot, and where its new
    position goes); mask [B, 1, 1, L] in the compute dtype, 0 where a row may look and -inf elsewhere. Reads
    the first L positions. Returns [B, D] float32.
    """
    num, (_, heads, _, size) = x.shape[0], keys.shape
    query, key, value = layer.project(x).view(num, 3, heads, size).unbind(1)  # [B, H, D/H]
    keys[slots, :, places] = key
    values[slots, :, places] = value
    length = mask.shape[-1]
    mixed = F.scaled_dot_product_attention(
        query[:, :, None],
        keys[:, :, :length].index_select(0, slots),
        values[:, :, :length].index_select(0, slots),
        attn_mask=mask.expand(-1, heads, -1, -1),
    )
    return layer.finish(x, mixed.reshape(num, heads * size))


__all__ = ["GptLayer", "plain_layers", "step_layer"]
