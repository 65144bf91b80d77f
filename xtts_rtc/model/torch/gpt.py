"""The GPT of XTTS as one loop over slots with static KV memory.

Takes token ids and slots, gives latents and logits. The layers are those of coqui-tts 0.28.0 (HF GPT-2 with
nulled position embedding), called without its generation code: `layers/xtts/gpt.py`, `gpt_inference.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_PREFIXES = 32  # 7.86 MB each at full size


class TorchGpt:
    """Weights of one GPT and the KV memory of `num_slots` rows.

    gpt: `TTS.tts.layers.xtts.gpt.GPT` in eval mode, already on its device. KV memory is
    [layers, slots, heads, positions, head size] in the weights' dtype, positions enough for the longest
    text and audio the learned positions allow.
    """

    def __init__(self, gpt: Any, *, num_slots: int) -> None:
        self._gpt = gpt
        self._heads = gpt.heads
        self._dim = gpt.model_dim
        weight = gpt.mel_head.weight
        self.device, self._dtype = weight.device, weight.dtype
        self._positions = 32 + gpt.max_text_tokens + gpt.max_gen_mel_tokens + 1
        shape = (gpt.layers, num_slots, self._heads, self._positions, self._dim // self._heads)
        self._keys = torch.zeros(shape, device=self.device, dtype=self._dtype)
        self._values = torch.zeros(shape, device=self.device, dtype=self._dtype)
        self._lengths = [0] * num_slots
        self._mel_starts = [0] * num_slots
        self._pending: dict[int, Tensor] = {}  # positions that `begin` left to `extend`, [1, T, D]
        self._prefixes: OrderedDict[str, tuple[Tensor, Tensor]] = OrderedDict()

    @property
    def kv_bytes(self) -> int:
        """Bytes of KV memory, all slots together."""
        return 2 * self._keys.numel() * self._keys.element_size()

    def begin(self, slot: int, key: str, gpt_latents: Tensor, text_ids: Tensor) -> int:
        """Prefix [32, D] (kept per `key`); text ids [T] without start and stop, and the start token, are left."""
        self._copy_prefix(slot, key, gpt_latents)
        gpt, text_ids = self._gpt, text_ids.to(self.device)
        ids = F.pad(F.pad(text_ids, (0, 1), value=gpt.stop_text_token), (1, 0), value=gpt.start_text_token)
        text = gpt.text_embedding(ids) + gpt.text_pos_embedding.emb.weight[: ids.shape[0]]
        start = gpt.mel_embedding.weight[gpt.start_audio_token] + gpt.mel_pos_embedding.emb.weight[0]
        self._pending[slot] = torch.cat([text, start[None]])[None].to(self._dtype)  # [1, T + 3, D]
        return int(self._pending[slot].shape[1])

    def extend(self, slot: int, max_positions: int) -> tuple[Tensor, Tensor] | None:
        """Up to so many positions of what `begin` left; the last one's latent [D] and logits [V], or None."""
        x = self._pending.pop(slot)
        if x.shape[1] > max_positions:
            self._pending[slot] = x[:, max_positions:]
            self._prefill_row(slot, x[:, :max_positions])
            return None
        hidden = self._prefill_row(slot, x)
        self._mel_starts[slot] = self._lengths[slot] - 1
        latents, logits = self._head(hidden[:, -1])
        return latents[0], logits[0]

    def prefill(self, slot: int, key: str, gpt_latents: Tensor, text_ids: Tensor) -> tuple[Tensor, Tensor]:
        """`begin` and `extend` in one go: latent [D], logits [V]."""
        done = self.extend(slot, self.begin(slot, key, gpt_latents, text_ids))
        assert done is not None
        return done

    def step(self, slots: list[int], tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [B] for `slots`, each at its own length -> latents [B, D], logits [B, V]."""
        gpt = self._gpt
        places = torch.tensor([self._lengths[s] - self._mel_starts[s] for s in slots], device=self.device)
        x = (gpt.mel_embedding(tokens.to(self.device)) + gpt.mel_pos_embedding.emb(places)).to(self._dtype)  # [B, D]
        for index, block in enumerate(gpt.gpt.h):
            query, key, value = self._project(block, x)
            rows = []
            for row, slot in enumerate(slots):
                place = self._lengths[slot]
                self._keys[index, slot, :, place] = key[row]
                self._values[index, slot, :, place] = value[row]
                rows.append(self._attend(index, slot, query[row, :, None], place + 1)[:, 0])
            x = self._finish(block, x, torch.stack(rows).reshape(len(slots), self._dim))
        for slot in slots:
            self._lengths[slot] += 1
        return self._head(gpt.gpt.ln_f(x))

    def release(self, slot: int) -> None:
        """Forget the slot; its memory is overwritten by the next prefill."""
        self._lengths[slot] = 0
        self._pending.pop(slot, None)

    def _copy_prefix(self, slot: int, key: str, gpt_latents: Tensor) -> None:
        num = gpt_latents.shape[0]
        kept = self._prefixes.get(key)
        if kept is None:
            self._lengths[slot] = 0
            self._prefill_row(slot, gpt_latents[None].to(self.device, self._dtype))
            kept = (self._keys[:, slot, :, :num].clone(), self._values[:, slot, :, :num].clone())
            self._prefixes[key] = kept
            if len(self._prefixes) > MAX_PREFIXES:
                self._prefixes.popitem(last=False)
        self._prefixes.move_to_end(key)
        self._keys[:, slot, :, :num], self._values[:, slot, :, :num] = kept
        self._lengths[slot] = num

    def _prefill_row(self, slot: int, x: Tensor) -> Tensor:
        """x [1, T, D] after what the slot already holds -> hidden [1, T, D] after ln_f."""
        past, num = self._lengths[slot], x.shape[1]
        mask = torch.ones(num, past + num, dtype=torch.bool, device=self.device).tril(past)
        for index, block in enumerate(self._gpt.gpt.h):
            query, key, value = self._project(block, x[0])
            self._keys[index, slot, :, past : past + num] = key.transpose(0, 1)
            self._values[index, slot, :, past : past + num] = value.transpose(0, 1)
            mixed = self._attend(index, slot, query.transpose(0, 1), past + num, mask)
            x = self._finish(block, x, mixed.transpose(0, 1).reshape(1, num, self._dim))
        self._lengths[slot] = past + num
        hidden: Tensor = self._gpt.gpt.ln_f(x)
        return hidden

    def _project(self, block: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [N, D] -> query, key, value, each [N, H, D/H]."""
        query, key, value = block.attn.c_attn(block.ln_1(x)).split(self._dim, dim=-1)
        shape = (x.shape[0], self._heads, self._dim // self._heads)
        return query.view(shape), key.view(shape), value.view(shape)

    def _attend(self, index: int, slot: int, query: Tensor, length: int, mask: Tensor | None = None) -> Tensor:
        """query [H, N, D/H] over the slot's first `length` positions -> [H, N, D/H]."""
        key, value = self._keys[index, slot, :, :length], self._values[index, slot, :, :length]
        mixed: Tensor = F.scaled_dot_product_attention(query[None], key[None], value[None], attn_mask=mask)
        return mixed[0]

    def _finish(self, block: Any, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + block.attn.c_proj(mixed)
        out: Tensor = x + block.mlp(block.ln_2(x))
        return out

    def _head(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        latents = self._gpt.final_norm(hidden)
        return latents, self._gpt.mel_head(latents)


__all__ = ["TorchGpt"]
