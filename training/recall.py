"""What the codes of an earlier model stand for, so that a new one can go on where it was.

First that model speaks, and the average sound of each code is a guess: a rough one, for it is heard through a vocoder.
Then, in turns, each frame of real speech gets the code that its sound and the model, reading the text, make likely
together, and each code the mean of its frames. The guess alone left the embedded voice a code loss of 4.2, clusters of
the sound begun there 3.9, one turn 1.8, and all of them 1.6, which is what it had when its training ended.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from training.codes import Codebook
from training.config import Config
from training.corpus import MODEL_HZ, Corpus
from training.network import NUM_CODES
from training.teacher import TOKEN, Array, log_mel
from training.text import Writer

_NUM_LISTENED = 420
_MIN_HEARD = 4
_DOUBT = (8.0, 6.0, 4.0, 3.0, 2.0, 2.0, 1.5, 1.0)
"""Of each turn: how little the sound counts beside what the model expects."""
_OLD = 2  # frames that a code's last centroid counts as
_CLIP_S = 3.0


def recall(config: Config, book: Codebook, shards: list[int], points: Array) -> Codebook:
    """The codebook with the codes of `config.warm_start`; points [N, C] are the frames of these shards on its axes."""
    from training.gpt import Student

    assert config.warm_start is not None
    heard, counts = listen(config.warm_start, _NUM_LISTENED)
    known, centroids = counts >= _MIN_HEARD, book.centroids.copy()
    centroids[known] = (heard[known] - book.neutral_mean) @ book.neutral_axes
    print(f"{known.sum()} of {NUM_CODES} codes of the earlier model were heard")
    student = Student(config)
    for doubt in tqdm(_DOUBT, desc="recall"):
        book = replace(book, centroids=centroids)
        corpus = Corpus.read(config, shards, book)
        chosen, loss = _expected(config, student, corpus, book, points, doubt)
        print(f"the earlier model expects the codes with a loss of {loss:.2f}")
        taken = chosen >= 0
        sums, counts = np.zeros_like(centroids, np.float64), np.bincount(chosen[taken], minlength=NUM_CODES)
        np.add.at(sums, chosen[taken], points[taken])
        centroids = ((sums + _OLD * centroids) / (counts + _OLD)[:, None]).astype(np.float32)
    return replace(book, centroids=centroids)


@torch.no_grad()
def _expected(
    config: Config, student: Any, corpus: Corpus, book: Codebook, points: Array, doubt: float
) -> tuple[np.ndarray, float]:
    """The likeliest code of each frame [N], -1 for those of no batch, and the loss of the nearest ones."""
    begins = np.concatenate([[0], np.cumsum([len(codes) for codes in corpus.codes])])
    nearest = np.concatenate(corpus.codes)
    spread = float(((points - book.centroids[nearest]) ** 2).sum(1).mean())
    centroids, chosen, losses = torch.from_numpy(book.centroids), np.full(len(points), -1), list[float]()
    rng, groups = np.random.default_rng(2), config.gpt.groups
    for rows in corpus.order(rng, groups, config.gpt.group_size):
        batch = corpus.batch(rows, groups)
        clips = [corpus.clip(rng, int(who), _CLIP_S, MODEL_HZ, set(rows)) for who in batch.speakers]
        moved = batch.to(config.device)
        with torch.autocast(config.device, torch.bfloat16):
            latents, _ = student(moved, moved.inputs, student.condition(clips))
            logits = student.gpt.mel_head(latents[:, batch.text.shape[1] :]).float().cpu()
        for b, row in enumerate(rows):
            frames = slice(begins[row], begins[row + 1])
            chances = logits[b, : len(corpus.codes[row])].log_softmax(-1)
            losses += (-chances.gather(1, torch.from_numpy(nearest[frames]).long()[:, None])).flatten().tolist()
            distance = torch.cdist(torch.from_numpy(points[frames]), centroids) ** 2
            chosen[frames] = (chances[:, :NUM_CODES] - distance / (spread * doubt)).argmax(1).numpy()
    return chosen, float(np.mean(losses))


def listen(folder: Path, num: int) -> tuple[Array, np.ndarray]:
    """Let an earlier model speak, and average what each code sounded like: [K, 320] and how often [K].

    Its latent j sounds like code j - 1, the one it has just seen.
    """
    from xtts_rtc.engine.conversion import DEFAULT_CLIP
    from xtts_rtc.engine.runtimes import ModelChoice, load_runtime
    from xtts_rtc.types import Conditioning
    from xtts_rtc.voices.clip import read_clip

    cache = Path("~/.cache/xtts-rtc-training/bundles").expanduser()
    loaded = load_runtime(ModelChoice(name=str(folder), device="cpu"), num_slots=1, cache_dir=cache)
    voice = Conditioning("clip", *loaded.runtime.condition([read_clip(DEFAULT_CLIP).pcm]))
    sums, counts = np.zeros((NUM_CODES, 320)), np.zeros(NUM_CODES, int)
    writer = Writer(77, max_chars=70)
    for seed in tqdm(range(num), desc="listening", mininterval=10):
        ids = np.array(loaded.frontend.encode(writer.sentence(), "en"))
        codes, pcm = _speak(loaded.runtime, voice, ids, seed)
        centres = np.round((np.arange(4, 4 * len(codes)) + 0.5) * TOKEN / 4).astype(int)  # from token 1 on
        if len(codes) > 2:
            np.add.at(sums, codes[:-1], log_mel(pcm, centres))
            np.add.at(counts, codes[:-1], 1)
    return np.asarray(sums / np.maximum(counts, 1)[:, None], np.float32), counts


def _speak(runtime, voice, ids: np.ndarray, seed: int) -> tuple[np.ndarray, Array]:  # type: ignore[no-untyped-def]
    """Codes without the stop, and the audio, at the published sampling defaults but no penalty."""
    from xtts_rtc.model.sampling import choose_token, new_history
    from xtts_rtc.model.window import LatentWindow
    from xtts_rtc.types import SamplingParams

    info, rng, sampling = runtime.info, np.random.default_rng(seed), SamplingParams(repetition_penalty=1.0)
    window, codes = LatentWindow(), list[int]()
    seen = new_history(info.num_audio_tokens, info.start_audio_token)
    latent, logits = runtime.prefill(0, voice, ids)
    while True:
        window.append(latent.copy())
        noise = np.maximum(rng.standard_exponential(info.num_audio_tokens, np.float32), np.float32(1e-30))
        token = choose_token(logits.copy(), seen, sampling, noise)
        if token == info.stop_audio_token or len(codes) > 200:
            break
        codes.append(token)
        latents, all_logits = runtime.step(np.zeros(1, np.int64), np.array([token]))
        latent, logits = latents[0], all_logits[0]
    runtime.release(0)
    whole = window.take(is_end=True)
    assert whole is not None
    return np.array(codes), runtime.decode(whole, voice)
