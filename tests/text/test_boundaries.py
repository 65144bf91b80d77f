from __future__ import annotations

import pytest

from xtts_rtc.text.abbreviations import Stop, stop_after
from xtts_rtc.text.boundaries import Level, Scanner, grapheme_cut, weight_of


def sentences_of(text: str, language: str = "en") -> list[str]:
    scanner = Scanner(language, 250)
    for at, char in enumerate(text):
        scanner.feed(char, at + 1)
    scanner.release()
    found, open_text = [], ""
    for unit in scanner.out:
        open_text += unit.text
        if unit.level is Level.SENTENCE:
            found.append(open_text.strip())
            open_text = ""
    return found


@pytest.mark.parametrize(
    ("language", "text", "num"),
    [
        ("en", "Mr. A. B. Smith et al. wrote it, e.g. in vol. 3, at 3.5 p.m. today.", 1),
        ("en", "It ended at 5 p.m. He left.", 2),
        ("en", "No. It is No. 7.", 2),
        ("en", "So do I. Good.", 2),
        ("en", "Wait... what? Yes... No.", 3),
        ("en", 'He said "Go!" "Why?" (Really.) Yes.', 4),
        ("en", "Go to x.com or v1.2.3 now.", 1),
        ("de", "Am 3. Mai um 8 Uhr, z. B. bei Hr. Dr. Ott. Gut.", 2),
        ("de", "Karl V. war Kaiser. Gut.", 2),
        ("hu", "Május 3. napja. Jó.", 2),
        ("zh-cn", "好。“好！”好？好……好", 4),
        ("ja", "はい。「はい。」いいえ！", 3),
        ("hi", "हाँ। नहीं॥ ठीक है?", 3),
        ("ar", "نعم؟ لا! حسنا.", 3),
        ("ru", "В 1799 г. родился А. С. Пушкин. Да.", 2),
    ],
)
def test_number_of_sentences(language: str, text: str, num: int) -> None:
    assert len(sentences_of(text, language)) == num, sentences_of(text, language)


def test_units_joined_are_the_text_and_ends_follow_it() -> None:
    scanner = Scanner("en", 10)
    text = "abcdefghijklmnopqrstuvwxyz 你好。“x” e.g. y"
    for at, char in enumerate(text):
        scanner.feed(char, at + 1)
    scanner.release()
    assert "".join(unit.text for unit in scanner.out) == text
    assert [end for unit in scanner.out for end in unit.ends] == list(range(1, len(text) + 1))
    assert max(len(unit.text) for unit in scanner.out) <= 11


def test_grapheme_cut_steps_back_over_marks_but_not_for_ever() -> None:
    assert grapheme_cut("ae\u0301x", 2) == 1
    assert grapheme_cut("अक्षत", 3) == 1
    assert grapheme_cut("a" + "\u0301" * 100, 50) == 50


def test_weight_counts_dense_scripts_more() -> None:
    assert (weight_of("abc"), weight_of("你好"), weight_of("안녕")) == (3, 6, 4)


def test_ordinary_words_are_no_abbreviations() -> None:
    assert stop_after("no", "es") is Stop.END
    assert stop_after("no", "en") is Stop.INSIDE_BEFORE_DIGIT
    assert stop_after("dr", "ko") is Stop.INSIDE
    assert stop_after("etc", "en") is Stop.INSIDE_BEFORE_SMALL
