"""DeepSpeed's inference kernels under our attention.

coqui-tts 0.28.0 hands its GPT to `deepspeed.init_inference(..., replace_with_kernel_inject=True)`
(`layers/xtts/gpt.py`, `init_gpt_for_inference`). The blocks that come back keep one KV memory and one length for
the whole process (`InferenceContext`, DeepSpeed 0.19.8), so rows of different lengths cannot share a batch and
two streams cannot take turns. Their norm-and-linear kernels hold no state: those are called here, and attention
and KV memory stay ours.

Written against DeepSpeed 0.19.8 and run with its CPU fallbacks only; its CUDA kernels have not been run.
"""

from __future__ import annotations

import copy
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from xtts_rtc.errors import MissingExtra, SetupError
from xtts_rtc.model.torch.layers import GptLayer, plain_layers

_MIN_COSINE = 0.99


class InjectedLayer:
    """One `DeepSpeedGPTInference` block in the place of a `GptLayer`."""

    def __init__(self, block: Any, dtype: torch.dtype) -> None:
        self._block, self._dtype = block, dtype

    def project(self, x: Tensor) -> Tensor:
        """x [N, D] float32 -> query, key and value side by side, [N, 3 * D]; overwritten by the next call."""
        attention = self._block.attention
        qkv, _ = attention.qkv_func(
            input=x.to(self._dtype)[None],
            weight=attention.attn_qkvw,
            bias=attention.attn_qkvb,
            gamma=self._block.norm_w,
            beta=self._block.norm_b,
        )
        out: Tensor = qkv[0]
        return out

    def finish(self, x: Tensor, mixed: Tensor) -> Tensor:
        """x [N, D] float32 and the attention's output [N, D] -> the block's output [N, D] float32."""
        attention = self._block.attention
        residual = x.to(self._dtype, copy=True)[None]  # the kernels add into it
        out = attention.vector_matmul_func(input=mixed[None].contiguous(), weight=attention.attn_ow)
        summed: Tensor = self._block.mlp(out, residual, None, attention.attn_ob)[0]
        return summed.float()


def injected_layers(gpt: Any, dtype: torch.dtype, max_rows: int) -> list[InjectedLayer]:
    """The blocks of `gpt` (coqui-tts `GPT`, on CUDA, only read) with DeepSpeed's kernels in `dtype`.

    max_rows: the most positions one call may have. Raises MissingExtra without the package, SetupError when
    DeepSpeed cannot build or inject its kernels here or they do not give what the plain block gives.
    """
    try:
        deepspeed = import_module("deepspeed")
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"XTTS_DEEPSPEED is on, but {error.name} is not installed: pip install 'xtts-rtc[deepspeed]'"
        ) from None
    try:
        layers = [InjectedLayer(block, dtype) for block in _inject(deepspeed, gpt, dtype, max_rows)]
        cosine = min(_agreement(*pair) for pair in zip(plain_layers(gpt.gpt.h, torch.float32), layers, strict=True))
    except Exception as error:  # its builder, nvcc and the C++ compiler each raise their own
        reason = " ".join(str(error).split())[:200]
        raise SetupError(
            f"XTTS_DEEPSPEED is on, but DeepSpeed {deepspeed.__version__} cannot inject its kernels with torch "
            f"{torch.__version__} ({type(error).__name__}: {reason}); it compiles them with nvcc of CUDA "
            f"{torch.version.cuda}: install that toolkit, or switch XTTS_DEEPSPEED off"
        ) from error
    if not cosine >= _MIN_COSINE:
        raise SetupError(
            f"XTTS_DEEPSPEED is on, but the kernels of DeepSpeed {deepspeed.__version__} compute something else than "
            f"the model (cosine {cosine:.4f}, wanted {_MIN_COSINE}); switch it off"
        )
    return layers


def _inject(deepspeed: Any, gpt: Any, dtype: torch.dtype, max_rows: int) -> list[Any]:
    engine = deepspeed.init_inference(
        model=copy.deepcopy(gpt.gpt),
        dtype=dtype,
        replace_with_kernel_inject=True,
        tensor_parallel={"tp_size": 1},
        max_out_tokens=max_rows,
    )
    blocks = list(engine.module.h)
    # The kernels' scratch memory comes with a first whole forward, which is never made. Arguments by place: width,
    # heads, prompt, batch, layers, GPUs, "KV is elsewhere", rank, most rows, fewest rows.
    blocks[0].workspace.allocate_workspace(gpt.model_dim, gpt.heads, max_rows, 1, len(blocks), 1, True, 0, max_rows, 1)
    return blocks


@torch.no_grad()
def _agreement(plain: GptLayer, injected: InjectedLayer) -> float:
    """Cosine between what both give for the same rows, the value taken as the attention's output."""
    dim = plain.out.shape[0]
    generator = torch.Generator().manual_seed(0)
    x = 0.05 * torch.randn(8, dim, generator=generator).to(plain.out.device)  # small beside what the block adds
    value, injected_value = (qkv[:, -dim:].clone() for qkv in (plain.project(x), injected.project(x)))
    added, injected_added = plain.finish(x, value) - x, injected.finish(x, injected_value) - x
    return min(_cosine(value, injected_value), _cosine(added, injected_added))


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(F.cosine_similarity(a.float().flatten(), b.float().flatten(), dim=0))


__all__ = ["InjectedLayer", "injected_layers"]
