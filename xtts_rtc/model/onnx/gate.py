"""How far a quantised GPT graph is from fp32 on the weights at hand: the figures of the manifest.

What the GPT is given decides what its keys and values look like: scales found with made-up texts in a made-up voice fit
trained weights badly (latent cosine 0.998 in real speech where 0.9993 was promised), so a `Trial` is real speech.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xtts_rtc.model.onnx.bundle import Manifest, Quality, Tables
from xtts_rtc.model.onnx.gpt import OnnxGpt
from xtts_rtc.model.onnx.sessions import num_threads_here, open_session
from xtts_rtc.types import Conditioning, Float32

MIN_COSINE = 0.999
"""Mean latent cosine an int8 operator should reach to be the default."""
MIN_STATIC_COSINE = 0.9999
"""Of an operator whose scales come from a calibration run: what a user says may differ from the texts of that."""
NUM_STEPS = 48
_TEXT_IDS = 40
_NUM_MADE_UP = 4


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What graphs are tried with: token ids [T] of at least two texts, without start and stop, and a voice. The first
    text is the one that is compared, the others are for calibration."""

    voice: Conditioning
    texts: tuple[NDArray[np.int64], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Forced:
    """A run along given tokens: latents [N, D], logits [N, V] and the tokens fed."""

    latents: Float32
    logits: Float32
    tokens: list[int]


@dataclass(frozen=True, slots=True, eq=False)
class Peaks:
    """The largest magnitudes that fp32 saw: inputs of the linear layers [layers * 4], and per channel the keys and
    values [2 * layers, heads, head size]."""

    inputs: Float32
    kv: Float32


class Probe:
    """A GPT graph that decodes the texts of a trial."""

    def __init__(self, folder: Path, manifest: Manifest, tables: Tables, trial: Trial) -> None:
        self._session = open_session(folder / "gpt.onnx", num_threads=num_threads_here())
        self._gpt = OnnxGpt(self._session, manifest, tables, num_slots=1)
        self._manifest, self._tables, self._trial = manifest, tables, trial

    def run(self, tokens: list[int] | None = None, index: int = 0) -> Forced:
        """Decode `NUM_STEPS` positions of a text.

        Without `tokens` they are drawn from the graph's own distribution, so that fp32 goes where speech would go;
        a quantised graph is then fed the same ones.
        """
        rng, gpt, info = np.random.default_rng(index), self._gpt, self._manifest.info
        first_latents, first_logits = gpt.prefill(0, self._trial.voice, self._trial.texts[index])
        latents, logits, fed = [first_latents], [first_logits], []
        for step in range(min(NUM_STEPS, info.max_audio_tokens) - 1):
            fed.append(tokens[step] if tokens is not None else _draw(rng, logits[-1], info.stop_audio_token))
            row_latents, row_logits = gpt.step(np.zeros(1, np.int64), np.array(fed[-1:]))
            latents.append(row_latents[0])
            logits.append(row_logits[0])
        return Forced(np.stack(latents), np.stack(logits), fed)

    def peaks(self) -> Peaks:
        """What a watched fp32 graph sees of the texts for calibration."""
        found = [self._peaks(index) for index in range(1, len(self._trial.texts))]
        return Peaks(np.max([one.inputs for one in found], axis=0), np.max([one.kv for one in found], axis=0))

    def _peaks(self, index: int) -> Peaks:
        """All positions of one run at once."""
        manifest, tables, info = self._manifest, self._tables, self._manifest.info
        audio = np.array([info.start_audio_token, *self.run(index=index).tokens])
        ids = np.array([manifest.start_text_token, *self._trial.texts[index], manifest.stop_text_token])
        spoken = tables.mel_embedding[audio] + tables.mel_positions[: audio.size]
        written = tables.text_embedding[ids] + tables.text_positions[: ids.size]
        x = np.concatenate([self._trial.voice.gpt_latents, written, spoken])[None].astype(np.float32)
        total = x.shape[1]
        feed = {"x": x, "last": np.array([total - 1], np.int32), "total": np.array(total, np.int32)}
        empty = np.zeros((1, info.num_heads, total, info.dim // info.num_heads), np.float32)
        memory = [f"{part}{layer}" for layer in range(info.num_layers) for part in "kv"]
        inputs, *kv = self._session.run(["peaks", *(f"q{name}" for name in memory)],
                                        feed | {f"p{name}": empty.copy() for name in memory})  # fmt: skip
        return Peaks(inputs, np.stack([np.abs(one[0]).max(axis=1) for one in kv]))


def compare(truth: Forced, found: Forced) -> Quality:
    """Two runs along the same tokens, fp32's first."""
    a, b = truth.latents.astype(np.float64), found.latents.astype(np.float64)
    cosine = (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    p, q = _log_softmax(truth.logits), _log_softmax(found.logits)
    divergence = (np.exp(p) * (p - q)).sum(axis=1)
    return Quality(
        num_steps=len(a),
        latent_cosine_mean=float(cosine.mean()),
        latent_cosine_min=float(cosine.min()),
        logit_kl_max=float(divergence.max()),
    )


def made_up(manifest: Manifest, num_ids: int, gamma: Float32) -> Trial:
    """For weights nobody can speak with: any of `num_ids` token ids, and a voice with the statistics of the
    perceiver's output, whose last gain is gamma [D]."""
    info, rng = manifest.info, np.random.default_rng(1)
    latents = (rng.standard_normal((info.num_prefix, gamma.size)) * gamma).astype(np.float32)
    size = min(_TEXT_IDS, info.max_text_tokens)
    texts = (rng.integers(3, max(4, num_ids - 1), size) for _ in range(_NUM_MADE_UP))
    return Trial(Conditioning("probe", latents, np.zeros(512, np.float32)), tuple(texts))


def _draw(rng: np.random.Generator, logits: Float32, stop_token: int) -> int:
    p = np.exp(_log_softmax(logits[None])[0])
    p[stop_token] = 0  # go on: a stop leaves nothing to compare
    return int(rng.choice(p.size, p=p / p.sum()))


def _log_softmax(logits: Float32) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    result: np.ndarray[tuple[int, int], np.dtype[np.float64]] = shifted - np.log(
        np.exp(shifted).sum(axis=1, keepdims=True)
    )
    return result


__all__ = ["MIN_COSINE", "MIN_STATIC_COSINE", "NUM_STEPS", "Forced", "Peaks", "Probe", "Trial", "compare", "made_up"]
