"""From a segment's clean text to what the model is given.

Decides about punctuation that XTTS stumbles over (doubled marks, ellipses, dashes, a lonely full stop) and
writes addresses so that they can be read out. Numbers and symbols are left to `normalize`, but for Japanese,
where the reference expands none. A text without anything to say becomes "".

The full stop at the end is not given to the model when the text is short (at most three words), where
XTTS is known to say it ("point", "punto"), nor behind a digit, where German, Czech, Hungarian and Turkish
would make an ordinal of it. "!" and "?" stay: they carry the tune.
"""

from __future__ import annotations

import re
import unicodedata

from xtts_rtc.text import japanese
from xtts_rtc.text.boundaries import says_something, weight_of

_SHORT_WORDS = 3
_SHORT_WEIGHT = 24

_DOT_WORDS = {
    "en": "dot", "es": "punto", "fr": "point", "de": "Punkt", "it": "punto", "pt": "ponto", "pl": "kropka",
    "tr": "nokta", "ru": "точка", "nl": "punt", "cs": "tečka", "ar": "نقطة", "zh-cn": "点", "hu": "pont", "ko": "점",
    "ja": "ドット", "hi": "डॉट",
}  # fmt: skip
_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»〝〞＂「」『』《》〈〉", '"') | dict.fromkeys("‘’‚‛‹›＇", "'"))

_ADDRESS = re.compile(
    r"(?:https?|ftp|wss?)://[^\s\"'，。、]+|www\.[^\s\"'，。、]+|[a-zA-Z0-9_.+-]+@[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)+"
    r"|(?<![a-zA-Z0-9])(?:[a-zA-Z0-9-]+\.)+(?:com|org|net|edu|gov|io|ai|app|dev|info|eu|uk|de|fr|es|it|nl|pl|ru|cn|jp|kr|in|br|hu|cz|tr)"
    r"(?![a-zA-Z0-9@])(?:/[^\s\"'，。、]*)?"
)
_SCHEME = re.compile(r"^(?:(?:https?|ftp|wss?)://)?(?:www\.)?")
_VERSION = re.compile(r"(?<![\d.])\d+(?:\.\d+){2,}(?![\d.]*\d)")
_DATE = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4}|\d{2})")
_GROUPED = re.compile(r"\d{1,3}(?:\.\d{3})+")
_MARKS = ".!?,;:،؛؟。！？、，；：।॥"
_ASKING, _CALLING = "?？؟", "!！"

_LINE_BREAK = re.compile(r"[ ]*\r[ ]*(?=([^\W\d_]?))")
_HARD_BREAK = re.compile(r"\s*\n\s*")
_ELLIPSIS = re.compile(r"\s*(?:\.{2,}|…+|⋯+|。{2,})[.…]*\s*(?=(.?))", re.DOTALL)
_DASH = re.compile(r"[\s—]*—[\s—]*")
_RUN = re.compile(rf"([{_MARKS}])(?:\s*[{_MARKS}](?![0-9]))+")
_LOOSE_MARK = re.compile(rf"\s+(?=[{_MARKS}](?:[\s\"')]|$))")
_DOUBLED = re.compile(r"([¿¡—\"'=+#&$%@])\1+")
_EMPTY_BRACKETS = re.compile(r"\(\s*\)|（\s*）")
_LEADING = re.compile(rf"^(?:[{_MARKS})\]…·—-](?![0-9])|\s)+")
_TRAILING = re.compile(r"[\s(（¿¡—-]+$")
_SPACES = re.compile(r"\s+")


def spoken_form(clean: str, language: str) -> str:
    """What the model is given for `clean` (characters as `markup` makes them); "" if it says nothing."""
    text = unicodedata.normalize("NFC", clean.translate(_QUOTES))
    if not says_something(text):
        return ""
    if "." in text:
        text = _ADDRESS.sub(lambda found: _read_address(found[0], language), text)
        text = _VERSION.sub(lambda found: _read_version(found[0], language), text)
    text = text.replace("_", " ")
    if language == "ja":
        text = japanese.expand_numbers(text)
    else:
        text = text.replace('"', "")  # the reference drops them too, and would leave the space before a mark
    text = _punctuate(text)
    return _drop_last_stop(text)


def _read_address(address: str, language: str) -> str:
    """A link or mail address without its scheme, dots as a word, what separates its parts as a pause."""
    body = address.rstrip(_MARKS + ")/")
    tail = address[len(body) :].lstrip("/")
    body = _SCHEME.sub("", body)
    if not body:
        return ""
    dotted = re.sub(r"\.+", f" {_DOT_WORDS[language]} ", body)
    return re.sub(r"[/?=&#_%~:;+]+", " ", dotted).strip() + tail


def _read_version(digits: str, language: str) -> str:
    """2.0.1 and 192.168.0.1 with the dots as words; 1.000.000 stays, a date becomes its three numbers."""
    if _GROUPED.fullmatch(digits):
        return digits
    if date := _DATE.fullmatch(digits):
        stop = ". " if language in ("de", "cs") else " "
        return stop.join(date.groups())
    return digits.replace(".", f" {_DOT_WORDS[language]} ")


def _punctuate(text: str) -> str:
    text = _LINE_BREAK.sub(lambda found: _pause(text, found, ", " if found[1].isupper() else " "), text)
    broken = text
    text = _HARD_BREAK.sub(lambda found: _pause(broken, found, ". "), text)
    text = _EMPTY_BRACKETS.sub(" ", text)
    text = _ELLIPSIS.sub(_read_ellipsis, text)
    text = _DASH.sub(", ", text)
    text = _DOUBLED.sub(r"\1", text)
    text = _RUN.sub(lambda found: _strongest(found[0]), text)
    text = _LOOSE_MARK.sub("", text)
    return _TRAILING.sub("", _LEADING.sub("", _SPACES.sub(" ", text)))


def _pause(text: str, found: re.Match[str], mark: str) -> str:
    """`mark` where a line ended in a word, else a space."""
    before = text[: found.start()].rstrip("\"')”’")[-1:]
    return mark if before and before not in _MARKS + "—…" and found.end() < len(text) else " "


def _read_ellipsis(found: re.Match[str]) -> str:
    """A pause inside a sentence, a full stop at its end."""
    after = found[1]
    if not after or after.isupper():
        return ". "
    return "" if after in _MARKS else ", "


def _strongest(run: str) -> str:
    """One mark for a run of them: a question before an exclamation before the last."""
    for marks in (_ASKING, _CALLING):
        for char in run:
            if char in marks:
                return char
    return run[-1]


def _drop_last_stop(text: str) -> str:
    body = text.rstrip("\"')")
    if not body.endswith((".", "。", "।")):
        return text
    bare = body[:-1].rstrip()
    is_short = len(bare.split()) <= _SHORT_WORDS and weight_of(bare) <= _SHORT_WEIGHT
    return bare + text[len(body) :] if bare and (is_short or bare[-1].isdigit()) else text


__all__ = ["spoken_form"]
