"""What counts as a word, and what the shape of audio tells."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("librosa")

from training.judge import HZ, errors, shape, words


def test_numbers_and_spellings_are_the_same_words() -> None:
    assert words("It costs $42.50, okay?") == words("it costs forty-two dollars, fifty cents OK")
    assert words("At 7:30 on the 3rd") == words("at seven thirty on the third")


def test_errors_are_counted_against_what_was_wanted() -> None:
    assert errors("The train leaves at nine.", "the rain leaves at") == (2, 5)
    assert errors("Thanks!", "") == (1, 1)


def test_silence_at_both_ends_and_a_cut_end_are_seen() -> None:
    tone = 0.3 * np.sin(2 * np.pi * 200 * np.arange(HZ) / HZ).astype(np.float32)
    quiet = np.zeros(HZ // 10, np.float32)
    whole = shape(np.concatenate([quiet, tone, quiet]))
    assert whole.duration_s == pytest.approx(1.2)
    assert whole.lead_in_s == pytest.approx(0.1, abs=0.021)
    assert whole.lead_out_s == pytest.approx(0.1, abs=0.021)
    assert not whole.is_cut
    assert shape(np.concatenate([quiet, tone])).is_cut
