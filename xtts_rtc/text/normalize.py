"""Text to the form the model was trained on: lower case, numbers, abbreviations and symbols as words.

In: what is to be said and one of the seventeen languages. Out: the same in words (Latin letters for
Chinese, Japanese and Korean). Equal to coqui-tts 0.28.0 `VoiceBpeTokenizer.preprocess_text`, quirks
included, because the model learned with them; where that raises, this speaks:

- Hindi digits, ordinals and currency: `hindi.py` (there: NotImplementedError);
- Czech ordinals ("3. května"): words up to 99, else the cardinal (there: NotImplementedError);
- a number over num2words' range, an ordinal it lacks: the cardinal, or digit by digit.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from xtts_rtc.errors import MissingExtra
from xtts_rtc.text import chinese, hindi, lexicon, romanize

_NUMBER = re.compile(r"[0-9]+")
_DECIMAL = re.compile(r"[0-9]+[.,][0-9]+")
_CURRENCY = {
    code: re.compile(rf"{sign}[0-9.,]*[0-9]|[0-9.,]*[0-9]{sign}")
    for code, sign in (("GBP", "£"), ("USD", r"\$"), ("EUR", "€"))
}
_CURRENCY_SIGNS = frozenset("£$€")
_WITH_COMMAS = re.compile(r"\b\d{1,3}(?:,\d{3})*(?:\.\d+)?\b")
# The unescaped point is the reference's: it takes any character between two groups of three.
_WITH_POINTS = re.compile(r"\b\d{1,3}(?:.\d{3})*(?:,\d+)?\b")
_SPACES = re.compile(r"\s+")
_TURKISH_CAPITALS = str.maketrans("İÖÜ", "iöü")
_RUPEES = re.compile(r"₹ ?([0-9][0-9.,]*)")
_HINDI_CURRENCY = {"GBP": "पाउंड", "USD": "डॉलर", "EUR": "यूरो"}

_CZECH_UNITS = "nultý první druhý třetí čtvrtý pátý šestý sedmý osmý devátý".split()
_CZECH_TEENS = "desátý jedenáctý dvanáctý třináctý čtrnáctý patnáctý šestnáctý sedmnáctý osmnáctý devatenáctý".split()
_CZECH_TENS = "dvacátý třicátý čtyřicátý padesátý šedesátý sedmdesátý osmdesátý devadesátý".split()


def normalize(text: str, language: str) -> str:
    """`text` in the words and letters that the tokenizer gets; `language` is one of types.LANGUAGES.

    Raises MissingExtra if the language needs a package that is not installed. Never raises for a text.
    """
    if language == "ja":
        return romanize.romaji(text).lower()
    text = text.replace('"', "")
    if language == "tr":
        text = text.translate(_TURKISH_CAPITALS)
    text = chinese.expand_numbers(text.lower()) if language == "zh-cn" else _expand_numbers(text.lower(), language)
    for pattern, words in lexicon.abbreviations(language):
        text = pattern.sub(words, text)
    for mark, word in lexicon.symbol_words(language).items():
        text = text.replace(mark, word).replace("  ", " ")
    text = _SPACES.sub(" ", text.strip()).strip()
    if language == "zh-cn":
        return romanize.pinyin(text)
    return romanize.romanize_korean(text) if language == "ko" else text


def _expand_numbers(text: str, language: str) -> str:
    if not _NUMBER.search(text):
        return text
    if language in ("en", "ru"):
        text = _WITH_COMMAS.sub(lambda found: found[0].replace(",", ""), text)
    else:
        text = _WITH_POINTS.sub(lambda found: found[0].replace(".", ""), text)
    text = _expand_currencies(text, language)
    if language != "tr":
        text = _DECIMAL.sub(lambda found: _decimal(found[0].replace(",", "."), language), text)
    text = lexicon.ordinal_pattern(language).sub(lambda found: _ordinal(found[1], language), text)
    return _NUMBER.sub(lambda found: _cardinal(found[0], language), text)


def _expand_currencies(text: str, language: str) -> str:
    if language == "hi":
        text = _RUPEES.sub(lambda found: f"{found[1]} रुपये", text)
    try:
        for code, pattern in _CURRENCY.items() if not _CURRENCY_SIGNS.isdisjoint(text) else ():
            text = pattern.sub(_currency_reader(code, language), text)
    except MissingExtra:
        raise
    except Exception:
        # A currency the language lacks ends the loop, as in the reference: the sign becomes a word later.
        return text
    return text


def _currency_reader(code: str, language: str) -> Callable[[re.Match[str]], str]:
    def read(found: re.Match[str]) -> str:
        amount = float(re.sub(r"[^\d.]", "", found[0].replace(",", ".")))
        if language == "hi":
            return f"{_hindi_amount(amount)} {_HINDI_CURRENCY[code]}"
        words = _num2words(amount, language, to="currency", currency=code)
        before, joint, _ = words.rpartition(lexicon.AND_BEFORE_CENTS[language])
        return before if joint and amount.is_integer() else words

    return read


def _hindi_amount(amount: float) -> str:
    return hindi.cardinal(int(amount)) if amount.is_integer() else hindi.decimal(f"{amount:.2f}")


def _decimal(amount: str, language: str) -> str:
    if language == "hi":
        return hindi.decimal(amount)
    try:
        return _num2words(float(amount), language)
    except MissingExtra:
        raise
    except Exception:
        return " ".join(_cardinal(part, language) for part in amount.split("."))


def _ordinal(digits: str, language: str) -> str:
    try:
        number = int(digits)
        if language == "hi":
            return hindi.ordinal(number)
        if language == "cs":
            return _czech_ordinal(number)
        return _num2words(number, language, ordinal=True)
    except MissingExtra:
        raise
    except Exception:
        return _cardinal(digits, language)


def _cardinal(digits: str, language: str) -> str:
    try:
        return hindi.cardinal(int(digits)) if language == "hi" else _num2words(int(digits), language)
    except MissingExtra:
        raise
    except Exception:
        # Over the range (10**24 in Spanish), or more digits than Python's int takes.
        return " ".join(_digit(digit, language) for digit in digits)


def _digit(digit: str, language: str) -> str:
    return hindi.cardinal(int(digit)) if language == "hi" else _num2words(int(digit), language)


def _czech_ordinal(number: int) -> str:
    if number < 10:
        return _CZECH_UNITS[number]
    if number < 20:
        return _CZECH_TEENS[number - 10]
    tens, units = divmod(number, 10)
    said = _CZECH_TENS[tens - 2]
    return f"{said} {_CZECH_UNITS[units]}" if units else said


def _num2words(number: float, language: str, **options: object) -> str:
    try:
        from num2words import num2words
    except ImportError:
        raise MissingExtra("numbers need num2words: pip install 'xtts-rtc[cpu]'") from None
    return str(num2words(number, lang=language, **options))


__all__ = ["normalize"]
