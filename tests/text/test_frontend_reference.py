"""Token ids against coqui-tts 0.28.0, the text front end that the published model was trained with.

The slow test asks coqui-tts itself. The fast one asks `reference_words.json`, which holds what coqui-tts made of
some hundreds of sentences (`python tests/text/test_frontend_reference.py` writes it anew): importing coqui-tts
imports torch, which is more than the whole fast run may take.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tests.text.sentences import sentences
from xtts_rtc.text.normalize import normalize
from xtts_rtc.text.tokenizer import TextFrontend
from xtts_rtc.types import LANGUAGES

_WORDS = Path(__file__).with_name("reference_words.json")
_PER_LANGUAGE = 1300
_MAY_RAISE = {
    "hi": "NotImplementedError",
    "cs": "NotImplementedError",
    "pl": "IndexError",
    "hu": "KeyError",
    "ko": "KeyError",
}


def _as_inference_gives_it(text: str, language: str) -> str:
    # Python's lower() makes two characters of the Turkish İ, which the reference then does not know.
    return text.strip() if language == "tr" else text.strip().lower()


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_equal_those_of_the_reference(language: str) -> None:
    for package in {"zh-cn": ["pypinyin"], "ja": ["cutlet", "unidic_lite"]}.get(language, []) + ["num2words"]:
        pytest.importorskip(package)
    rows = json.loads(_WORDS.read_text(encoding="utf-8"))[language]
    assert len(rows) >= 20
    for text, words in rows:
        assert normalize(_as_inference_gives_it(text, language), language) == words


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ids_equal_those_of_the_reference_on_twenty_thousand_sentences(tmp_path: Path) -> None:
    reference_class = pytest.importorskip("TTS.tts.layers.xtts.tokenizer").VoiceBpeTokenizer
    vocabularies = [_make_vocabulary(tmp_path / "vocab.json")]
    if published := os.environ.get("XTTS_TEST_VOCAB"):
        vocabularies.append(Path(published))
    for path in vocabularies:
        outcome = _compare(TextFrontend.from_file(path), reference_class(str(path)))
        print(path.name, outcome)
        assert outcome["equal"] >= 20_000 * len(TextFrontend.from_file(path).languages) // 17
        assert outcome["different"] == 0
        assert outcome["raised"] < 1200


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_coqui_tts_takes_our_phonemes_as_they_are() -> None:
    reference_class = pytest.importorskip("TTS.tts.layers.xtts.tokenizer").VoiceBpeTokenizer
    vocabulary = Path(str(files("xtts_rtc"))) / "assets" / "embedded" / "vocab.json"
    ours, reference = TextFrontend.from_file(vocabulary), reference_class(str(vocabulary))
    for text in sentences("en", _PER_LANGUAGE):
        reading = ours.reading(text, "en")
        assert reference.encode(reading.lower(), "en") == ours.encode(text, "en"), text


def _compare(ours: TextFrontend, reference: Any) -> Counter[str]:
    outcome: Counter[str] = Counter()
    for language in ours.languages:
        for text in sentences(language, _PER_LANGUAGE):
            try:
                wanted = reference.encode(_as_inference_gives_it(text, language), language)
            except Exception as error:
                assert _MAY_RAISE.get(language) == type(error).__name__, (language, text)
                assert ours.count(text, language) > 1
                outcome["raised"] += 1
                continue
            is_equal = ours.encode(text, language) == wanted
            outcome["equal" if is_equal else "different"] += 1
            if not is_equal:
                print(language, repr(text))
    return outcome


def _make_vocabulary(path: Path) -> Path:
    """A BPE vocabulary over all scripts, in the published layout."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    words = json.loads(_WORDS.read_text(encoding="utf-8"))
    lines = [said.replace(" ", "[SPACE]") for rows in words.values() for _, said in rows]
    special = ["[STOP]", "[UNK]", "[SPACE]", *(f"[{language}]" for language in LANGUAGES)]
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=3000, special_tokens=special))
    tokenizer.save(str(path))
    return path


def _write_reference_words() -> None:
    from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer

    reference = VoiceBpeTokenizer()
    table: dict[str, list[tuple[str, str]]] = {}
    for language in LANGUAGES:
        rows = table[language] = []
        for text in sentences(language, 40, seed=1):
            try:
                words = reference.preprocess_text(_as_inference_gives_it(text, language), language.partition("-")[0])
            except Exception:
                continue
            rows.append((text, words))
    _WORDS.write_text(json.dumps(table, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _write_reference_words()
