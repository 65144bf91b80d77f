"""The sentences that are trained on: reproducible, in bounds, and never those that the voice is judged by."""

from __future__ import annotations

import pytest

pytest.importorskip("wordfreq")
pytest.importorskip("hibari")

from training.text import Writer, grammar, held_out, lines


def written(seed: int, num: int) -> list[str]:
    writer = Writer(seed, max_chars=180)
    return [writer.sentence() for _ in range(num)]


def test_a_seed_always_gives_the_same_sentences_and_another_seed_others() -> None:
    assert written(3, 50) == written(3, 50) != written(4, 50)


def test_no_sentence_is_over_the_limit_or_one_to_be_judged_by() -> None:
    texts = written(5, 2000)
    assert max(map(len, texts)) <= 180
    assert not {text.lower() for text in texts} & held_out()


def test_there_are_single_words_questions_numbers_spellings_and_long_sentences() -> None:
    texts = written(6, 2000)
    assert any(len(text.split()) == 1 for text in texts)
    assert any(text.endswith("?") for text in texts)
    assert any(char.isdigit() for text in texts for char in text)
    assert any(" S M I T H" in text or "spelled" in text for text in texts)
    assert sum(len(text) > 120 for text in texts) > 50


def test_every_slot_of_the_grammar_can_be_filled() -> None:
    writer = Writer(7, max_chars=10_000)
    for patterns in grammar().values():
        for pattern in patterns:
            assert "{" not in writer._fill(pattern)


def test_the_lists_to_judge_by_are_of_one_length_and_without_repetition() -> None:
    assert len(set(lines("everyday"))) == 100
    assert len(set(lines("rare"))) == 40
