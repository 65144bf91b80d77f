"""The GPT of XTTS for many streams at once: every step is one batch of fixed shape over ragged rows.

The maths of `TorchGpt` with attention batched by a mask from each row's length. A step's shape is a batch size
out of a few (padding rows work on a scratch slot) and a length bucket (short streams do not read the memory of
long ones), so that each shape can be compiled or captured once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xtts_rtc.model.torch.gpt import MAX_PREFIXES
from xtts_rtc.model.torch.layers import GptLayer, plain_layers, step_layer
from xtts_rtc.model.torch.static_step import Recorder, StaticStep, play_eagerly

BUCKETS = (128, 256, 512)
"""Lengths that a step may read instead of all positions: 128 covers a prefix, a short text and 2 s of audio."""

StepLayer = Callable[[Any, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


class BatchedGpt:
    """Weights of one GPT in `dtype` and the KV memory of `num_slots` rows and one for padding.

    gpt: `TTS.tts.layers.xtts.gpt.GPT` in eval mode on its device, only read. KV memory is, per layer,
    [num_slots + 1, heads, positions, head size] in `dtype`. Latents and logits are float32 in any dtype.
    `layers` replaces the plain blocks (they offer `project` and `finish` as `GptLayer`), `step_layer` the
    function that runs one of them, `record` captures a step (`GraphRecorder`).
    """

    def __init__(
        self,
        gpt: Any,
        *,
        num_slots: int,
        dtype: torch.dtype = torch.float32,
        buckets: Sequence[int] = BUCKETS,
        layers: Sequence[Any] | None = None,
        step_layer: StepLayer = step_layer,
        record: Recorder = play_eagerly,
    ) -> None:
        self._gpt = gpt
        self._heads, self._dim = gpt.heads, gpt.model_dim
        self._num_slots, self._dtype = num_slots, dtype
        self.device = gpt.mel_head.weight.device
        self._layers: Sequence[GptLayer] = plain_layers(gpt.gpt.h, dtype) if layers is None else layers
        self._step_layer, self._record = step_layer, record
        needed = 32 + gpt.max_text_tokens + gpt.max_gen_mel_tokens + 1
        self._positions = -(-needed // 8) * 8  # fused attention wants masks of whole 16-byte rows
        self._buckets = (*(b for b in sorted(buckets) if b < self._positions), self._positions)
        shape = (num_slots + 1, self._heads, self._positions, self._dim // self._heads)
        self._keys = [torch.zeros(shape, device=self.device, dtype=dtype) for _ in self._layers]
        self._values = [torch.zeros(shape, device=self.device, dtype=dtype) for _ in self._layers]
        self._lengths = [0] * num_slots
        self._mel_starts = [0] * num_slots
        self._pending: dict[int, Tensor] = {}  # positions that `begin` left to `extend`, [T, D]
        self._prefixes: OrderedDict[str, list[tuple[Tensor, Tensor]]] = OrderedDict()
        self._steps: dict[tuple[int, int], StaticStep] = {}

    @property
    def kv_bytes(self) -> int:
        """Bytes of KV memory, all slots and the scratch slot together."""
        return sum(t.numel() * t.element_size() for t in (*self._keys, *self._values))

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Every (batch size, length) a step can have: sizes double up to `num_slots`."""
        sizes = {min(1 << power, self._num_slots) for power in range(self._num_slots.bit_length() + 1)}
        return [(size, bucket) for size in sorted(sizes) for bucket in self._buckets]

    def prepare(self, shapes: Iterable[tuple[int, int]] | None = None) -> None:
        """Build (compile, capture) the steps now, not at a listener's expense; None means all `shapes`."""
        for shape in self.shapes if shapes is None else shapes:
            self._static(shape)

    def begin(self, slot: int, key: str, gpt_latents: Tensor, text_ids: Tensor) -> int:
        """Prefix [32, D] (kept per `key`); text ids [T] without start and stop, and the start token, are left.

        Arrays may lie on the host. Raises ValueError for text that the model has no ids or positions for.
        """
        gpt = self._gpt
        self._check_text(text_ids)
        text_ids = text_ids.to(self.device)
        ids = F.pad(F.pad(text_ids, (0, 1), value=gpt.stop_text_token), (1, 0), value=gpt.start_text_token)
        text = gpt.text_embedding(ids) + gpt.text_pos_embedding.emb.weight[: ids.shape[0]]
        start = gpt.mel_embedding.weight[gpt.start_audio_token] + gpt.mel_pos_embedding.emb.weight[0]
        self._copy_prefix(slot, key, gpt_latents)
        self._pending[slot] = torch.cat([text, start[None]]).float()  # [T + 3, D]
        return int(self._pending[slot].shape[0])

    def extend(self, slot: int, max_positions: int) -> tuple[Tensor, Tensor] | None:
        """Up to so many positions of what `begin` left; the last one's latent [D] and logits [V], or None."""
        x = self._pending.pop(slot)
        if x.shape[0] > max_positions:
            self._pending[slot] = x[max_positions:]
            self._prefill_row(slot, x[:max_positions])
            return None
        hidden = self._prefill_row(slot, x)
        self._mel_starts[slot] = self._lengths[slot] - 1
        latents, logits = self._head(hidden[-1:])
        return latents[0], logits[0]

    def prefill(self, slot: int, key: str, gpt_latents: Tensor, text_ids: Tensor) -> tuple[Tensor, Tensor]:
        """`begin` and `extend` in one go: latent [D], logits [V]."""
        done = self.extend(slot, self.begin(slot, key, gpt_latents, text_ids))
        assert done is not None
        return done

    def step(self, slots: Sequence[int], tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B] for `slots`, each at its own length -> latents [B, D], logits [B, V], float32.

        Raises ValueError, with nothing changed, for a slot that was not prefilled, is full, or is named twice.
        """
        self._check(slots, tokens)
        lengths = [self._lengths[slot] for slot in slots]
        batch = min(size for size, _ in self.shapes if size >= len(slots))
        bucket = min(bucket for bucket in self._buckets if bucket > max(lengths))
        padding = batch - len(slots)
        rows = [
            [*slots, *[self._num_slots] * padding],
            [*tokens.tolist(), *[0] * padding],
            [*lengths, *[0] * padding],
            [*(self._lengths[slot] - self._mel_starts[slot] for slot in slots), *[0] * padding],
        ]
        out = self._static((batch, bucket))(torch.tensor(rows))[: len(slots)].clone()
        for slot in slots:
            self._lengths[slot] += 1
        return out[:, : self._dim], out[:, self._dim :]

    def release(self, slot: int) -> None:
        """Forget the slot; its memory is overwritten by the next prefill."""
        self._lengths[slot] = 0
        self._pending.pop(slot, None)

    def _check_text(self, text_ids: Tensor) -> None:
        num_ids, num_places = self._gpt.text_embedding.weight.shape[0], self._gpt.text_pos_embedding.emb.weight.shape[0]
        if text_ids.numel() + 2 > num_places:
            raise ValueError(f"a segment has {text_ids.numel()} text tokens; the model takes {num_places - 2}")
        if bool(((text_ids < 0) | (text_ids >= num_ids)).any()):
            raise ValueError(f"a text id is outside 0..{num_ids - 1}; the tokenizer is of another model")

    def _check(self, slots: Sequence[int], tokens: Tensor) -> None:
        # On the host: an index out of range inside a kernel kills the CUDA context and every stream with it.
        num_tokens = self._gpt.mel_embedding.weight.shape[0]
        if len(set(slots)) != len(slots) or not slots or tokens.shape != (len(slots),):
            raise ValueError(
                f"{len(slots)} slots ({len(set(slots))} different) and tokens {list(tokens.shape)}: one each"
            )
        for slot in slots:
            if not 0 < self._lengths[slot] < self._positions:
                raise ValueError(f"slot {slot} holds {self._lengths[slot]} of {self._positions} positions; prefill it")
            if self._lengths[slot] - self._mel_starts[slot] >= self._gpt.mel_pos_embedding.emb.weight.shape[0]:
                raise ValueError(f"slot {slot} has no audio position left; end its segment earlier")
        if bool(((tokens < 0) | (tokens >= num_tokens)).any()):
            raise ValueError(f"a token is outside 0..{num_tokens - 1}")

    def _static(self, shape: tuple[int, int]) -> StaticStep:
        if shape not in self._steps:
            batch, bucket = shape
            example = torch.zeros(4, batch, dtype=torch.int64, device=self.device)
            example[0] = self._num_slots  # recording runs the step several times: on the scratch slot only
            self._steps[shape] = StaticStep(lambda inputs: self._step(inputs, bucket), example, self._record)
        return self._steps[shape]

    def _step(self, inputs: Tensor, bucket: int) -> Tensor:
        """inputs [4, B] (slots, tokens, lengths, places among audio tokens) -> [B, D + V] float32."""
        slots, tokens, lengths, places = inputs.unbind()
        gpt = self._gpt
        x = (gpt.mel_embedding(tokens) + gpt.mel_pos_embedding.emb(places)).float()  # [B, D]
        hidden = torch.arange(bucket, device=self.device) > lengths[:, None]  # the row's new position is visible
        mask = torch.zeros(hidden.shape, dtype=self._dtype, device=self.device).masked_fill(hidden, float("-inf"))
        mask = mask[:, None, None]  # [B, 1, 1, L]
        for layer, keys, values in zip(self._layers, self._keys, self._values, strict=True):
            x = self._step_layer(layer, x, keys, values, slots, lengths, mask)
        return torch.cat(self._head(gpt.gpt.ln_f(x)), dim=-1)

    def _copy_prefix(self, slot: int, key: str, gpt_latents: Tensor) -> None:
        num = gpt_latents.shape[0]
        kept = self._prefixes.get(key)
        if kept is None:
            self._lengths[slot] = 0
            self._prefill_row(slot, gpt_latents.to(self.device).float())
            memory = zip(self._keys, self._values, strict=True)
            kept = [(keys[slot, :, :num].clone(), values[slot, :, :num].clone()) for keys, values in memory]
            self._prefixes[key] = kept
            if len(self._prefixes) > MAX_PREFIXES:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(key)
        for index, (keys, values) in enumerate(kept):
            self._keys[index][slot, :, :num], self._values[index][slot, :, :num] = keys, values
        self._lengths[slot] = num

    def _prefill_row(self, slot: int, x: Tensor) -> Tensor:
        """x [T, D] float32 after what the slot already holds -> hidden [T, D] after ln_f."""
        past, num = self._lengths[slot], x.shape[0]
        mask = torch.ones(num, past + num, dtype=torch.bool, device=self.device).tril(past)
        for layer, keys, values in zip(self._layers, self._keys, self._values, strict=True):
            parts = layer.project(x).view(num, 3, self._heads, self._dim // self._heads)
            query, key, value = parts.permute(1, 2, 0, 3)  # [H, T, D/H]
            keys[slot, :, past : past + num] = key
            values[slot, :, past : past + num] = value
            known, said = keys[slot, None, :, : past + num], values[slot, None, :, : past + num]
            mixed = F.scaled_dot_product_attention(query[None], known, said, attn_mask=mask)[0]
            x = layer.finish(x, mixed.transpose(0, 1).reshape(num, self._dim))
        self._lengths[slot] = past + num
        hidden: Tensor = self._gpt.gpt.ln_f(x)
        return hidden

    def _head(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        latents = self._gpt.final_norm(hidden)
        return latents, self._gpt.mel_head(latents)


__all__ = ["BUCKETS", "BatchedGpt", "StepLayer"]
