"""English words as phonemes, for a model that was trained on phonemes instead of letters.

The file `pronunciation.xz` lies beside such a model's vocabulary: UTF-8 lines under xz, a tab in each.

    abandon<TAB>əbˈændən        a word, in lower case; a capital is the name of a letter
    the+<TAB>ði                 the same word before a vowel
                                an empty line, then what letters stand for in words that are not listed:
    augh<TAB>                   "u" (in the middle, or just left of it) between these neighbours, silent here

Phonemes are lower-case characters, so that the tokenizer of coqui-tts leaves a text of them alone.
"""

from __future__ import annotations

import lzma
import re
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from xtts_rtc.errors import CheckpointError

FILE = "pronunciation.xz"
EDGE = "#"
"""Stands for what is before and after a word in the letters' neighbours."""
MAX_CONTEXT = 8
"""Most neighbours of a letter that are looked at: right, left, right, ..."""
VOWELS = frozenset("aiueoæɑɒɔəɚɛɜɪʊʌᵻɐᵊᴀɩᴏᴡᴐ")
_STRESS = "ˈˌ"
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
_SIBILANTS, _VOICELESS = frozenset("szʃʒʧʤ"), frozenset("ptkfθ")


class Pronunciation:
    """words: reading by word; rules: reading of the middle letter by its neighbourhood, see `reading_of_letters`.

    Never raises for a text. Immutable; may be shared by threads.
    """

    def __init__(self, words: Mapping[str, str], rules: Mapping[str, str]) -> None:
        self._words, self._rules = words, rules

    @classmethod
    def read(cls, data: bytes) -> Pronunciation:
        """The bytes of a `pronunciation.xz`. Raises CheckpointError."""
        try:
            words, rules = lzma.decompress(data).decode("utf-8").split("\n\n")
            return cls(*(dict(line.split("\t") for line in part.splitlines()) for part in (words, rules)))
        except (lzma.LZMAError, EOFError, ValueError) as error:
            raise CheckpointError(f"the model's {FILE} cannot be read ({error}); copy it again") from None

    def to_bytes(self) -> bytes:
        """What `read` takes."""
        parts = ("\n".join(f"{key}\t{value}" for key, value in part.items()) for part in (self._words, self._rules))
        return lzma.compress("\n\n".join(parts).encode("utf-8"), preset=9)

    def __call__(self, text: str) -> str:
        """A normalised text (lower case, no digits) with each word replaced by its phonemes; the rest as it is."""
        found = list(_WORD.finditer(text))
        words = [match[0].replace("’", "'") for match in found]
        out, end, following = list[str](), len(text), ""
        for index in range(len(found) - 1, -1, -1):
            match = found[index]
            gap = text[match.end() : end]
            reading = self._reading(words, index, is_before_vowel=gap == " " and following[:1] in VOWELS)
            out += [gap, reading]
            end, following = match.start(), reading.lstrip(_STRESS)
        return text[:end] + "".join(reversed(out))

    def _reading(self, words: list[str], index: int, *, is_before_vowel: bool) -> str:
        word = words[index]
        if is_spelled(words, index):
            word = word.upper()
        elif is_before_vowel and f"{word}+" in self._words:
            word = f"{word}+"
        known = self._words.get(word)
        return self._unlisted(word) if known is None else known

    def _unlisted(self, word: str) -> str:
        stem, mark, ending = word.rpartition("'")
        if mark and ending == "s" and stem:
            reading = self._words.get(stem) or self._unlisted(stem)
            return reading + ("ᵻz" if reading[-1:] in _SIBILANTS else "s" if reading[-1:] in _VOICELESS else "z")
        plain = unicodedata.normalize("NFKD", word.lower())
        letters = "".join(letter for letter in plain if letter in _LETTERS)
        if not letters:
            return word
        if not set(letters) & set("aeiouy"):
            return "".join(self._words.get(letter.upper(), "") for letter in letters)
        return "".join(reading_of_letters(letters, self._rules))


def read_beside(folder: Path) -> Pronunciation | None:
    """Of a model's folder; None if its vocabulary is of letters. Raises CheckpointError."""
    path = folder / FILE
    return Pronunciation.read(path.read_bytes()) if path.is_file() else None


def is_spelled(words: list[str], index: int) -> bool:
    """Whether a word of one letter is the letter's name. "a" and "i" are words unless other letters stand beside."""
    if len(words[index]) != 1:
        return False
    beside = [words[i] for i in (index - 1, index + 1) if 0 <= i < len(words)]
    return words[index] not in "ai" or any(len(word) == 1 and word != "i" for word in beside)


def neighbourhood(padded: str, at: int, size: int) -> str:
    """Letter `at` with `size` neighbours, of which the first is to the right, the second to the left, and so on."""
    return padded[at - size // 2 : at + (size + 1) // 2 + 1]


def reading_of_letters(letters: str, rules: Mapping[str, str]) -> list[str]:
    """What each letter of a word stands for: the rule with the largest neighbourhood that fits, "" without one."""
    pad = EDGE * MAX_CONTEXT
    padded = f"{pad}{letters}{pad}"
    readings = []
    for at in range(MAX_CONTEXT, MAX_CONTEXT + len(letters)):
        around = (neighbourhood(padded, at, size) for size in range(MAX_CONTEXT, -1, -1))
        readings.append(next((rules[key] for key in around if key in rules), ""))
    return readings


__all__ = [
    "EDGE", "FILE", "MAX_CONTEXT", "VOWELS", "Pronunciation", "is_spelled", "neighbourhood", "read_beside",
    "reading_of_letters",
]  # fmt: skip
