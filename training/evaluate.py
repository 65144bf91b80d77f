"""A model, or the teacher, judged on sentences nobody trained on, at the published sampling defaults.

    python -m training.evaluate MODEL [--sets everyday rare long longest] [--seeds 1] [--voice NAME] [--mos 20]
                                [--out FILE]

MODEL is what `XTTS_MODEL` takes (embedded, a folder), or `teacher`. Audio comes out of the public streaming API.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.judge import Judge, errors, shape, words
from training.teacher import HZ, Array
from training.text import lines
from xtts_rtc.api import Engine
from xtts_rtc.types import SamplingParams

_LONG, _SHORT = 1.6, 0.6
"""Of the teacher's duration: longer is a run-on, shorter has lost words."""
Speak = Callable[[str, int], Array]


@dataclass(slots=True)
class Report:
    """Rates are of words, shares of utterances; `_s` are medians in seconds."""

    name: str
    utterances: int = 0
    wer_moonshine: float = 0.0
    wer_whisper: float = 0.0
    distillmos: float = 0.0
    run_ons: int = 0
    too_short: int = 0
    cut_ends: int = 0
    last_words_lost: int = 0
    longest_s: float = 0.0
    lead_in_s: float = 0.0
    lead_out_s: float = 0.0
    real_time_factor: float = 0.0


def evaluate(name: str, speak: Speak, texts: list[str], seeds: int, num_mos: int, folder: Path | None) -> Report:
    """Judge `speak(text, seed)` on every text and seed. A folder keeps the audio and what was heard."""
    judge, report, teacher = Judge(), Report(name), teacher_voice()
    wrong, total, shapes, scores = dict.fromkeys(Judge.names, 0), 0, [], list[float]()
    spent = 0.0
    for seed, text in tqdm([(s, t) for s in range(seeds) for t in texts], desc=name, mininterval=10):
        began = time.perf_counter()
        pcm = speak(text, seed)
        spent += time.perf_counter() - began
        found, usual = shape(pcm), shape(teacher(text, 1))
        heard = {judged: judge.hear(judged, pcm) for judged in Judge.names}
        for judged, what in heard.items():
            wrong[judged] += errors(text, what)[0]
        total += len(words(text))
        if len(scores) < num_mos:
            scores.append(judge.quality(pcm))
        spoken, expected = (s.duration_s - s.lead_in_s - s.lead_out_s for s in (found, usual))
        report.run_ons += bool(spoken > _LONG * expected)
        report.too_short += bool(spoken < _SHORT * expected)
        report.cut_ends += found.is_cut
        report.last_words_lost += all(words(what)[-1:] != words(text)[-1:] for what in heard.values())
        shapes.append(found)
        if folder is not None:
            _keep(folder, f"{report.utterances:04d}", pcm, {"text": text, "seed": seed, **heard})
        report.utterances += 1
    report.wer_moonshine, report.wer_whisper = (wrong[judged] / total for judged in Judge.names)
    report.distillmos = float(np.mean(scores)) if scores else 0.0
    report.longest_s = max(s.duration_s for s in shapes)
    report.lead_in_s = float(np.median([s.lead_in_s for s in shapes]))
    report.lead_out_s = float(np.median([s.lead_out_s for s in shapes]))
    report.real_time_factor = spent / sum(s.duration_s for s in shapes)
    return report


def _keep(folder: Path, name: str, pcm: Array, notes: dict[str, object]) -> None:
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / f"{name}.wav", pcm, HZ)
    (folder / f"{name}.json").write_text(json.dumps(notes), encoding="utf-8")


def teacher_voice() -> Speak:
    """hibari-tts as it is."""
    from hibari import Hibari

    voice = Hibari()
    return lambda text, seed: voice(text, seed=seed)


def engine_voice(engine: Engine, runner: asyncio.Runner, voice: str) -> Speak:
    """The streaming engine, not paced by the clock."""

    async def speak(text: str, seed: int) -> Array:
        sampling = SamplingParams(seed=seed)
        async with engine.open(voice=voice, language="en", sampling=sampling, realtime=False) as speech:
            speech.push_text(text)
            speech.end_input()
            return np.concatenate([chunk.pcm async for chunk in speech])

    return lambda text, seed: runner.run(speak(text, seed))


def _speakers(options: argparse.Namespace) -> Iterator[Speak]:
    if options.model == "teacher":
        yield teacher_voice()
        return
    with asyncio.Runner() as runner:
        engine = Engine.load(model=options.model, device="cpu", speakers_dir=options.speakers, cache_dir=options.cache)
        try:
            yield engine_voice(engine, runner, options.voice)
        finally:
            engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--sets", nargs="+", default=["everyday", "rare", "long", "longest"])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--mos", type=int, default=20)
    parser.add_argument("--voice", default="default")
    parser.add_argument("--speakers", type=Path, default=Path("speakers"))
    parser.add_argument("--cache", type=Path, default=None)
    parser.add_argument("--keep", type=Path, default=None)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    reports = []
    for speak in _speakers(options):
        for name in options.sets:
            folder = None if options.keep is None else options.keep / name
            texts = lines(name)[: options.limit]
            title = name if options.voice == "default" else f"{name}, {options.voice}"
            reports.append(asdict(evaluate(title, speak, texts, options.seeds, options.mos, folder)))
            print(json.dumps(reports[-1]))
    if options.out is not None:
        options.out.write_text(json.dumps(reports, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
