# ruff: noqa: E501  # lists of awkward strings read better whole
from __future__ import annotations

import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.text.hard_cases import ROWS
from xtts_rtc.errors import InvalidParameter, InvalidText, UnknownLanguage
from xtts_rtc.text.segmenter import Segmenter
from xtts_rtc.types import LANGUAGES, Segment

_PIECES = st.sampled_from(
    ["Hello", "world", " ", " ", ". ", "! ", "? ", ", ", "...", "\n", "\n\n", "**", "*", "_", "`", "```", "```py\n", "# ",
     "- ", "1. ", "[", "](", ")", "http://a.b/c_d ", "<b>", "<", "&amp;", "&", "Dr. ", "e.g. ", "etc. ", "3.14", "12345678",
     "U.S. ", "a@b.com", "😀", "👍🏽", "e\u0301", "\u200f", "\0", "\ud83d", "“", "”", "「", "」", "。", "！", "，", "你好世界",
     "こんにちは", "안녕하세요", "नमस्ते।", "مرحبا؟ ", "क्षत्रिय", "—", " - ", "$1,234.56", "\\*", "|", "---\n", "|---|\n", "\r\n"]
)  # fmt: skip
_TEXTS = st.one_of(st.lists(_PIECES, max_size=60).map("".join), st.text(max_size=120))
_LANGUAGE = st.sampled_from(LANGUAGES)


def segments_of(text: str, language: str = "en", step: int = 1_000_000, **options: int) -> list[Segment]:
    segmenter = Segmenter(language, **options)
    found = [segment for at in range(0, len(text), step) for segment in segmenter.push(text[at : at + step])]
    return found + segmenter.end()


def _letters_as_tokens(text: str) -> int:
    return 1 + sum(6 if char.isdigit() else 1 for char in text)


@given(_TEXTS, _LANGUAGE, st.lists(st.integers(0, 400)), st.booleans())
def test_any_cut_into_deltas_gives_the_same_segments(text: str, language: str, cuts: list[int], tight: bool) -> None:
    options = {"max_chars": 24} if tight else {}
    segmenter = Segmenter(language, **options)
    places = [0, *sorted({min(cut, len(text)) for cut in cuts}), len(text)]
    found = [segment for a, b in zip(places, places[1:], strict=False) for segment in segmenter.push(text[a:b])]
    assert found + segmenter.end() == segments_of(text, language, **options)
    assert segments_of(text, language, step=1, **options) == segments_of(text, language, **options)


@given(_TEXTS, _LANGUAGE, st.integers(16, 60), st.integers(32, 64))
def test_nothing_is_lost_and_no_limit_is_passed(text: str, language: str, max_chars: int, max_tokens: int) -> None:
    segmenter = Segmenter(language, count_tokens=_letters_as_tokens, max_chars=max_chars, max_tokens=max_tokens)
    found = segmenter.push(text) + segmenter.end()
    assert "".join(segment.text for segment in found) == text
    assert [segment.index for segment in found] == list(range(len(found)))
    assert all(len(segment.spoken) <= max_chars for segment in found)
    assert all(_letters_as_tokens(segment.spoken) <= max_tokens for segment in found)


@given(st.lists(_TEXTS, max_size=5))
def test_flushing_anywhere_loses_nothing(texts: list[str]) -> None:
    segmenter = Segmenter("en")
    found = [segment for text in texts for segment in segmenter.push(text) + segmenter.flush()]
    found += segmenter.end()
    assert "".join(segment.text for segment in found) == "".join(texts)


@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=300), _LANGUAGE)
def test_every_letter_and_digit_is_spoken(word: str, language: str) -> None:
    if language == "ja" or any(char.isnumeric() and not ("0" <= char <= "9") for char in word):
        return  # those become other characters
    spoken = "".join(segment.spoken for segment in segments_of(word, language))
    kept = sum(map(str.isalnum, word))
    assert sum(map(str.isalnum, spoken)) >= kept // 2 if not word.isascii() else spoken == word


@pytest.mark.parametrize(("language", "text", "spoken"), ROWS)
def test_hard_case(language: str, text: str, spoken: list[str]) -> None:
    found = segments_of(text, language)
    assert [segment.spoken for segment in found] == spoken
    assert "".join(segment.text for segment in found) == text


def test_the_table_of_hard_cases_covers_every_language() -> None:
    assert len(ROWS) >= 120
    assert {language for language, _, _ in ROWS} == set(LANGUAGES)


def test_first_segment_leaves_at_the_first_long_enough_clause() -> None:
    segmenter = Segmenter("en")
    assert segmenter.push("Well, of course I can,") == []
    assert [segment.text for segment in segmenter.push(" ")] == ["Well, of course I can, "]


def test_a_sentence_leaves_with_the_white_space_behind_its_terminator() -> None:
    segmenter = Segmenter("en")
    assert [segment.spoken for segment in segmenter.push("Hello there, my friend. ")] == ["Hello there, my friend."]
    assert segmenter.push("It is a long road to the next town, I am afraid.") == []
    assert len(segmenter.push("\n")) == 1


def test_later_short_sentences_are_merged() -> None:
    found = segments_of("I am ready to start now. Yes. No. Maybe. I do not know that yet, sorry. And so on.")
    assert [segment.spoken for segment in found][1] == "Yes. No. Maybe. I do not know that yet, sorry."


def test_a_long_sentence_leaves_at_a_clause() -> None:
    text = "Now we begin. " + "this is one more of the many clauses, " * 10
    assert max(len(segment.spoken) for segment in segments_of(text)) < 170


def test_closing_quote_belongs_to_its_sentence() -> None:
    found = segments_of("他说：“今天天气真的非常好啊。”然后他就走了。", "zh-cn")
    assert found[0].text == "他说：“今天天气真的非常好啊。”"


def test_flush_gives_what_is_there_and_keeps_what_says_nothing() -> None:
    segmenter = Segmenter("en")
    assert segmenter.flush() == []
    segmenter.push("And then")
    assert [segment.spoken for segment in segmenter.flush()] == ["And then"]
    segmenter.push(" **")
    assert segmenter.flush() == []
    segmenter.push("more")
    assert [segment.text for segment in segmenter.end()] == [" **more"]


def test_end_is_idempotent_and_closes_the_input() -> None:
    segmenter = Segmenter("en")
    segmenter.push("Bye")
    assert len(segmenter.end()) == 1
    assert segmenter.end() == []
    with pytest.raises(InvalidText):
        segmenter.push("more")


def test_markup_across_segments_is_one_construct() -> None:
    code = "```python\n" + "x = 1. And so on, it is long.\n" * 30 + "```\n"
    found = segments_of(f"Look at this code: {code}That was all of it.", step=3)
    assert [segment.spoken for segment in found] == ["Look at this code:", "That was all of it."]
    bold = segments_of("**First sentence in bold. Second sentence in bold as well, you see.**", step=2)
    assert not any("*" in segment.spoken for segment in bold)


def test_digits_that_expand_over_the_token_limit_are_cut() -> None:
    found = Segmenter("en", count_tokens=lambda text: 4 * sum(map(str.isdigit, text)), max_tokens=40)
    segments = found.push("7" * 200) + found.end()
    assert "".join(segment.spoken for segment in segments) == "7" * 200
    assert max(len(segment.spoken) for segment in segments) <= 10


def test_a_forced_cut_keeps_letters_and_their_marks_together() -> None:
    found = segments_of("e\u0301" * 200, max_chars=25)
    assert not any(segment.text.startswith("\u0301") for segment in found)


@pytest.mark.parametrize(
    "junk", ["\ud800", "\0", "\u202e", "!", "😀", "\n", "`", "<a ", "](", "**", "[", "- ", "\u0301"]
)
def test_junk_alone_is_one_silence(junk: str) -> None:
    found = segments_of(junk * 3_000)
    assert "".join(segment.text for segment in found) == junk * 3_000
    if junk not in ("<a ",):
        assert [segment.spoken for segment in found] == [""]


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit", ["a", "1", "汉", "a b ", ". ", "etc. ", "a.", "“", "<!--", "](x", "*", "\n- ", "&a", "e\u0301", "(", "— "]
)
def test_cost_is_linear(unit: str) -> None:
    def seconds(length: int) -> float:
        text = (unit * length)[:length]
        start = time.perf_counter()
        found = segments_of(text, step=4)
        took = time.perf_counter() - start
        assert "".join(segment.text for segment in found) == text
        assert max(len(segment.spoken) for segment in found) <= 250
        return took

    small, large = min(seconds(50_000), seconds(50_000)), seconds(400_000)
    print(f"{unit!r}: {small:.2f} s for 50 kB, {large:.2f} s for 400 kB")
    assert large < 16 * small + 0.5


def test_wrong_arguments_say_what_would_be_right() -> None:
    with pytest.raises(UnknownLanguage, match="zh-cn"):
        Segmenter("xx")
    with pytest.raises(InvalidParameter, match="at least 16"):
        Segmenter("en", max_chars=3)
    assert Segmenter("zh").push("") == []


def test_importing_the_segmenter_needs_no_package_but_numpy() -> None:
    packages = ("tokenizers", "num2words", "torch", "pypinyin", "cutlet")
    code = f"import sys, xtts_rtc.text.segmenter; print([name for name in {packages} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"
