"""The gate: equal models pass with nothing to report, spoiled ones are told apart by what is spoiled."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from xtts_rtc.model.interface import ModelInfo
from xtts_rtc.model.quality import MAX_SNR_DB, Parity, compare, is_good, kl_nats, snr_db, trace
from xtts_rtc.model.window import Window
from xtts_rtc.types import Conditioning, Float32

DIM, NUM_TOKENS = 16, 40
STOP = NUM_TOKENS - 1
VOICE = Conditioning("v", np.zeros((32, DIM), np.float32), np.zeros(512, np.float32))
IDS = np.arange(5)


class Recurrent:
    """A model whose latent depends on all tokens so far; `latent_noise` and `audio_noise` spoil it."""

    def __init__(self, *, latent_noise: float = 0.0, audio_noise: float = 0.0, stop_bias: float = 0.0) -> None:
        rng = np.random.default_rng(0)
        self._turn = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0].astype(np.float32)
        self._embed = rng.standard_normal((NUM_TOKENS, DIM)).astype(np.float32)
        self._noise = np.random.default_rng(9)
        self._latent_noise, self._audio_noise, self._stop_bias = latent_noise, audio_noise, stop_bias
        self.released: list[int] = []
        self.fed: list[int] = []

    info = ModelInfo(
        num_layers=1, num_heads=1, dim=DIM, num_audio_tokens=NUM_TOKENS, start_audio_token=NUM_TOKENS - 2,
        stop_audio_token=STOP, max_audio_tokens=60, max_text_tokens=50,
    )  # fmt: skip
    num_slots = 1

    def prefill(self, slot: int, voice: Conditioning, text_ids: NDArray[np.int64]) -> tuple[Float32, Float32]:
        self._state = np.asarray(self._embed[text_ids].sum(axis=0), np.float32)
        return self._out()

    def step(self, slots: NDArray[np.int64], tokens: NDArray[np.int64]) -> tuple[Float32, Float32]:
        self.fed += tokens.tolist()
        self._state = self._state @ self._turn + self._embed[tokens[0]]
        latent, logits = self._out()
        return latent[None], logits[None]

    def release(self, slot: int) -> None:
        self.released.append(slot)

    def decode(self, window: Window, voice: Conditioning, is_unwanted: object = None) -> Float32:
        pcm = np.repeat(window.frames.sum(axis=0), 256)
        return (pcm + self._audio_noise * self._noise.standard_normal(pcm.size)).astype(np.float32)

    def _out(self) -> tuple[Float32, Float32]:
        latent = self._state + self._latent_noise * self._noise.standard_normal(DIM).astype(np.float32)
        logits = latent @ self._embed.T
        logits[STOP] += self._stop_bias
        return latent.astype(np.float32), logits.astype(np.float32)


def check(other: Recurrent, **options: int) -> Parity:
    return compare(Recurrent(), other, VOICE, IDS, **options)  # type: ignore[arg-type]


def test_a_model_equals_itself() -> None:
    parity = check(Recurrent())
    assert parity.num_steps == 60  # no more than the model can
    assert parity.latent_cosine_min == pytest.approx(1) and parity.logit_kl_max == pytest.approx(0, abs=1e-9)
    assert (parity.audio_snr_db, parity.first_divergence) == (MAX_SNR_DB, None)
    assert is_good(parity)


def test_noise_in_the_latents_shows_in_cosine_divergence_and_choices_not_in_the_vocoder() -> None:
    parity = check(Recurrent(latent_noise=0.5))
    assert parity.latent_cosine_min < parity.latent_cosine_mean < 0.9999
    assert parity.logit_kl_max > 0.01 and parity.first_divergence is not None
    assert parity.audio_snr_db == MAX_SNR_DB  # it was given the reference's latents
    assert check(Recurrent(latent_noise=3.0)).latent_cosine_mean < parity.latent_cosine_mean
    assert not is_good(check(Recurrent(latent_noise=3.0)))


def test_noise_in_the_vocoder_shows_in_the_snr_alone() -> None:
    parity = check(Recurrent(audio_noise=1.0))
    assert parity.audio_snr_db < 40 and parity.first_divergence is None
    assert parity.latent_cosine_min == pytest.approx(1)
    assert not is_good(parity)


def test_the_other_model_is_fed_the_tokens_of_the_reference() -> None:
    reference, other = Recurrent(), Recurrent(latent_noise=3.0)
    compare(reference, other, VOICE, IDS, num_steps=20)  # type: ignore[arg-type]
    assert len(other.fed) == 19 and other.fed == reference.fed
    assert other.released == [0]


def test_the_reference_speaks_on_although_it_would_stop() -> None:
    found = trace(Recurrent(stop_bias=1e3), VOICE, IDS, num_steps=12)  # type: ignore[arg-type]
    assert len(found.tokens) == 12 and STOP not in found.tokens


def test_the_same_seed_gives_the_same_tokens_and_another_seed_others() -> None:
    first, again, other = (trace(Recurrent(), VOICE, IDS, seed=seed).tokens for seed in (3, 3, 4))  # type: ignore[arg-type]
    assert first == again != other


def test_snr_in_decibels() -> None:
    tone = np.sin(np.arange(24_000) / 7).astype(np.float32)
    assert snr_db(tone, tone * np.float32(0.99)) == pytest.approx(40, abs=0.1)
    assert snr_db(tone, tone) == MAX_SNR_DB
    assert snr_db(np.zeros(9, np.float32), tone[:9]) == -MAX_SNR_DB


def test_kl_in_nats() -> None:
    truth, found = np.log(np.array([[0.5, 0.5]])), np.log(np.array([[0.25, 0.75]]))
    assert kl_nats(truth, found)[0] == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))


def test_nan_passes_nothing() -> None:
    values = {"num_steps": 1, "latent_cosine_min": 1.0, "logit_kl_max": 0.0, "first_divergence": None}
    assert not is_good(Parity(latent_cosine_mean=math.nan, audio_snr_db=99.0, **values))  # type: ignore[arg-type]
    assert not is_good(Parity(latent_cosine_mean=1.0, audio_snr_db=math.nan, **values))  # type: ignore[arg-type]
