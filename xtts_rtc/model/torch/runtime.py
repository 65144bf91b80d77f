"""`Runtime` in torch: fp32 on a CPU is the reference that every other backend is compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xtts_rtc.model.interface import ModelInfo, never
from xtts_rtc.model.torch.batched_gpt import BatchedGpt
from xtts_rtc.model.torch.gpt import TorchGpt
from xtts_rtc.model.torch.vocoder import TorchVocoder
from xtts_rtc.model.window import Window
from xtts_rtc.types import MODEL_HZ, Conditioning, Float32

CONDITION_S = 30
CONDITION_CHUNK_S = 4


def model_info(xtts: Any) -> ModelInfo:
    """The sizes of a `TTS.tts.models.xtts.Xtts`."""
    gpt = xtts.gpt
    return ModelInfo(
        num_layers=gpt.layers,
        num_heads=gpt.heads,
        dim=gpt.model_dim,
        num_audio_tokens=gpt.num_audio_tokens,
        start_audio_token=gpt.start_audio_token,
        stop_audio_token=gpt.stop_audio_token,
        max_audio_tokens=gpt.max_gen_mel_tokens,
        max_text_tokens=gpt.max_text_tokens - 3,  # coqui-tts asserts fewer ids than gpt_max_text_tokens
        token_hz=xtts.args.input_sample_rate,
    )


def condition(xtts: Any, clips: list[Float32]) -> tuple[Float32, Float32]:
    """As `Runtime.condition`, by the encoders of coqui-tts in float32."""
    cut = [torch.from_numpy(clip[: CONDITION_S * MODEL_HZ])[None] for clip in clips]
    speakers = torch.stack([xtts.get_speaker_embedding(clip, MODEL_HZ).float() for clip in cut])
    latents = xtts.get_gpt_cond_latents(
        torch.cat(cut, dim=-1), MODEL_HZ, length=CONDITION_S, chunk_length=CONDITION_CHUNK_S
    )
    return to_numpy(latents[0]), to_numpy(speakers.mean(dim=0).flatten())


class TorchSteps:
    """What both torch runtimes are: a GPT with slots behind the step interface, arrays in and out."""

    def __init__(self, xtts: Any, gpt: TorchGpt | BatchedGpt, *, num_slots: int) -> None:
        self._xtts, self._gpt = xtts, gpt
        self._info, self._num_slots = model_info(xtts), num_slots

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def num_slots(self) -> int:
        return self._num_slots

    @torch.inference_mode()
    def begin(self, slot: int, voice: Conditioning, text_ids: NDArray[np.int64]) -> int:
        ids = torch.from_numpy(text_ids)
        return self._gpt.begin(slot, voice.key, torch.from_numpy(voice.gpt_latents), ids)

    @torch.inference_mode()
    def extend(self, slot: int, max_positions: int) -> tuple[Float32, Float32] | None:
        done = self._gpt.extend(slot, max_positions)
        return None if done is None else (to_numpy(done[0]), to_numpy(done[1]))

    def interrupter(self, slot: int) -> Callable[[], None]:
        return lambda: None  # cannot: a CUDA device ends what was given to it

    def prefill(self, slot: int, voice: Conditioning, text_ids: NDArray[np.int64]) -> tuple[Float32, Float32]:
        done = self.extend(slot, self.begin(slot, voice, text_ids))
        assert done is not None
        return done

    @torch.inference_mode()
    def step(self, slots: NDArray[np.int64], tokens: NDArray[np.int64]) -> tuple[Float32, Float32]:
        latents, logits = self._gpt.step(slots.tolist(), torch.from_numpy(tokens))
        return to_numpy(latents), to_numpy(logits)

    def release(self, slot: int) -> None:
        self._gpt.release(slot)

    def warm(self) -> bool:
        return False


class TorchRuntime(TorchSteps):
    """An `Xtts` of coqui-tts 0.28.0 (weights loaded, on its device) behind the step interface."""

    def __init__(self, xtts: Any, *, num_slots: int) -> None:
        with torch.no_grad():
            super().__init__(xtts, TorchGpt(xtts.gpt, num_slots=num_slots), num_slots=num_slots)
            self._vocoder = TorchVocoder(xtts.hifigan_decoder)

    @torch.inference_mode()
    def decode(self, window: Window, voice: Conditioning, is_unwanted: Callable[[], bool] = never) -> Float32:
        speaker = torch.from_numpy(voice.speaker_embedding)
        return window.cut(to_numpy(self._vocoder.decode(torch.from_numpy(window.frames), speaker, window.rest)))

    @torch.inference_mode()
    def condition(self, clips: list[Float32]) -> tuple[Float32, Float32]:
        return condition(self._xtts, clips)


def to_numpy(tensor: Tensor) -> Float32:
    """Float32 on the host; waits for the device."""
    array: Float32 = tensor.float().cpu().numpy()
    return array


__all__ = ["TorchRuntime", "TorchSteps", "condition", "model_info", "to_numpy"]
