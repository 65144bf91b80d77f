"""Synthetic speakers: the teacher's one voice, given another vocal tract, pitch and pace."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from training.config import Sound


@dataclass(frozen=True, slots=True)
class Speaker:
    """`formant` scales the whole spectrum (1.1: a tract shorter by a tenth), `pitch` the fundamental beyond that,
    `rate` the pace; all 1 for the teacher's own voice."""

    name: str
    formant: float
    pitch: float
    rate: float

    @property
    def hz_factor(self) -> float:
        """The fundamental against the teacher's."""
        return self.formant * self.pitch


def shipped(sound: Sound) -> dict[str, Speaker]:
    """The voices that come with the model."""
    return {name: Speaker(name, *values) for name, values in sound.shipped.items()}


def draw(sound: Sound, rng: np.random.Generator) -> Speaker:
    """A speaker of the training set: the default voice, another shipped one, or a new one."""
    known = shipped(sound)
    share = rng.uniform()
    if share < sound.default_share:
        return known["default"]
    if share < sound.default_share + sound.shipped_share:
        return known[str(rng.choice([name for name in known if name != "default"]))]
    formant, pitch, rate = (
        math.exp(rng.uniform(math.log(low), math.log(high))) for low, high in (sound.formant, sound.pitch, sound.rate)
    )
    return Speaker("drawn", formant, pitch, rate)


__all__ = ["Speaker", "draw", "shipped"]
