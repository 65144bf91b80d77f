"""What the recogniser's text is cleaned of."""

from __future__ import annotations

import pytest

pytest.importorskip("livekit.agents")

from xtts_rtc.demo import stt


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("When does the train lee lee lee lee", "When does the train lee"),
        ("No, no, no, no.", "No."),
        ("That is very very good.", "That is very very good."),
        ("Tell me, tell me.", "Tell me, tell me."),
    ],
)
def test_a_word_three_times_in_a_row_is_one(text: str, cleaned: str) -> None:
    assert stt._STUTTER.sub(r"\1", text) == cleaned
