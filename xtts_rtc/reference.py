"""The original: coqui-tts' own `inference_stream` on the same weights, for parity tests and `bench --against`.

Nothing of ours runs in here, so what it says is the oracle. It is not re-entrant: one call at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from xtts_rtc.types import Conditioning, Float32, SamplingParams


@dataclass(slots=True)
class StockRun:
    """What one stock utterance chose: `tokens` [N] and `latents` [N, D], both with the stop step."""

    tokens: list[int] = field(default_factory=list)
    latents: list[Float32] = field(default_factory=list)


class StockXtts:
    """xtts: an `Xtts` of coqui-tts with its weights.

    reading: text and language to what the model reads, for one that reads phonemes, of which coqui-tts knows nothing.
    """

    def __init__(self, xtts: Any, *, reading: Callable[[str, str], str] = lambda text, language: text) -> None:
        self._xtts, self._reading = xtts, reading

    def text_ids(self, text: str, language: str) -> list[int]:
        """Token ids as `inference_stream` computes them."""
        ids: list[int] = self._xtts.tokenizer.encode(
            self._reading(text, language).strip().lower(), lang=language.split("-")[0]
        )
        return ids

    def stream(
        self,
        text: str,
        language: str,
        voice: Conditioning,
        sampling: SamplingParams,
        *,
        run: StockRun | None = None,
        num_tokens: int | None = None,
    ) -> Iterator[Float32]:
        """Chunks of pcm [S] at 24 kHz as coqui-tts yields them (20 tokens, 1,024 samples of cross-fade).

        `sampling.seed` seeds torch's global generator. num_tokens forces exactly that length.
        """
        gpt = self._xtts.gpt.gpt_inference
        original = gpt.generate_stream
        if run is not None:
            gpt.generate_stream = lambda *args, **options: _record(original(*args, **options), run)
        if sampling.seed is not None:
            torch.manual_seed(sampling.seed)
        length = {} if num_tokens is None else {"min_new_tokens": num_tokens, "max_new_tokens": num_tokens}
        try:
            chunks = self._xtts.inference_stream(
                self._reading(text, language),
                language,
                torch.from_numpy(voice.gpt_latents)[None],
                torch.from_numpy(voice.speaker_embedding).view(1, -1, 1),
                temperature=sampling.temperature,
                repetition_penalty=sampling.repetition_penalty,
                top_k=sampling.top_k,
                top_p=sampling.top_p,
                speed=sampling.speed,
                **length,
            )
            for chunk in chunks:
                yield chunk.float().cpu().numpy()
        finally:
            gpt.generate_stream = original

    @torch.inference_mode()
    def decode(self, latents: Float32, voice: Conditioning, *, speed: float = 1.0) -> Float32:
        """The full decode of latents [N, D] in one vocoder call: pcm [S] at 24 kHz."""
        stack = torch.from_numpy(np.asarray(latents, np.float32))[None]
        if speed != 1.0:
            stack = torch.nn.functional.interpolate(
                stack.transpose(1, 2), scale_factor=1.0 / speed, mode="linear"
            ).transpose(1, 2)
        speaker = torch.from_numpy(voice.speaker_embedding).view(1, -1, 1)
        pcm: Float32 = self._xtts.hifigan_decoder(stack, g=speaker).float().flatten().cpu().numpy()
        return pcm


def _record(steps: Iterator[tuple[Any, Any]], run: StockRun) -> Iterator[tuple[Any, Any]]:
    for token, latent in steps:
        run.tokens.append(int(token))
        run.latents.append(latent[0].float().cpu().numpy())
        yield token, latent


__all__ = ["StockRun", "StockXtts"]
