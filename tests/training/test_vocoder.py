from __future__ import annotations

import numpy as np
import pytest

from training.corpus import Corpus
from training.vocoder import shares

_LENGTHS = (10, 30, 20, 40)


def _corpus(*names: str) -> Corpus:
    """An utterance of each speaker."""
    return Corpus(
        codes=[np.zeros(length, np.int16) for length in _LENGTHS],
        speaker_of=list(range(len(names))),
        speakers=[(name, 1.0, 1.0, 1.0) for name in names],
    )


def test_windows_are_of_the_default_voice_as_often_as_asked() -> None:
    found = shares(_corpus("default", "default", "deep", "drawn"), 0.7)
    assert found == pytest.approx([0.7 / 4, 0.7 * 3 / 4, 0.1, 0.2])


@pytest.mark.parametrize("name", ["default", "drawn"])
def test_where_there_is_no_other_voice_length_alone_decides(name: str) -> None:
    assert shares(_corpus(name, name, name, name), 0.7) == pytest.approx([0.1, 0.3, 0.2, 0.4])
