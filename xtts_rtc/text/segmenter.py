"""Text as an LLM writes it to segments that are spoken one by one; the first leaves early.

In: deltas, cut anywhere. Out: `Segment`s. Where a segment ends follows from the text alone, never from the
deltas; only `flush` cuts where the caller says. No clock, no I/O, nothing beyond the standard library.

`markup` strips what is not said, `boundaries` finds the places to stop at, this file chooses among them, and
`spoken` writes what the model is given.
"""

from __future__ import annotations

from collections.abc import Callable

from xtts_rtc.errors import InvalidParameter, InvalidText, UnknownLanguage
from xtts_rtc.text.boundaries import Level, Scanner, Unit, grapheme_cut, make_unit
from xtts_rtc.text.lexicon import CHAR_LIMITS
from xtts_rtc.text.markup import Cleaner
from xtts_rtc.text.spoken import spoken_form
from xtts_rtc.types import Segment

_LONG = 3
"""A later segment of so many comfortable lengths leaves at a clause already: its sentence may be far from over."""
_MUTE_CHARS = 64
"""Clean characters without anything to say are kept up to here (a quote opens a sentence), then forgotten."""


class Segmenter:
    """Cuts one utterance.

    The first segment leaves at a sentence end, or at a clause of at least `first_min_words` words and
    `first_min_chars` characters; later ones at the first sentence end behind `comfortable_chars`, or at a
    clause behind three times as many. A sentence that ends in white space is released with it; a short one waits for
    company, for `flush` or for `end`. These lengths count a Hangul syllable twice, a Han character or kana three times.

    Limits of every segment's `spoken`: `max_chars` characters (the language's limit for the published
    model if None) and `max_tokens` as `count_tokens` counts them (numbers in words; not checked if None).
    A longer sentence is cut at the best place: clause, word, character, not inside a grapheme where avoidable.
    """

    def __init__(
        self,
        language: str,
        *,
        count_tokens: Callable[[str], int] | None = None,
        max_tokens: int = 400,
        max_chars: int | None = None,
        first_min_chars: int = 15,
        first_min_words: int = 3,
        comfortable_chars: int = 40,
    ) -> None:
        """`language` is one of types.LANGUAGES. Raises UnknownLanguage, or InvalidParameter for a limit too small."""
        language = "zh-cn" if language == "zh" else language
        if language not in CHAR_LIMITS:
            raise UnknownLanguage(f"{language!r} is not a language; it must be one of {', '.join(CHAR_LIMITS)}")
        self._max_chars = CHAR_LIMITS[language] if max_chars is None else max_chars
        if self._max_chars < 16 or max_tokens < 32:
            raise InvalidParameter(
                f"max_chars is {max_chars}, max_tokens {max_tokens}; they must be at least 16 and 32"
            )
        self._language = language
        self._count_tokens = count_tokens
        self._max_tokens = max_tokens
        self._first_min_chars = first_min_chars
        self._first_min_words = first_min_words
        self._comfortable_chars = comfortable_chars
        self._cleaner = Cleaner()
        self._scanner = Scanner(language, self._max_chars)
        self._raw: list[str] = []
        self._raw_start = 0
        self._units: list[Unit] = []
        self._num_chars = 0
        self._ready: list[Segment] = []
        self._index = 0
        self._is_ended = False

    def push(self, delta: str) -> list[Segment]:
        """Add text and return the segments that are complete now. Raises InvalidText after `end`."""
        if self._is_ended:
            raise InvalidText("text came after the end of the input; open a new utterance for it")
        raw, cleaner, scanner = self._raw, self._cleaner, self._scanner
        for char in delta:
            raw.append(char)
            cleaner.feed(char, self._raw_start + len(raw) - 1)
            if cleaner.out:
                for clean, end in cleaner.out:
                    scanner.feed(clean, end)
                cleaner.out.clear()
                if scanner.out:
                    self._accept_ready()
        return self._take()

    def flush(self) -> list[Segment]:
        """Return what there is to say, without waiting for the rest of the sentence.

        What says nothing yet (white space, a Markdown mark) stays and goes with the text that follows.
        """
        self._drain()
        if any(unit.is_voiced for unit in self._units):
            self._emit_all()
        return self._take()

    def end(self) -> list[Segment]:
        """Return the rest. Idempotent: a second call returns nothing.

        A rest that says nothing is a segment with an empty `spoken`, so that no character is lost.
        """
        if not self._is_ended:
            self._is_ended = True
            self._drain()
            if self._raw:
                self._emit_all()
        return self._take()

    def _take(self) -> list[Segment]:
        ready, self._ready = self._ready, []
        return ready

    def _drain(self) -> None:
        self._cleaner.release()
        for clean, end in self._cleaner.out:
            self._scanner.feed(clean, end)
        self._cleaner.out.clear()
        self._scanner.release()
        self._accept_ready(is_releasing=False)

    def _emit_all(self) -> None:
        """All units, and with the last of them the raw text behind it that says nothing."""
        end = self._raw_start + len(self._raw)
        if self._units:
            self._units[-1].raw_end = end
            self._emit(self._units)
        else:
            self._add_segment(end, "")
        self._units, self._num_chars = [], 0

    def _accept_ready(self, *, is_releasing: bool = True) -> None:
        for unit in self._scanner.out:
            self._accept(unit, is_releasing)
        self._scanner.out.clear()

    def _accept(self, unit: Unit, is_releasing: bool) -> None:
        while self._units and self._num_chars + len(unit.text.rstrip()) > self._max_chars:
            self._shorten()
        self._units.append(unit)
        self._num_chars += len(unit.text)
        if is_releasing and unit.level >= Level.CLAUSE and self._is_enough(unit.level):
            self._emit(self._units)
            self._units, self._num_chars = [], 0
        elif not unit.is_voiced and self._num_chars > _MUTE_CHARS:
            self._forget_mute()

    def _forget_mute(self) -> None:
        """Drop the clean text of units that all say nothing, so that a megabyte of dots is one silence."""
        if not any(unit.is_voiced for unit in self._units):
            last = self._units[-1]
            self._units = [Unit("", [], last.raw_end, Level.WORD, 0, 0, False)]
            self._num_chars = 0

    def _is_enough(self, level: Level) -> bool:
        weight = sum(unit.weight for unit in self._units)
        num_words = sum(unit.num_words for unit in self._units)
        if not num_words:
            return False
        if self._index:
            return weight >= self._comfortable_chars * (1 if level is Level.SENTENCE else _LONG)
        if level is Level.SENTENCE:
            return weight > self._first_min_chars // 2
        return weight >= self._first_min_chars and num_words >= self._first_min_words

    def _shorten(self) -> None:
        """Emit the best first part of the units: they are as long as a segment may be."""
        if not any(unit.is_voiced for unit in self._units):
            self._forget_mute()
            return
        at = self._best_cut(self._units, first=self._max_chars // 3)
        head, self._units = self._units[:at], self._units[at:]
        self._num_chars = sum(len(unit.text) for unit in self._units)
        self._emit(head)

    @staticmethod
    def _best_cut(units: list[Unit], first: int) -> int:
        """How many units to take: up to the last boundary of the best kind behind `first` characters, else all."""
        best, best_level, num_chars = len(units), Level.INSIDE, 0
        for at, unit in enumerate(units, start=1):
            num_chars += len(unit.text)
            if num_chars >= first and unit.level >= best_level:
                best, best_level = at, unit.level
        return best

    def _emit(self, units: list[Unit]) -> None:
        """One segment of `units`, or several if what is spoken is over a limit."""
        waiting = [units]
        while waiting:
            part = waiting.pop()
            spoken = spoken_form("".join(unit.text for unit in part), self._language)
            halves = None if self._fits(spoken) else _halve(part)
            if halves is None:
                self._add_segment(part[-1].raw_end, spoken)
            else:
                waiting += reversed(halves)

    def _fits(self, spoken: str) -> bool:
        if not spoken:
            return True
        if len(spoken) > self._max_chars:
            return False
        return self._count_tokens is None or self._count_tokens(spoken) <= self._max_tokens

    def _add_segment(self, raw_end: int, spoken: str) -> None:
        num = raw_end - self._raw_start
        text = "".join(self._raw[:num])
        del self._raw[:num]
        self._raw_start = raw_end
        self._ready.append(Segment(self._index, text, spoken))
        self._index += 1


def _halve(units: list[Unit]) -> tuple[list[Unit], list[Unit]] | None:
    """Two parts of about the same length, cut at the best boundary of the middle half; None for one character."""
    if len(units) == 1:
        return _halve_unit(units[0])
    total = sum(len(unit.text) for unit in units)
    best, best_rank, num_chars = 1, (-1, -1.0), 0
    for at, unit in enumerate(units[:-1], start=1):
        num_chars += len(unit.text)
        from_middle = abs(num_chars - total / 2)
        rank = (int(unit.level) if from_middle <= total / 4 else -1, -from_middle)
        if rank > best_rank or at == 1:
            best, best_rank = at, rank
    return units[:best], units[best:]


def _halve_unit(unit: Unit) -> tuple[list[Unit], list[Unit]] | None:
    if len(unit.text) < 2:
        return None
    at = grapheme_cut(unit.text, len(unit.text) // 2)
    first = make_unit(unit.text[:at], unit.ends[:at], Level.INSIDE)
    second = make_unit(unit.text[at:], unit.ends[at:], unit.level)
    second.raw_end = unit.raw_end
    return [first], [second]


__all__ = ["Segmenter"]
