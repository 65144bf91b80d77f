"""Scripts that the model reads in Latin letters: Chinese as pinyin, Japanese as romaji, Korean as revised romanisation.

The packages for Chinese and Japanese are optional and imported at first use; without one, MissingExtra
names the extra. Korean needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from itertools import product
from threading import Lock

from xtts_rtc.errors import MissingExtra

_INITIALS = ("g", "kk", "n", "d", "tt", "l", "m", "b", "pp", "s", "ss", "", "j", "jj", "ch", "k", "t", "p", "h")
_VOWELS = (
    "a", "ae", "ya", "yae", "eo", "e", "yeo", "ye", "o", "wa", "wae", "oe", "yo", "u", "wo", "we", "wi", "yu", "eu",
    "ui", "i",
)  # fmt: skip
_FINALS = (
    "", "g", "kk", "gs", "n", "nj", "nh", "d", "l", "lg", "lm", "lb", "ls", "lt", "lp", "lh", "m", "b", "bs", "s",
    "ss", "ng", "j", "ch", "k", "t", "p", "h",
)  # fmt: skip
_FIRST_SYLLABLE, _LAST_SYLLABLE = 0xAC00, 0xD7A3


@cache
def _is_ambiguous(letters: str) -> bool:
    """Whether the consonants between two vowels could be shared out in more than one way."""
    cuts = range(len(letters))
    return sum(letters[:cut] in _FINALS and letters[cut:] in _INITIALS for cut in cuts) > 1


@cache
def _ambiguous_joins() -> frozenset[tuple[int, int]]:
    pairs = product(range(len(_FINALS)), range(len(_INITIALS)))
    return frozenset((final, initial) for final, initial in pairs if _is_ambiguous(_FINALS[final] + _INITIALS[initial]))


def romanize_korean(text: str) -> str:
    """Hangul syllables in Latin letters, other characters as they are.

    The academic form of the 2000 rules, equal to hangul-romanize 0.1.0: a hyphen before a syllable that
    begins with a vowel, and where the consonants could be shared out differently.
    """
    joins = _ambiguous_joins()
    parts: list[str] = []
    previous_final: int | None = None
    for char in text:
        code = ord(char)
        if not _FIRST_SYLLABLE <= code <= _LAST_SYLLABLE:
            parts.append(char)
            previous_final = None
            continue
        rest, final = divmod(code - _FIRST_SYLLABLE, len(_FINALS))
        initial, vowel = divmod(rest, len(_VOWELS))
        if previous_final is not None and (not _INITIALS[initial] or (previous_final, initial) in joins):
            parts.append("-")
        parts.append(_INITIALS[initial] + _VOWELS[vowel] + _FINALS[final])
        previous_final = final
    return "".join(parts)


def pinyin(text: str) -> str:
    """Chinese characters as pinyin with tone numbers (5 is the neutral tone). Raises MissingExtra."""
    try:
        from pypinyin import Style
        from pypinyin import pinyin as read
    except ImportError:
        raise _missing("Chinese", "pypinyin", "zh") from None
    return "".join(found[0] for found in read(text, style=Style.TONE3, neutral_tone_with_five=True))


def romaji(text: str) -> str:
    """Japanese in Hepburn letters, foreign words in their own spelling. Raises MissingExtra."""
    convert = _cutlet()
    try:
        return convert(text)
    except Exception:
        # cutlet 0.5.2 trips over some single characters; what it can read is still said.
        return "".join(_romaji_or_nothing(convert, char) for char in text)


def _romaji_or_nothing(convert: Callable[[str], str], char: str) -> str:
    try:
        return convert(char)
    except Exception:
        return ""


@cache
def _cutlet() -> Callable[[str], str]:
    try:
        # cutlet imports without a dictionary and fails when it is made.
        import_module("unidic_lite")
        from cutlet import Cutlet
    except ImportError:
        raise _missing("Japanese", "cutlet, fugashi and unidic-lite", "ja") from None
    tagger, turn = Cutlet(), Lock()

    def read(text: str) -> str:
        with turn:  # MeCab's tagger underneath mixes up the texts of two threads
            return str(tagger.romaji(text))

    return read


def _missing(language: str, packages: str, extra: str) -> MissingExtra:
    return MissingExtra(f"{language} needs {packages}: pip install 'xtts-rtc[{extra}]'")


__all__ = ["pinyin", "romaji", "romanize_korean"]
