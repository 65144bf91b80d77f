from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from xtts_rtc.errors import CheckpointError, UnknownLanguage
from xtts_rtc.text.segmenter import Segmenter
from xtts_rtc.text.tokenizer import TextFrontend
from xtts_rtc.types import LANGUAGES

pytest.importorskip("tokenizers")
pytest.importorskip("num2words")


@pytest.fixture(scope="module")
def embedded() -> TextFrontend:
    return TextFrontend.from_file(Path(str(files("xtts_rtc"))) / "assets" / "embedded" / "vocab.json")


@pytest.fixture
def every_language(tmp_path: Path) -> TextFrontend:
    from tokenizers import Tokenizer, models, pre_tokenizers

    special = ["[STOP]", "[UNK]", "[SPACE]", *(f"[{language}]" for language in LANGUAGES)]
    tokenizer = Tokenizer(
        models.BPE(
            {name: at for at, name in enumerate([*special, *"abcdefghijklmnopqrstuvwxyz"])}, [], unk_token="[UNK]"
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(tmp_path / "vocab.json"))
    return TextFrontend.from_file(tmp_path / "vocab.json")


def test_embedded_vocabulary_speaks_english_only(embedded: TextFrontend) -> None:
    assert embedded.languages == ("en",)
    assert embedded.num_ids == 262
    with pytest.raises(UnknownLanguage, match="choose one of en"):
        embedded.encode("hola", "es")


def test_embedded_ids_are_words_between_spaces(embedded: TextFrontend) -> None:
    ids = embedded.encode("I have 2.", "en")
    assert ids[0] == 3 and ids.count(2) == 2
    assert 1 not in ids
    assert ids == embedded.encode("i have two.", "en-US")
    assert embedded.count("I have 2.", "en") == len(ids)


@pytest.mark.parametrize("text", ["Привет, как дела?", "你好，世界。", "مرحبا", "नमस्ते!", "Ελληνικά"])
def test_a_script_without_a_letter_in_the_vocabulary_is_unreadable(embedded: TextFrontend, text: str) -> None:
    assert embedded.is_unreadable(embedded.encode(text, "en"))
    assert not embedded.is_unreadable(embedded.encode(f"He said {text}", "en"))


@pytest.mark.parametrize("text", ["Hello.", "café", "5", "$", "I"])
def test_a_text_with_a_known_letter_is_readable(embedded: TextFrontend, text: str) -> None:
    assert not embedded.is_unreadable(embedded.encode(text, "en"))


def test_language_names_are_understood(every_language: TextFrontend) -> None:
    assert every_language.languages == LANGUAGES
    assert {every_language.resolve(name) for name in ("zh", "zh-cn", "zh-CN", "zh_TW")} == {"zh-cn"}
    assert every_language.resolve("pt-BR") == "pt"
    assert (every_language.char_limit("zh"), every_language.char_limit("en")) == (82, 250)
    for name in ("", "xx", "english"):
        with pytest.raises(UnknownLanguage, match="zh-cn"):
            every_language.resolve(name)


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language not in ("zh-cn", "ja")])
@pytest.mark.parametrize("text", ["", "\ud83d\0\u200f", "漢字 мир مرحبا नमस्ते 12 $5 3. 0th", "5" * 400, "€$£%&@#°"])
def test_no_text_raises(every_language: TextFrontend, language: str, text: str) -> None:
    assert every_language.count(text, language) >= 1


def test_a_broken_vocabulary_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(CheckpointError, match="vocabulary"):
        TextFrontend.from_file(tmp_path / "vocab.json")
    with pytest.raises(CheckpointError, match="vocabulary"):
        TextFrontend.from_file(tmp_path / "absent.json")


def test_numbers_count_as_the_words_they_become(embedded: TextFrontend) -> None:
    segmenter = Segmenter("en", count_tokens=lambda text: embedded.count(text, "en"), max_tokens=150)
    found = segmenter.push("I counted " + "987654321 " * 20) + segmenter.end()
    assert len(found) > 3
    assert all(embedded.count(segment.spoken, "en") <= 150 for segment in found)
