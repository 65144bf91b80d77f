"""Strips what is written but not said: Markdown, fences, tags, emoji, control characters. One character at a time.

In: raw characters with their position. Out: clean characters, each with the raw position behind it. What is
said does not depend on how the text was cut, because the state moves by characters only. Looks ahead only
inside a construct ("](", "<b", "&am"), never further than `_LONGEST_HOLD`; `release` gives up waiting.

Clean text holds two marks besides words and punctuation: HARD_BREAK (a blank line, a list item, a heading:
a sentence ends here) and LINE_BREAK (a plain end of line). Words inside a fence that names a programming
language are not said; a fence without a language, or of text or markdown, is.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import deque
from functools import cache

HARD_BREAK = "\n"
LINE_BREAK = "\r"

_LONGEST_HOLD = 300
_LONGEST_RUN = 8
_LINE_ENDS = frozenset("\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")
_PROSE_FENCES = frozenset(["", "text", "txt", "plain", "plaintext", "markdown", "md"])
_KEPT_SYMBOLS = frozenset("+=%&@#$£€°₹")
_SAID_AS = {
    "|": ",", "\\": " ", "{": "", "}": "", "[": "", "]": "", "*": "", "~": "", "`": "", "<": " ", ">": " ",
    "^": " ", "′": "'", "´": "'", "″": '"', "−": "-", "‐": "-", "‑": "-", "→": ",", "⇒": ",", "•": " ", "‣": " ",
    "◦": " ", "٪": "%", "٫": ".", "٬": ",", "‽": "?", "¶": " ", "§": " ", "⁄": "/", "―": "—", "⸺": "—",
    "．": ".", "％": "%", "＆": "&", "＠": "@", "＃": "#", "＄": "$", "￡": "£", "￥": "¥", "＋": "+", "＝": "=",
}  # fmt: skip

_AT_LINE_START = frozenset("#>-*+=_`~|•‣◦·")
_LINE_MORE = re.compile(
    r"#{1,6}|[-*_=~]+[ \t]*|[+•‣◦·]|`{1,2}|`{3,}[^`\n]{0,60}|~{3,}[^~\n]{0,60}|\|[-|: \t]{0,200}"
    r"|\d{1,3}[.)]?|\[[ xX]?\]?"
)
_BULLET = re.compile(r"[-*+•‣◦·][ \t]")
_HEADING = re.compile(r"#{1,6}[ \t]")
_RULE = re.compile(r"(?:[-*_=~]+[ \t]*|\|[-|: \t]*|#{1,6})\n")
_FENCE = re.compile(r"(`{3,}|~{3,})[ \t]*([^\s`]*)[^`\n]*\n")
_NUMBERED = re.compile(r"\d{1,3}[.)][ \t]")
_CHECKBOX = re.compile(r"\[[ xX]\][ \t]")
_NOTE_MORE = re.compile(r"\[\^?\d{0,3}")
_NOTE = re.compile(r"\[\^?\d{1,3}\]")
_ENTITY_MORE = re.compile(r"&#?[A-Za-z0-9]{0,8}")
_TAG = re.compile(
    r"""</?[A-Za-z][\w:.-]*(?:\s+[\w:.-]+=(?:"[^"]*"|'[^']*'|[^\s"'>]+))*\s*/?>|<\|[^|<>]*\|>|<!--.*-->|<[!?][^>]*>"""
)
_AUTOLINK = re.compile(r"<([A-Za-z][A-Za-z0-9+.-]*:[^\s<>]+|[^\s<>@]+@[^\s<>@]+)>")
_BREAKING_TAG = re.compile(r"</?(?:br|p|li|ul|ol|div|tr|table|h[1-6]|blockquote)\b", re.IGNORECASE)


@cache
def said_as(char: str) -> str:
    """What a character that is no markup stands for in clean text: itself, another, a space, or nothing."""
    if char in _SAID_AS:
        return _SAID_AS[char]
    if char < "\x7f" and char >= " ":
        return char
    category = unicodedata.category(char)
    if category[0] == "C":
        return ""
    if category == "Nd":
        return str(unicodedata.digit(char))
    if category in ("No", "Nl") or "！" <= char <= "～" and char.isalnum() or "\u2100" <= char <= "\u214f":
        return unicodedata.normalize("NFKC", char).replace("\u2044", "/")
    if category in ("So", "Sm", "Sk"):
        return char if char in _KEPT_SYMBOLS else " "
    # Variation selectors and the keycap frame are marks of emoji, not of letters.
    return "" if "\ufe00" <= char <= "\ufe0f" or char == "\u20e3" else char


class Cleaner:
    """Raw characters to clean ones. Take what is ready from `out` and clear it."""

    def __init__(self) -> None:
        self.out: list[tuple[str, int]] = []
        self._hold: list[tuple[str, int]] = []
        self._last = ""
        self._is_line_start = True
        self._num_newlines = 0
        self._fence = ""
        self._is_fence_said = True
        self._fence_line = ""
        self._link_depth = 0

    def feed(self, char: str, at: int) -> None:
        """One raw character at raw position `at`."""
        if not self._hold and char.isascii() and char.isalnum() and not self._is_line_start:
            self._emit(char, at)
            return
        waiting = deque([(char, at)])
        while waiting:
            item = waiting.popleft()
            if self._fence and not self._is_fence_said:
                self._skip_code(*item)
            elif self._hold:
                self._hold.append(item)
                self._judge(waiting)
            elif self._opens_hold(item[0]):
                self._hold.append(item)
                if item[0] in "](":
                    self._link_depth = 0
            else:
                self._plain(*item)

    def release(self) -> None:
        """Take what is held back as it stands: nothing more may come."""
        waiting: deque[tuple[str, int]] = deque()
        while self._hold:
            self._give_up(waiting)
            while waiting:
                item = waiting.popleft()
                if self._opens_hold(item[0]):
                    self._hold.append(item)
                    self._hold += waiting
                    waiting.clear()
                else:
                    self._plain(*item)

    def _opens_hold(self, char: str) -> bool:
        if char in "[]!<&\\*_-–`":
            return True
        return self._is_line_start and (char in _AT_LINE_START or char.isascii() and char.isdigit())

    def _judge(self, waiting: deque[tuple[str, int]]) -> None:
        """Decide about what is held: wait for more, take it as markup, or give its first character up."""
        if len(self._hold) > _LONGEST_RUN and len({char for char, _ in self._hold[-_LONGEST_RUN:]}) == 1:
            self._hold.pop()  # a longer run says nothing else, and giving it up would cost its square
        held = "".join(char for char, _ in self._hold)
        is_settled = self._line_markup(held, waiting) if self._is_line_start else None
        if is_settled is None:
            is_settled = self._inline_markup(held, waiting)
        if is_settled is None or len(held) > _LONGEST_HOLD:
            self._give_up(waiting)
        elif is_settled:
            self._hold.clear()

    def _give_up(self, waiting: deque[tuple[str, int]]) -> None:
        first, *rest = self._hold
        self._hold.clear()
        waiting.extendleft(reversed(rest))
        self._plain(*first)

    def _line_markup(self, held: str, waiting: deque[tuple[str, int]]) -> bool | None:
        """Markup that only counts at the start of a line. True: done, False: wait, None: it is none."""
        at, before = self._hold[-1][1], self._hold[0][1] - 1
        if held[0] == ">":
            waiting.appendleft(self._hold[-1])
            return True
        if _BULLET.fullmatch(held) or _HEADING.fullmatch(held) or _CHECKBOX.fullmatch(held):
            self._break(before)
            return True
        if _NUMBERED.fullmatch(held):
            self._break(before)
            for char, where in self._hold[:-2]:
                self._emit(char, where)
            # A comma: the full stop would make an ordinal of it in German, and a sentence in all others.
            self._emit(",", self._hold[-2][1])
            self._emit(" ", at)
            return True
        if fence := _FENCE.fullmatch(held):
            self._toggle_fence(fence[1], fence[2], before)
            return True
        if _RULE.fullmatch(held):
            waiting.appendleft(self._hold[-1])
            self._break(before)
            return True
        return False if _LINE_MORE.fullmatch(held) else None

    def _toggle_fence(self, fence: str, info: str, at: int) -> None:
        self._is_fence_said = bool(self._fence) or info.lower() in _PROSE_FENCES
        self._fence = "" if self._fence else fence
        self._fence_line = ""
        self._break(at)

    def _skip_code(self, char: str, at: int) -> None:
        if char != "\n":
            # More than a fence is never needed of a line of code.
            self._fence_line = (self._fence_line + char)[-80:]
            return
        line, self._fence_line = self._fence_line.rstrip(), ""
        if line.endswith(self._fence):
            self._fence, self._is_line_start = "", True
            self._break(at)

    def _inline_markup(self, held: str, waiting: deque[tuple[str, int]]) -> bool | None:
        first = held[0]
        if first in "*_-–":
            return self._run(held, waiting)
        if first == "`":
            return self._inline_fence(held)
        if first == "[":
            return True if _NOTE.fullmatch(held) else False if _NOTE_MORE.fullmatch(held) else None
        if first == "]":
            return self._link_target(held)
        if first == "<":
            return self._tag(held, waiting)
        if first == "&":
            return self._entity(held)
        if held == "![":
            return True
        if first == "\\" and len(held) == 2 and held[1] in "\\`*_{}[]()#+-.!|>~'\"$":
            self._plain(*self._hold[1])
            return True
        return None

    def _inline_fence(self, held: str) -> bool | None:
        """A fence that a model forgot to put on a line of its own."""
        if fence := _FENCE.fullmatch(held):
            self._toggle_fence(fence[1], fence[2], self._hold[0][1] - 1)
            self._is_line_start = True
            return True
        return False if _LINE_MORE.fullmatch(held) else None

    def _run(self, held: str, waiting: deque[tuple[str, int]]) -> bool:
        """Emphasis or dashes: a run of one character, judged when the next one is there."""
        mark, after = held[0], held[-1]
        if len(set(held)) == 1:
            return False
        at = self._hold[0][1]
        waiting.appendleft(self._hold[-1])
        num = len(held) - 1
        is_inside = num == 1 and self._last.isalnum() and after.isalnum()
        self._is_line_start = False
        if mark == "_":
            if is_inside:
                self._emit("_", at)  # an address keeps its shape until it is read out
        elif mark == "*":
            if is_inside and self._last.isdigit() and after.isdigit():
                self._emit(" ", at)
        elif num > 1 or not is_inside and mark == "–" or self._last in " \r\n" and after.isspace() and self._last:
            self._emit("—", at)
        else:
            self._emit("-", at)
        return True

    def _link_target(self, held: str) -> bool | None:
        """The "](address)" of a link; the words before it have been said."""
        char = held[-1]
        if len(held) == 1 or held == "](":
            self._link_depth = len(held) - 1
            return False
        if self._link_depth == 0 or char in "\n[]<>":
            return None
        if char.isspace():
            return False if " " not in held[:-1] else (False if held.count('"') == 1 else None)
        if " " in held and '"' not in held:
            return None
        self._link_depth += {"(": 1, ")": -1}.get(char, 0)
        return self._link_depth == 0

    def _tag(self, held: str, waiting: deque[tuple[str, int]]) -> bool | None:
        if len(held) == 2 and not (held[1].isalpha() or held[1] in "/!?|"):
            return None
        if held[-1] in "\n<":
            return None
        if held[-1] != ">" or held.startswith("<!--") and not held.endswith("-->"):
            return False
        if _AUTOLINK.fullmatch(held):
            self._is_line_start = False
            for char, at in self._hold[1:-1]:
                self._plain(char, at)
            return True
        if not _TAG.fullmatch(held):
            return None
        if _BREAKING_TAG.match(held):
            self._break(self._hold[-1][1])
        return True

    def _entity(self, held: str) -> bool | None:
        if held[-1] != ";":
            return False if _ENTITY_MORE.fullmatch(held) else None
        meant = html.unescape(held)
        if meant == held:
            return None
        for char in meant:
            self._plain(char, self._hold[-1][1])
        return True

    def _plain(self, char: str, at: int) -> None:
        """A character that is no markup."""
        if char.isspace():
            self._space(char, at)
            return
        if unicodedata.category(char) == "Cf":
            return
        self._is_line_start = False
        for said in said_as(char):
            if said != " ":
                self._emit(said, at)
            elif self._last not in ("", " ", HARD_BREAK, LINE_BREAK):
                self._emit(" ", at)

    def _space(self, char: str, at: int) -> None:
        if char in _LINE_ENDS:
            self._num_newlines += 1
            self._is_line_start = True
            if self._num_newlines > 1:
                self._break(at)
        if self._last not in ("", " ", HARD_BREAK, LINE_BREAK):
            num = self._num_newlines
            self._emit(LINE_BREAK if char in _LINE_ENDS else " ", at)
            self._num_newlines = num

    def _break(self, at: int) -> None:
        """A sentence ends here, whatever its last character was."""
        if self._last not in ("", HARD_BREAK):
            num = self._num_newlines
            self._emit(HARD_BREAK, at)
            self._num_newlines = num

    def _emit(self, char: str, at: int) -> None:
        self.out.append((char, at + 1))
        self._last = char
        self._num_newlines = 0


__all__ = ["HARD_BREAK", "LINE_BREAK", "Cleaner", "said_as"]
