"""Stage 1: synthetic speech, in shards of a few speakers each. A shard that is there is never made again.

python -m training.sound [PART OF]     # several processes share the work
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training import speakers
from training.config import Config, load
from training.teacher import Teacher, Utterance
from training.text import Writer

ARRAYS = ("pcm", "neutral", "mel", "f0", "phones", "places")


def shard_folder(config: Config, index: int) -> Path:
    return config.folder / "shards" / f"{index:05d}"


def make_shards(config: Config, part: int = 0, of: int = 1) -> None:
    """Make what is missing of this part's shards."""
    teacher = Teacher(config)
    wanted = [i for i in range(config.sound.num_shards) if i % of == part]
    for index in tqdm(wanted, desc=f"sound {part}", mininterval=5):
        if not shard_folder(config, index).is_dir():
            make_shard(config, teacher, index)
        if config.vocoder.melody == "flat" and not (shard_folder(config, index) / "flat.npy").is_file():
            make_flat(config, teacher, index)


def make_shard(config: Config, teacher: Teacher, index: int) -> None:
    """Written beside its place and moved there when it is whole."""
    sound = config.sound
    rng = np.random.default_rng([sound.seed, index])
    writer = Writer(sound.seed * 100_000 + index, max_chars=sound.max_chars)
    cast = [speakers.draw(sound, rng) for _ in range(sound.speakers_per_shard)]
    made: list[tuple[int, Utterance]] = []
    num_refused = 0
    for number, speaker in enumerate(cast):
        count = 0
        while count < sound.utterances_per_speaker:
            try:
                made.append((number, teacher.speak(writer.sentence(), speaker, int(rng.integers(1 << 31)))))
                count += 1
            except ValueError:
                num_refused += 1
    entries = [
        {"text": u.text, "ids": u.ids, "tokens": len(u.places), "samples": u.pcm.size, "speaker": number}
        for number, u in made
    ]
    facts = {
        "speakers": [[s.name, s.formant, s.pitch, s.rate] for s in cast], "refused": num_refused, "utterances": entries,
    }  # fmt: skip
    _write(shard_folder(config, index), facts, [u for _, u in made])


def make_flat(config: Config, teacher: Teacher, index: int) -> None:
    """The audio of a shard again, on one note: flat.npy, of the same shape as pcm.npy."""
    folder = shard_folder(config, index)
    facts = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    cast = [speakers.Speaker(*entry) for entry in facts["speakers"]]
    parts = []
    for entry in facts["utterances"]:
        pcm = teacher.chant(entry["text"], cast[entry["speaker"]])
        pcm = np.pad(pcm, (0, max(0, entry["samples"] - pcm.size)))[: entry["samples"]]  # another noise, another end
        parts.append(np.clip(pcm * 32767, -32767, 32767).astype(np.int16))
    beside = folder / "flat.part.npy"
    np.save(beside, np.concatenate(parts))
    beside.replace(folder / "flat.npy")


def _write(folder: Path, facts: dict[str, object], utterances: list[Utterance]) -> None:
    beside = folder.with_name(folder.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    for name in ARRAYS:
        joined = np.concatenate([getattr(u, name) for u in utterances])
        if name == "pcm":
            joined = np.clip(joined * 32767, -32767, 32767).astype(np.int16)
        np.save(beside / f"{name}.npy", joined if joined.dtype == np.int16 else joined.astype(np.float16))
    (beside / "index.json").write_text(json.dumps(facts), encoding="utf-8")
    beside.replace(folder)


if __name__ == "__main__":
    make_shards(load(), *map(int, sys.argv[1:3]))
