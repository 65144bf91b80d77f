"""How the embedded voice reads: what letters stand for is learnt from a list, and the tokenizer has all of it."""

from __future__ import annotations

import pytest

pytest.importorskip("wordfreq")
pytest.importorskip("hibari")
pytest.importorskip("TTS")

import torch
from tokenizers import Tokenizer

from training import reading
from training.network import ALIKE, rows_of_tokens
from xtts_rtc.text.pronunciation import VOWELS, reading_of_letters

WORDS = {
    "cat": "kˈæt", "can": "kˈæn", "cap": "kˈæp", "cab": "kˈæb", "cent": "sˈɛnt", "cell": "sˈɛl", "scent": "sˈɛnt",
    "tax": "tˈæks", "tan": "tˈæn", "tap": "tˈæp", "ten": "tˈɛn", "pen": "pˈɛn", "pan": "pˈæn", "bell": "bˈɛl",
    "cape": "kˈᴀp", "tape": "tˈᴀp", "cane": "kˈᴀn", "pane": "pˈᴀn", "axe": "ˈæks",
}  # fmt: skip


@pytest.fixture(scope="module")
def rules() -> dict[str, str]:
    return reading.learnt_rules(WORDS)


@pytest.mark.parametrize(("word", "phonemes"), [("cen", "sˈɛn"), ("bat", "bˈæt"), ("bax", "bˈæks"), ("pell", "pˈɛl")])
def test_words_nobody_listed_are_read_by_what_was_learnt(rules: dict[str, str], word: str, phonemes: str) -> None:
    assert "".join(reading_of_letters(word, rules)) == phonemes


def test_a_rule_of_more_context_says_something_else(rules: dict[str, str]) -> None:
    assert rules["c"] == "k"
    assert all(rules.get(key) != "k" for key in rules if len(key) == 2 and key[0] == "c")


@pytest.mark.parametrize(
    ("phones", "phonemes"),
    [
        ("L IY1 AH0 P OW2 L D", "lˈiəpˌOld"),
        ("AY0 V AH1 S T ER0", "Ivˈʌstəɹ"),
        ("P IY1 T ER0", "pˈiTəɹ"),
        ("F ER1 R IY0", "fˈɜɹi"),
    ],
)
def test_the_cmu_dictionary_in_the_teachers_alphabet(phones: str, phonemes: str) -> None:
    assert reading.from_arpabet(phones.split()) == phonemes
    assert reading.theirs(reading.ours(phonemes)) == phonemes


@pytest.mark.parametrize(("word", "phonemes"), [("convert", "kənvˈɜɹt"), ("content", "kˈɑntɛnt"), ("that", None)])
def test_a_word_of_two_readings_has_its_usual_one(word: str, phonemes: str | None) -> None:
    assert reading._usual(word) == phonemes


def test_every_phoneme_is_one_token_and_lower_case() -> None:
    alphabet = sorted(set(ALIKE) | VOWELS | set("ˈˌbdfhklmnpstvwz"))
    tokenizer = Tokenizer.from_str(reading.vocabulary(alphabet))
    text = "".join(alphabet)
    assert text.lower() == text
    ids = tokenizer.encode(f"[en]{text}[SPACE]?").ids
    assert len(ids) == len(alphabet) + 3
    assert 1 not in ids


def test_an_earlier_model_hands_on_what_sounds_alike() -> None:
    past, own = {"a": 0, "sh": 1, "b": 2}, {"b": 0, "ʃ": 1, "æ": 2, "ˈ": 3}
    rows = rows_of_tokens(torch.arange(3.0)[:, None], past, torch.full((4, 1), 9.0), own)
    assert rows[:, 0].tolist() == [2, 1, 0, 9]
