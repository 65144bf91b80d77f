"""Clean characters to units: words with the strength of the boundary behind them.

In: clean characters as `markup` gives them. Out: `Unit`s, in order, joined again the same text. Decides from
the characters alone, so a cut between deltas changes nothing; at most the next visible character is waited
for. Knows no lengths of segments and nothing of tokens.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import IntEnum

from xtts_rtc.text.abbreviations import Stop, stop_after
from xtts_rtc.text.markup import HARD_BREAK, LINE_BREAK

_ENDS = frozenset("!?؟。！？｡।॥…‼⁇⁈⁉")
_CLAUSES = frozenset(",;:،؛、，；：､—")
# These need no white space behind them.
_TIGHT = frozenset("。！？｡।॥؟、，；：､—")
_CLOSERS = frozenset("\"')]}»”’›」』】）〉》〕")
_OPENERS = "\"'([{«“‘‹「『【（〈《〔¿¡„‚"
_DENSE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff]")
_HANGUL = re.compile(r"[\u1100-\u11ff\uac00-\ud7a3]")
_DOTTED = re.compile(r"(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,4}")
_ROMAN = re.compile(r"[IVX]+")
_ORDINAL_STOP = frozenset(["de", "cs", "hu", "tr", "pl"])
_JOINERS = frozenset("\u094d\u09cd\u0e3a\u200d")


class Level(IntEnum):
    """How good a place a boundary is to stop at."""

    INSIDE = 0
    WORD = 1
    CLAUSE = 2
    SENTENCE = 3


@dataclass(slots=True)
class Unit:
    """A piece that is not cut unless it must be.

    `text` is clean text and `ends[i]` the raw position behind its character i; `raw_end` the one behind all.
    `weight` is `weight_of(text)`.
    """

    text: str
    ends: list[int]
    raw_end: int
    level: Level
    weight: int
    num_words: int
    is_voiced: bool


def make_unit(text: str, ends: list[int], level: Level) -> Unit:
    """A unit with its figures; `text` is not empty."""
    is_voiced = says_something(text)
    num_words = int(is_voiced) if text.isascii() else max(int(is_voiced), len(_DENSE.findall(text)) // 2)
    return Unit(text, ends, ends[-1], level, weight_of(text), num_words, is_voiced)


def weight_of(text: str) -> int:
    """Length in Latin letters: a Hangul syllable counts 2, a Han character or kana 3."""
    if text.isascii():
        return len(text)
    return len(text) + 2 * len(_DENSE.findall(text)) + len(_HANGUL.findall(text))


def says_something(text: str) -> bool:
    """Whether there is a letter, a digit or a symbol that is read as a word."""
    return any(map(str.isalnum, text)) or any(char in "%&@$£€°₹" for char in text)


def grapheme_cut(text: str, wanted: int) -> int:
    """The last place up to `wanted` (at least 1) that does not part a letter from its marks.

    Looks back 16 characters at most: a longer chain of marks is no letter of any language.
    """
    for at in range(min(wanted, len(text)), max(wanted - 16, 0), -1):
        if at == len(text) or not (_is_mark(text[at]) or text[at - 1] in _JOINERS):
            return at
    return max(1, min(wanted, len(text)))


def _is_mark(char: str) -> bool:
    return unicodedata.category(char)[0] == "M" or "\u1160" <= char <= "\u11ff"


class Scanner:
    """Finds the boundaries. Take what is ready from `out` and clear it."""

    def __init__(self, language: str, longest: int) -> None:
        """`longest`: characters after which a unit is cut where it stands."""
        self.out: list[Unit] = []
        self._language = language
        self._longest = longest
        self._chars: list[str] = []
        self._ends: list[int] = []
        self._undecided: Unit | None = None
        self._stop = Stop.END
        self._word_before = ""
        self._is_quoted = False

    def feed(self, char: str, end: int) -> None:
        """One clean character and the raw position behind it."""
        if self._undecided is not None:
            self._decide(char)
        if char == " " or char == LINE_BREAK or char == HARD_BREAK:
            self._append(char, end)
            self._close_word(char)
            return
        chars = self._chars
        if chars and not (chars[-1].isalnum() and char.isalnum()):
            level = self._level_before(char)
            if level:
                self._close(level)
        self._append(char, end)
        if char == '"':
            self._is_quoted = not self._is_quoted
        if len(self._chars) > self._longest:
            self._cut_long()

    def release(self) -> None:
        """Close what is open: nothing more may come."""
        if self._undecided is not None:
            self._undecided.level = Level.SENTENCE
            self.out.append(self._undecided)
            self._undecided = None
        if self._chars:
            self._close(Level.SENTENCE)

    def _append(self, char: str, end: int) -> None:
        self._chars.append(char)
        self._ends.append(end)

    def _close(self, level: Level) -> None:
        unit = make_unit("".join(self._chars), self._ends, level)
        self._chars, self._ends = [], []
        self._word_before = unit.text.strip()
        self.out.append(unit)

    def _cut_long(self) -> None:
        at = grapheme_cut("".join(self._chars), self._longest)
        unit = make_unit("".join(self._chars[:at]), self._ends[:at], Level.INSIDE)
        self._chars, self._ends = self._chars[at:], self._ends[at:]
        self.out.append(unit)

    def _level_before(self, char: str) -> Level | None:
        """The boundary between the open unit and `char`, neither of them white space; None for no boundary."""
        at = len(self._chars) - 1
        if char in _CLOSERS and (char != '"' or self._is_quoted) or char in _ENDS or char in _CLAUSES or char == ".":
            return None
        while at >= 0 and self._chars[at] in _CLOSERS:
            at -= 1
        if at < 0:
            return None
        last = self._chars[at]
        if last in _TIGHT:
            if last == "—":
                return Level.CLAUSE if char.isalnum() else None
            if last in "，：" and char.isascii() and char.isdigit() and at and self._chars[at - 1].isdigit():
                return None
            return Level.SENTENCE if last in _ENDS else Level.CLAUSE
        if (last in "!?,;:…" or last == "." and not self._chars[at - 1 : at] == ["."]) and _DENSE.match(char):
            return Level.CLAUSE if last in ",;:…" else Level.SENTENCE
        return None

    def _close_word(self, space: str) -> None:
        """White space has come: how good is the boundary?"""
        if space == HARD_BREAK:
            self._close(Level.SENTENCE)
            return
        level, self._stop = self._level_of("".join(self._chars[:-1]).rstrip("".join(_CLOSERS)))
        if space == LINE_BREAK:
            level = max(level, Level.CLAUSE)
        if self._stop is Stop.END:
            self._close(level)
            return
        self._close(level)
        self._undecided = self.out.pop()

    def _level_of(self, stem: str) -> tuple[Level, Stop]:
        """The boundary behind a word, and whether the next character has a say in it."""
        last = stem[-1:]
        if last == "…" or stem.endswith(".."):
            return Level.CLAUSE, Stop.INSIDE_BEFORE_SMALL
        if last in _ENDS and last:
            return Level.SENTENCE, Stop.END
        if last in _CLAUSES and last:
            return Level.CLAUSE, Stop.END
        if last != ".":
            return Level.WORD, Stop.END
        word = stem[:-1].lstrip(_OPENERS)
        stop = self._stop_after(word)
        if stop is Stop.INSIDE:
            return Level.WORD, Stop.END
        return (Level.SENTENCE if stop is Stop.END else Level.WORD), stop

    def _stop_after(self, word: str) -> Stop:
        if word.isdigit() and word.isascii():
            if self._language in _ORDINAL_STOP and len(word) <= 2:
                return Stop.INSIDE if self._language == "de" else Stop.INSIDE_BEFORE_SMALL
            return Stop.END
        if self._language in _ORDINAL_STOP and _ROMAN.fullmatch(word):
            return Stop.INSIDE
        kind = stop_after(word.lower(), self._language)
        if kind is not Stop.END:
            return kind
        if len(word) == 1 and word.isalpha() and (word.isupper() or word.islower()):
            if word == "I" and self._language == "en" and self._word_before.islower():
                return Stop.END
            return Stop.INSIDE if word.isupper() else Stop.INSIDE_BEFORE_SMALL
        return Stop.INSIDE if _DOTTED.fullmatch(word) else Stop.END

    def _decide(self, char: str) -> None:
        """The first visible character behind an abbreviation or an ellipsis has come."""
        unit, self._undecided = self._undecided, None
        assert unit is not None
        if self._stop is Stop.INSIDE_BEFORE_DIGIT:
            is_inside = char.isdigit()
        else:
            is_inside = char.islower() or char.isdigit() or char in _CLAUSES
        if not is_inside:
            unit.level = Level.SENTENCE
        self.out.append(unit)


__all__ = ["Level", "Scanner", "Unit", "grapheme_cut", "make_unit", "says_something", "weight_of"]
