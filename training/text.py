"""Sentences for training: a grammar of everyday speech, and word lists that teach spelling to sound.

Deterministic for a seed. Text is written as people write it ("at 7:30 pm", "$42.50"); the product's own
normalisation turns it into words, so that the model learns exactly what it will be given.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import yaml

LISTS = Path(__file__).parent / "lists"
_SLOT = re.compile(r"\{(\w+)\}")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_COMMON, _ALL = 6_000, 40_000
_NUM_CLAUSES = 76  # of the grammar's first patterns: those that can be joined to a longer sentence
_SMALL = "the the the of of in a and to for with by on from his her was is at into beyond".split()
_UNSPOKEN = frozenset(
    "fuck fucking shit sex porn nigga nigger ass bitch dick pussy cock nude gay rape slut fucked bitches fucks shitty"
    " asshole damn xxx nazi nazis kill killed killing murder suicide terrorist whore cunt faggot retard".split()
)


class Writer:
    """An endless source of sentences, none of them in the lists that the voice is judged by."""

    def __init__(self, seed: int, *, max_chars: int = 180) -> None:
        self._random = random.Random(seed)
        self._max_chars = max_chars
        self._grammar = grammar()
        self._words, self._rare, self._proper = vocabulary()
        self._forbidden = held_out()
        self._makers: dict[str, Callable[[], str]] = {
            "int": self._int, "digit": lambda: self._pick("one two three four five six seven eight nine".split()),
            "digits": self._digits, "price": self._price, "time": self._time, "date": self._date, "year": self._year,
            "percent": lambda: f"{self._random.randint(1, 100)} %", "spelled": self._spelled, "code": self._code,
            "spelled_one": lambda: self._pick(list(_LETTERS)), "word": lambda: self._pick(self._words[:_COMMON]),
            "rare": lambda: self._pick(self._rare), "proper": lambda: self._pick(self._proper),
        }  # fmt: skip

    def everyday(self) -> str:
        """What an agent might say, so that a tagger can make something of it; it may be one of the forbidden."""
        return self._fill("{sentence}")

    def sentence(self) -> str:
        """The next one."""
        while True:
            draw = self._random.random()
            if draw < 0.27:
                text = self.everyday()
            elif draw < 0.52:
                text = self._long()
            elif draw < 0.58:
                text = self._salad(self._words)
            else:
                text = self._salad(self._rare, self._proper)
            text = text[0].upper() + text[1:]
            if len(text) <= self._max_chars and text.lower() not in self._forbidden:
                return text

    def _pick(self, options: list[str]) -> str:
        return self._random.choice(options)

    def _fill(self, pattern: str) -> str:
        def fill(found: re.Match[str]) -> str:
            maker = self._makers.get(found[1])
            return maker() if maker else self._fill(self._pick(self._grammar[found[1]]))

        return _SLOT.sub(fill, pattern)

    def _long(self) -> str:
        """Clauses joined up to a length drawn between 80 characters and the limit."""
        low = min(80, self._max_chars // 2)
        wanted, text = self._random.randint(low, max(low, self._max_chars - 20)), ""
        while len(text) < wanted:
            clause = self._fill(self._pick(self._grammar["sentence"][:_NUM_CLAUSES]))
            stop, clause = clause[-1], clause[:-1]
            text = (
                clause if not text else text + self._pick([", and ", ", but ", ", so ", " because ", " and "]) + clause
            )
        return text + stop

    def _salad(self, words: list[str], names: list[str] | None = None) -> str:
        """Unrelated words, a third of them `names`: nothing but the spelling tells how they sound. Half of the time
        with small words between them, as a sentence has."""
        chosen = self._random.choices(words, k=self._random.randint(3, 9))
        if names is not None:
            chosen = [self._pick(names) if self._random.random() < 0.33 else word for word in chosen]
        if len(chosen) > 5 and self._random.random() < 0.4:
            chosen[len(chosen) // 2] += ","
        if self._random.random() < 0.5:
            chosen = [f"{self._pick(_SMALL)} {word}" if self._random.random() < 0.5 else word for word in chosen]
        return " ".join(chosen) + self._pick([".", ".", ".", "?", "!"])

    def _int(self) -> str:
        high = self._pick(["12", "20", "60", "100", "1000", "10000"])
        number = self._random.randint(2, int(high))
        return f"{number:,}" if number >= 1000 and self._random.random() < 0.5 else str(number)

    def _digits(self) -> str:
        groups = self._random.choice([[3], [4], [3, 3], [3, 4], [3, 3, 4], [2, 2, 2]])
        words = "zero one two three four five six seven eight nine".split()
        return ", ".join(" ".join(self._random.choices(words, k=size)) for size in groups)

    def _price(self) -> str:
        dollars = self._random.choice([self._random.randint(1, 20), self._random.randint(10, 999)])
        kind = self._random.random()
        if kind < 0.5:
            return f"${dollars}"
        return f"${dollars}.{self._random.randint(1, 99):02d}" if kind < 0.8 else f"{dollars} dollars"

    def _time(self) -> str:
        hour, minute = self._random.randint(1, 12), self._random.choice([0, 5, 10, 15, 20, 30, 40, 45, 50, 55])
        kind = self._random.random()
        if minute == 0 or kind < 0.2:
            return self._pick([f"{hour} o'clock", f"{hour} am", f"{hour} pm", f"{hour} in the morning"])
        if kind < 0.4:
            return self._pick(["quarter past", "half past", "quarter to", "ten to", "twenty past"]) + f" {hour}"
        return f"{hour}:{minute}" + self._pick([" am", " pm", "", " in the evening"])

    def _date(self) -> str:
        day = self._random.randint(1, 31)
        ending = "th" if 10 < day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
        month = self._pick(self._grammar["month"])
        return self._pick([f"{month} {day}{ending}", f"the {day}{ending} of {month}", f"{month} {day}{ending}"])

    def _year(self) -> str:
        return str(self._random.choice([self._random.randint(1900, 2035), self._random.randint(2000, 2030)]))

    def _spelled(self) -> str:
        return " ".join(self._fill(self._pick(["{name}", "{surname}"])).replace(" ", "").upper().replace("'", ""))

    def _code(self) -> str:
        digits = "zero one two three four five six seven eight nine".split()
        return " ".join(self._pick([*_LETTERS, *digits, *digits]) for _ in range(self._random.randint(3, 6)))


@cache
def grammar() -> dict[str, list[str]]:
    """Each slot's options."""
    slots = yaml.safe_load((LISTS / "grammar.yaml").read_text(encoding="utf-8"))
    return {name: text.split(" | ") if isinstance(text, str) else text for name, text in slots.items()}


@cache
def held_out() -> frozenset[str]:
    """What the voice is judged by, in lower case."""
    return frozenset(line.lower() for name in ("everyday", "rare", "long", "longest") for line in lines(name))


def lines(name: str) -> list[str]:
    """A list of lists/, one text a line."""
    return (LISTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()


@cache
def vocabulary() -> tuple[list[str], list[str], list[str]]:
    """Common words, most frequent first, rare words and names; all of them in the teacher's lexicon."""
    import hibari
    from wordfreq import top_n_list, zipf_frequency

    path = Path(hibari.__file__).parent / "assets" / "lexicon_us_gold.json.gz"
    lexicon = json.loads(gzip.decompress(path.read_bytes()))
    common = [word for word in top_n_list("en", _ALL) if word in lexicon and _is_plain(word)]
    names = [w for w in lexicon if w[0].isupper() and w[1:].islower() and len(w) > 2 and _is_plain(w.lower())]
    proper = [name for name in names if zipf_frequency(name, "en") > 2]
    listed = set(common)
    rarer = [w for w in lexicon if w not in listed and _is_plain(w) and len(w) > 3 and zipf_frequency(w, "en") > 1.2]
    return common[:_COMMON], common[_COMMON // 3 :] + rarer, proper


def _is_plain(word: str) -> bool:
    if word in _UNSPOKEN or not word.isascii() or not word.replace("'", "").isalpha():
        return False
    if len(word) <= 2:
        return word in "a i am an as at be by do go he if in is it me my no of oh on or so to up us we ok hi".split()
    return any(letter in "aeiouy" for letter in word)


__all__ = ["LISTS", "Writer", "grammar", "held_out", "lines", "vocabulary"]
