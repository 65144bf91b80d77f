from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xtts_rtc.errors import CheckpointError
from xtts_rtc.text.pronunciation import FILE, VOWELS, Pronunciation, neighbourhood, read_beside, reading_of_letters

WORDS = {
    "A": "ˈᴀ", "B": "bˈi", "C": "sˈi", "I": "ˈɩ", "T": "tˈi", "P": "pˈi", "a": "ɐ", "i": "ɩ", "the": "ðə", "the+": "ði",
    "end": "ˈɛnd", "cat": "kˈæt", "bus": "bˈʌs", "dog": "dˈɔɡ", "don't": "dˈᴏnt",
}  # fmt: skip
RULES = {"a": "æ", "c": "k", "ce": "s", "n": "n", "o": "ɑ", "e": "ɛ", "e#": "", "é": "never"}


@pytest.fixture
def read() -> Pronunciation:
    return Pronunciation(WORDS, RULES)


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("the cat, the dog!", "ðə kˈæt, ðə dˈɔɡ!"),
        ("the end", "ði ˈɛnd"),  # before a vowel
        ("the, end", "ðə, ˈɛnd"),
        ("a cat", "ɐ kˈæt"),
        ("a b c", "ˈᴀ bˈi sˈi"),  # names of letters
        ("i don’t", "ɩ dˈᴏnt"),
        ("the cat's, the dog's, the bus's", "ðə kˈæts, ðə dˈɔɡz, ðə bˈʌsᵻz"),
        ("tpc", "tˈipˈisˈi"),  # no vowel: spelled
        ("can cen", "kæn sɛn"),  # by rules
        ("twenty-end: 5 %", "ɛn-ˈɛnd: 5 %"),
        ("你好 cat", "你好 kˈæt"),
        ("", ""),
    ],
)
def test_words_become_phonemes_and_the_rest_stays(read: Pronunciation, text: str, reading: str) -> None:
    assert read(text) == reading


def test_the_rule_with_the_largest_neighbourhood_wins() -> None:
    assert reading_of_letters("ance", RULES) == ["æ", "n", "s", ""]
    assert [neighbourhood("abcdefg", 3, size) for size in range(5)] == ["d", "de", "cde", "cdef", "bcdef"]


def test_letters_with_marks_are_read_as_letters(read: Pronunciation) -> None:
    assert read("cén") == read("cen")


def test_what_was_written_reads_the_same(read: Pronunciation, tmp_path: Path) -> None:
    assert read_beside(tmp_path) is None
    (tmp_path / FILE).write_bytes(read.to_bytes())
    again = read_beside(tmp_path)
    assert again is not None
    assert again("the cat can end.") == read("the cat can end.") != "the cat can end."


@pytest.mark.parametrize("data", [b"", b"nothing of the kind", Pronunciation(WORDS, RULES).to_bytes()[:-40]])
def test_a_damaged_file_is_one_clear_error(data: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"pronunciation.xz cannot be read .* copy it again"):
        Pronunciation.read(data)


def test_phonemes_stay_what_they_are_in_lower_case() -> None:
    assert all(vowel.lower() == vowel for vowel in VOWELS)


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert isinstance(Pronunciation(WORDS, RULES)(text), str)
