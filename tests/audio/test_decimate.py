"""48 to 16 kHz for recognisers: the voice passes, what would fold over does not, and there is no lag."""

from __future__ import annotations

import numpy as np
import pytest

from xtts_rtc.audio.decimate import Decimator
from xtts_rtc.audio.frames import Int16


def tone(hz: float, num_samples: int = 48_000) -> Int16:
    return (10_000 * np.sin(2 * np.pi * hz * np.arange(num_samples) / 48_000)).astype(np.int16)


def level(pcm: Int16) -> float:
    return float(np.sqrt(np.mean(pcm.astype(np.float64) ** 2)) * np.sqrt(2))


@pytest.mark.parametrize(("hz", "low", "high"), [(300, 0.99, 1.01), (3000, 0.99, 1.01), (6000, 0.9, 1.01)])
def test_speech_passes(hz: float, low: float, high: float) -> None:
    assert low < level(Decimator().push(tone(hz))) / 10_000 < high


@pytest.mark.parametrize("hz", [9000, 12_000, 15_700, 20_000])
def test_what_would_fold_over_is_gone(hz: float) -> None:
    assert level(Decimator().push(tone(hz))) / 10_000 < 0.03


def test_the_answer_does_not_depend_on_the_cuts() -> None:
    pcm, whole = tone(440, 9_600), Decimator().push(tone(440, 9_600))
    for size in (1, 7, 480, 960, 961):
        decimator = Decimator()
        parts = [decimator.push(pcm[at : at + size]) for at in range(0, len(pcm), size)]
        assert np.array_equal(np.concatenate(parts), whole)
    assert len(whole) == 3_200


def test_a_click_is_heard_within_a_millisecond() -> None:
    pcm = np.zeros(960, np.int16)
    pcm[480] = 30_000
    assert int(np.abs(Decimator().push(pcm)).argmax()) / 16_000 - 480 / 48_000 < 0.001
