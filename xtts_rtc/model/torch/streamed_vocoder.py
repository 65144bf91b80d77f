"""The vocoder on a CUDA stream of its own, so that it can run beside decode steps; on a CPU just the vocoder."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from xtts_rtc.model.torch.vocoder import TorchVocoder
from xtts_rtc.types import Float32


class PendingAudio:
    """Samples on their way to the host."""

    def __init__(self, pcm: Tensor, done: torch.cuda.Event | None) -> None:
        self._pcm, self._done = pcm, done

    @property
    def is_ready(self) -> bool:
        """`wait` would return at once."""
        return self._done is None or bool(self._done.query())  # type: ignore[no-untyped-call]

    def wait(self) -> Float32:
        """pcm [F * 256] float32; blocks until the device has made it."""
        if self._done is not None:
            self._done.synchronize()
        array: Float32 = self._pcm.numpy()
        return array


class StreamedVocoder:
    """decoder: `TTS.tts.layers.xtts.hifigan_decoder.HifiDecoder` on its device, only read.

    Weights are float32. With `allow_tf32` a GPU may round what its convolutions multiply to 10 bits of mantissa:
    51 dB against float32 on trained weights and 59 dB on full-size random ones (rounding imitated on a CPU),
    where float16 has 50 dB and could overflow, and bfloat16 has 30 dB.
    """

    def __init__(self, decoder: Any, *, allow_tf32: bool) -> None:
        with torch.no_grad():
            self._vocoder = TorchVocoder(decoder)
        self._allow_tf32 = allow_tf32
        device = next(decoder.parameters()).device
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(device))  # the weights were folded there

    def launch(self, frames: Tensor, speaker_embedding: Tensor, rest: tuple[int, int] | None = None) -> PendingAudio:
        """Start decoding frames [D, F] with speaker_embedding [512], both on the host; `rest` as TorchVocoder's."""
        with convolutions(allow_tf32=self._allow_tf32), self._beside():
            pcm = self._vocoder.decode(frames, speaker_embedding, rest)
            if self._stream is None:
                return PendingAudio(pcm, None)
            host = torch.empty(pcm.shape, dtype=pcm.dtype, pin_memory=True)
            host.copy_(pcm, non_blocking=True)
            done = torch.cuda.Event()  # type: ignore[no-untyped-call]
            done.record(self._stream)
            return PendingAudio(host, done)

    def _beside(self) -> Any:
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)


def convolutions(*, allow_tf32: bool) -> Any:
    """A context in which convolutions on a GPU are exact float32, or may be TF32; torch's default is TF32."""
    return torch.backends.cudnn.flags(enabled=True, allow_tf32=allow_tf32)


__all__ = ["PendingAudio", "StreamedVocoder", "convolutions"]
