"""`Runtime` from a bundle on a CPU: numpy and onnxruntime, no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xtts_rtc.errors import BadClip
from xtts_rtc.model.interface import ModelInfo, never
from xtts_rtc.model.onnx.bundle import Bundle, open_bundle
from xtts_rtc.model.onnx.conditioning import Conditioner
from xtts_rtc.model.onnx.gpt import OnnxGpt
from xtts_rtc.model.onnx.sessions import num_threads_here, open_session
from xtts_rtc.model.onnx.vocoder import TRIAL_FRAMES, Trial, best_of, choose_vocoder, open_vocoder
from xtts_rtc.model.sampling import choose_token, new_history
from xtts_rtc.model.window import LatentWindow, Window
from xtts_rtc.types import MODEL_HZ, Conditioning, Float32, SamplingParams


class OnnxRuntime:
    """A bundle behind the step interface.

    bundle: a folder, or an opened bundle. num_threads: None for all cores of the process. vocoder: one of
    `VOCODERS` or "auto", which tries those installed on what the model says (in the voice of `trial_clip`, [S] at
    22,050 Hz, or of noise) and takes the fastest. Raises CheckpointError, and
    MissingExtra or ConfigError for a vocoder that is not there.
    """

    def __init__(
        self,
        bundle: Path | Bundle,
        *,
        num_slots: int,
        num_threads: int | None = None,
        vocoder: str = "auto",
        trial_clip: Float32 | None = None,
    ) -> None:
        self.bundle = open_bundle(bundle) if isinstance(bundle, Path) else bundle
        threads = num_threads or num_threads_here()
        folder, manifest, tables = self.bundle.path, self.bundle.manifest, self.bundle.tables()
        self._num_slots = num_slots
        session = open_session(folder / "gpt.onnx", num_threads=threads)
        self._gpt = OnnxGpt(session, manifest, tables, num_slots=num_slots)
        self._conditioner = Conditioner(folder, tables)
        self.vocoder_trials: tuple[Trial, ...] = ()
        self.vocoder_name = vocoder
        if vocoder == "auto":
            frames, speaker = self._likely_frames(trial_clip)
            self._vocoder, self.vocoder_trials = choose_vocoder(folder, frames, speaker, num_threads=threads)
            self.vocoder_name = best_of(self.vocoder_trials)
        else:
            self._vocoder = open_vocoder(folder, vocoder, num_threads=threads)
        self._vocoder.warm(manifest.info.dim)

    def _likely_frames(self, clip: Float32 | None) -> tuple[Float32, Float32]:
        """Frames [D, F] and speaker [512] as this model makes them, for trying vocoders: a voice, a short text."""
        rng = np.random.default_rng(0)
        samples = clip if clip is not None else rng.normal(0, 0.1, 4 * MODEL_HZ).astype(np.float32)
        latents, embedding = self._conditioner([samples])
        voice, info = Conditioning("trial", latents, embedding), self.info
        num_ids = self.bundle.tables().text_embedding.shape[0]
        latent, logits = self.prefill(0, voice, rng.integers(3, num_ids - 1, 24))
        window, seen = LatentWindow(token_hz=info.token_hz), new_history(info.num_audio_tokens, info.start_audio_token)
        while True:
            window.append(latent)
            if window.num_latents * 4 >= TRIAL_FRAMES:
                break
            logits = np.where(np.arange(logits.size) == info.stop_audio_token, np.float32(-1e9), logits)
            noise = rng.standard_exponential(logits.size, np.float32)
            token = choose_token(logits, seen, SamplingParams(), noise)
            seen[token] = True
            rows = self.step(np.zeros(1, np.int64), np.array([token]))
            latent, logits = rows[0][0], rows[1][0]
        self.release(0)
        piece = window.take(is_end=True)
        assert piece is not None
        return np.ascontiguousarray(piece.frames[:, :TRIAL_FRAMES]), embedding

    @property
    def info(self) -> ModelInfo:
        return self.bundle.manifest.info

    @property
    def num_slots(self) -> int:
        return self._num_slots

    def begin(self, slot: int, voice: Conditioning, text_ids: NDArray[np.int64]) -> int:
        """As `Runtime.begin`; InvalidText for more ids than `info.max_text_tokens`."""
        return self._gpt.begin(slot, voice, text_ids)

    def extend(self, slot: int, max_positions: int) -> tuple[Float32, Float32] | None:
        """As `Runtime.extend`."""
        return self._gpt.extend(slot, max_positions)

    def interrupter(self, slot: int) -> Callable[[], None]:
        """As `Runtime.interrupter`, within an operator."""
        return self._gpt.interrupter(slot)

    def prefill(self, slot: int, voice: Conditioning, text_ids: NDArray[np.int64]) -> tuple[Float32, Float32]:
        """As `Runtime.prefill`."""
        return self._gpt.prefill(slot, voice, text_ids)

    def step(self, slots: NDArray[np.int64], tokens: NDArray[np.int64]) -> tuple[Float32, Float32]:
        """As `Runtime.step`; GenerationFailed for a slot that is empty or full."""
        return self._gpt.step(slots, tokens)

    def release(self, slot: int) -> None:
        """As `Runtime.release`."""
        self._gpt.release(slot)

    def decode(self, window: Window, voice: Conditioning, is_unwanted: Callable[[], bool] = never) -> Float32:
        """As `Runtime.decode`; the openvino vocoders can stop half-way."""
        return self._vocoder(window, voice.speaker_embedding, is_unwanted)

    def warm(self) -> bool:
        """As `Runtime.warm`: one more length of the vocoder."""
        return self._vocoder.warm(self.info.dim)

    def condition(self, clips: list[Float32]) -> tuple[Float32, Float32]:
        """As `Runtime.condition`; BadClip for a clip that is empty, short or not a number."""
        if not clips:
            raise BadClip("no clip was given; a voice needs at least one")
        return self._conditioner(clips)


__all__ = ["OnnxRuntime"]
