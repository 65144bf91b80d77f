"""Does the clip matter? Utterances of each shipped voice are given to the clip they sound most like, and a speaker
that training never saw is asked for.

    python -m training.voices MODEL [--utterances 20] [--out voices.json]

MODEL is what `XTTS_MODEL` takes (embedded, a folder). The teacher says the clips, by what `training.reading` made.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from training import speakers
from training.config import Config, load
from training.evaluate import Speak, engine_voice
from training.export import clip
from training.judge import Judge
from training.speakers import Speaker
from training.teacher import HZ, Array, Teacher
from training.text import lines
from xtts_rtc.api import Engine

STRANGERS = (Speaker("stranger_low", 0.88, 0.91, 1.0), Speaker("stranger_high", 1.05, 1.04, 1.0))
"""Within the range of training, at none of its points."""


def write_clips(config: Config, folder: Path) -> dict[str, Array]:
    """A clip of every voice, shipped or strange, in sentences that the evaluation does not use; who speaks in it."""
    teacher, judge = Teacher(config), Judge()
    found = {}
    for speaker in (*speakers.shipped(config.sound).values(), *STRANGERS):
        pcm = clip(teacher, speaker)
        soundfile.write(folder / f"{speaker.name}.wav", pcm, HZ, subtype="PCM_16")
        found[speaker.name] = judge.speaker(pcm)
    return found


def compare(voices: dict[str, Speak], clips: dict[str, Array], num: int, shipped: list[str]) -> dict[str, object]:
    """Cosines of what each voice says to every clip, and the shares that follow."""
    judge = Judge()
    cosines = {
        name: np.array(
            [[judge.speaker(speak(text, 0)) @ c for c in clips.values()] for text in lines("everyday")[:num]]
        )
        for name, speak in voices.items()
    }
    order = list(clips)
    columns = [order.index(name) for name in shipped]
    right = [cosines[name][:, columns].argmax(axis=1) == shipped.index(name) for name in shipped]
    moved = {}
    for stranger in (name for name in order if name not in shipped):
        column = order.index(stranger)
        moved[stranger] = {
            "output_to_clip": float(cosines[stranger][:, column].mean()),
            "default_to_clip": float(cosines["default"][:, column].mean()),
        }
    return {
        "assigned_right": float(np.mean(right)),
        "assigned_right_of": {name: float(found.mean()) for name, found in zip(shipped, right, strict=True)},
        "strangers": moved,
        "mean_cosines": {
            name: dict(zip(order, np.round(c.mean(0), 3).tolist(), strict=True)) for name, c in cosines.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--utterances", type=int, default=20)
    parser.add_argument("--cache", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    config = load()
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        clips = write_clips(config, Path(folder))
        engine = Engine.load(model=options.model, device="cpu", speakers_dir=folder, cache_dir=options.cache)
        try:
            voices = {name: engine_voice(engine, runner, name) for name in clips}
            found = compare(voices, clips, options.utterances, list(speakers.shipped(config.sound)))
        finally:
            engine.close()
    text = json.dumps(found, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
