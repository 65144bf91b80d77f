"""Does somebody speak: a level that stands out of the line's own noise, for long enough.

In: samples of a phone line at any rate. Out: the moments at which speech starts and ends. It measures the
energy between 200 and 3,600 Hz, so hum and offset count for nothing, against a noise floor that it learns.

What it cannot do: it hears energy, not words. Music and a slammed door that rings for a tenth of a second
are speech to it, and so is a sudden steady noise until the floor has risen to it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from xtts_rtc.errors import InvalidParameter
from xtts_rtc.types import Float32

STEP_MS = 10
"""A decision falls so often, on the last `_WINDOW_STEPS` steps of audio."""
SILENCE_DB = -100.0
"""The level of nothing at all, dBFS."""

_WINDOW_STEPS = 2
_BAND_HZ = (200, 3_600)
_ECHO_STEPS = 40
"""How late our own voice may come back: 400 ms, a call over two mobile networks."""
_NOISELESS_DB = -75.0
"""No line is so quiet: this is a lost packet or a muted phone, and says nothing of the line's noise."""


class Change(Enum):
    """What happened on the line."""

    STARTED = "started"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """When a level counts as speech. The defaults were set on telephone speech, test_voice_activity.

    start_db: over the noise floor to begin, stay_db: to go on (dB). quietest_db: speech is never quieter
    (dBFS). start_steps of the last start_window steps must be loud; end_steps quiet ones in a row end it.
    rise_db_s and fall_db_s: how fast the floor follows the line's noise, in dB per second.
    echo_loss_db: our own voice comes back by so much quieter at least, and what is no louder than that
    while we speak is taken for it.
    """

    start_db: float = 9.0
    stay_db: float = 5.0
    quietest_db: float = -48.0
    start_steps: int = 6
    start_window: int = 8
    end_steps: int = 40
    rise_db_s: float = 4.0
    fall_db_s: float = 60.0
    echo_loss_db: float = 18.0


class VoiceActivity:
    """Feed it everything that is heard; it keeps its state between pieces of any length.

    hz is the rate of the samples, 8,000 or more. Raises InvalidParameter for a lower one.
    """

    def __init__(self, hz: int, sensitivity: Sensitivity | None = None) -> None:
        if hz < 8_000:
            raise InvalidParameter(f"sample rate is {hz!r}; voices are found from 8000 Hz on")
        self._how = sensitivity or Sensitivity()
        self._heard = LevelMeter(hz)
        self._ours = LevelMeter(hz)
        self._our_levels: deque[float] = deque(maxlen=_ECHO_STEPS)
        self._floor: float | None = None
        self._recent: deque[bool] = deque(maxlen=self._how.start_window)
        self._num_quiet = 0
        self.is_speaking = False

    def said(self, pcm: Float32) -> None:
        """pcm [S] float32 that we sent, silence included: what may come back as an echo."""
        self._our_levels.extend(self._ours.push(pcm))

    def push(self, pcm: Float32) -> list[Change]:
        """pcm [S] float32 that was heard."""
        echo_db = max(self._our_levels, default=SILENCE_DB) - self._how.echo_loss_db
        changes = (self._step(level, echo_db) for level in self._heard.push(pcm))
        return [change for change in changes if change is not None]

    def _step(self, level: float, echo_db: float) -> Change | None:
        how = self._how
        over = level - max(self._follow(level), how.quietest_db - how.start_db)
        if self.is_speaking:
            self._num_quiet = self._num_quiet + 1 if over < how.stay_db else 0
            if self._num_quiet < how.end_steps:
                return None
            self.is_speaking = False
            self._recent.clear()
            return Change.ENDED
        self._recent.append(over >= how.start_db and level > echo_db)
        if sum(self._recent) < how.start_steps:
            return None
        self.is_speaking = True
        self._num_quiet = 0
        return Change.STARTED

    def _follow(self, level: float) -> float:
        """The floor as it was before this step; the first step on a line is taken for its noise."""
        floor = level if self._floor is None else self._floor
        if level > _NOISELESS_DB or self._floor is None:
            rise, fall = (speed * STEP_MS / 1000 for speed in (self._how.rise_db_s, self._how.fall_db_s))
            self._floor = min(max(level, floor - fall), floor + rise)
        return floor


class LevelMeter:
    """The level of each step, dBFS of the band in which a phone carries speech; a full-scale sine is -3."""

    def __init__(self, hz: int) -> None:
        self._step = hz * STEP_MS // 1000
        size = self._step * _WINDOW_STEPS
        self._window = np.hanning(size).astype(np.float32)
        bins = np.fft.rfftfreq(size, 1 / hz)
        self._is_speech: NDArray[np.bool_] = (bins >= _BAND_HZ[0]) & (bins <= _BAND_HZ[1])
        self._scale = 2.0 / (size * float(np.sum(self._window**2)))
        self._rest = np.zeros(0, np.float32)

    def push(self, pcm: Float32) -> list[float]:
        """pcm [S] to the levels of the steps that are complete now."""
        samples = np.concatenate([self._rest, pcm])
        levels = []
        size = len(self._window)
        start = 0
        while start + size <= len(samples):
            spectrum = np.fft.rfft(samples[start : start + size] * self._window)[self._is_speech]
            power = self._scale * float(np.sum(spectrum.real**2 + spectrum.imag**2))
            levels.append(max(SILENCE_DB, 10 * float(np.log10(power + 1e-12))))
            start += self._step
        self._rest = samples[start:]
        return levels


__all__ = ["SILENCE_DB", "STEP_MS", "Change", "LevelMeter", "Sensitivity", "VoiceActivity"]
