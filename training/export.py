"""Stage 8: a checkpoint folder in the published layout, with its voices and its model card.

    python -m training.export FOLDER [REPORT.json ...]

FOLDER gets config.json, vocab.json, pronunciation.xz, model.safetensors (bfloat16), manifest.json, default.wav,
MODEL_CARD.md, and speakers/ with a clip of each shipped voice. `xtts-rtc convert` makes a bundle of it. The reports are
what `training.evaluate` measured on an earlier export of the same weights; they go into the manifest and the card.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from training import speakers, state
from training.config import Config, load
from training.gpt import checkpoint as gpt_checkpoint
from training.latents import averaged
from training.network import STOP, STOP_LATER, xtts_config
from training.speaker import checkpoint as speaker_checkpoint
from training.teacher import HZ, Array, Teacher
from training.text import LISTS
from training.vocoder import PHASES, fold
from training.vocoder import checkpoint as vocoder_checkpoint

LICENCE = "Apache-2.0"
ORIGIN = (
    "Trained for this project on synthetic speech of the hibari-tts 0.2.1 voice 'heart' (Apache-2.0) and of voices"
    " made from it. No person was recorded. English only. How words are read comes from the lexicon of misaki"
    " (Apache-2.0, hexgrad), which hibari-tts brings, and from the CMU Pronouncing Dictionary (BSD-2-Clause)."
)
CLIP = (
    "Good morning, and thank you for calling.",
    "I am happy to help you today, so please tell me what you need.",
    "Speak in your own words, and take all the time you like.",
    "You may interrupt me.",
)


def assemble(config: Config) -> Any:
    """`Xtts` with the averaged weights of every stage."""
    kept = state.read(gpt_checkpoint(config))
    assert kept is not None, "nothing was trained yet"
    xtts = averaged(config, kept).xtts[0]
    xtts.hifigan_decoder.waveform_decoder.load_state_dict(_vocoder(config, kept))
    fitted = state.read(speaker_checkpoint(config))
    assert fitted is not None
    xtts.hifigan_decoder.speaker_encoder.load_state_dict(fitted["encoder"])
    with torch.no_grad():
        xtts.gpt.mel_head.bias[STOP] -= STOP_LATER
    return xtts


def _vocoder(config: Config, kept: dict[str, Any]) -> dict[str, Any]:
    """Of the last phase there is. After the first one only, the GPT's own heads say what features its latents are."""
    phase = next(phase for phase in reversed(PHASES) if vocoder_checkpoint(config, phase).is_file())
    found = state.read(vocoder_checkpoint(config, phase))
    assert found is not None
    weights = {**found["weights"], **found["average"]}
    if found["latents"] is None:
        width = config.codes.num_components
        rows = [*range(width, 2 * width), *range(2 * width + 8, 2 * width + 16)]  # "now": Student._sound_losses
        return fold(weights, kept["heads"]["weight"][rows], kept["heads"]["bias"][rows])
    if found["latents"] != kept["step"]:
        print(f"the vocoder is fitted to the GPT of step {found['latents']}, not {kept['step']}")
    return weights


def clip(teacher: Teacher, speaker: speakers.Speaker) -> Array:
    """9 s of a voice, in sentences of its own."""
    pause = np.zeros(HZ // 5, np.float32)
    parts = [part for seed, text in enumerate(CLIP) for part in (teacher.speak(text, speaker, seed).pcm, pause)]
    joined = np.concatenate(parts[:-1])
    return joined * np.float32(0.7 / np.abs(joined).max())


def card(notes: dict[str, Any], config: Config) -> str:
    """MODEL_CARD.md."""
    flat = (
        "- **It speaks on one pitch** (187.5 Hz), whoever speaks and whatever is asked: a question does not rise.\n"
        if config.vocoder.melody == "flat"
        else ""
    )
    rows = [
        f"| {report['name']}, {report['utterances']} utterances | {report['wer_moonshine']:.1%} |"
        f" {report['wer_whisper']:.1%} | {report['distillmos']:.2f} | {report['run_ons']} | {report['cut_ends']} |"
        for report in notes["figures"]
    ]
    table = "\n".join(
        ["| | moonshine tiny | whisper tiny.en | DistillMOS | run-ons | cut ends |", "|---|---|---|---|---|---|", *rows]
    )
    return f"""# The embedded voice

A small checkpoint of the XTTS v2 architecture, so that the engine can be heard, tested and tried without other weights.
It is **not** the published XTTS v2 and does not have its quality.

- Licence: {notes["licence"]}.
- Origin: {notes["origin"]}
- English only; a synthetic voice. Segments of up to {notes["max_segment_tokens"]} sounds, about 12 s.
- It reads phonemes (`pronunciation.xz`), not letters; a word that is in no list goes by rules learnt from the list.
{flat}- Voices: {", ".join(config.sound.shipped)}, and whatever a clip says about the size of the vocal tract.
- Made by `training/` of the repository, whose README says how and why.

Word error rates by two recognisers, on sentences that nobody trained on, at the published sampling defaults:

{table if rows else "not measured."}

{(LISTS / "cmudict.txt").read_text(encoding="utf-8")}"""


def export(config: Config, folder: Path, reports: list[dict[str, Any]] | None = None) -> None:
    """Write everything; `reports` are what `evaluate` measured, if it was."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: (tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in assemble(config).state_dict().items()
        if not name.startswith("gpt.gpt_inference.")
    }
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(xtts_config(config.sizes).to_json(), encoding="utf-8")
    for path in (config.vocabulary, config.pronunciation):
        shutil.copyfile(path, folder / path.name)
    notes = {
        "name": "embedded", "licence": LICENCE, "origin": ORIGIN, "max_segment_tokens": config.sizes.max_segment_tokens,
        "max_segment_tokens_why": "longer ones were not measured: about 12 s",
        "figures": reports or [],
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")
    (folder / "MODEL_CARD.md").write_text(card(notes, config), encoding="utf-8")
    teacher = Teacher(config)
    for name, speaker in speakers.shipped(config.sound).items():
        place = folder / "default.wav" if name == "default" else folder / "speakers" / f"{name}.wav"
        place.parent.mkdir(exist_ok=True)
        soundfile.write(place, clip(teacher, speaker), HZ, subtype="PCM_16")


if __name__ == "__main__":
    measured = [report for path in sys.argv[2:] for report in json.loads(Path(path).read_text(encoding="utf-8"))]
    export(load(), Path(sys.argv[1]), measured)
