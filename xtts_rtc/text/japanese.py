"""Japanese numbers in kanji, which the romaniser can read; digits it would leave to the model as they are."""

from __future__ import annotations

import re

_DIGITS = "〇一二三四五六七八九"
_SPELLED = ("ゼロ", "一", "二", "三", "四", "五", "六", "七", "八", "九")
_PLACES = ("", "十", "百", "千")
_GROUPS = ("", "万", "億", "兆", "京")
_TELEPHONE = re.compile(r"(?<![0-9-])0[0-9]*(?:-[0-9]+)+")
_NUMBER = re.compile(r"([0-9]+(?:,[0-9]{3})*)(?:\.([0-9]+))?")


def expand_numbers(text: str) -> str:
    """Every number of ASCII digits in kanji: 2024 is 二千二十四. A leading zero or over 20 digits: one by one."""
    text = _TELEPHONE.sub(lambda found: "、".join(map(_spell, found[0].split("-"))), text)
    return _NUMBER.sub(_read, text)


def _read(found: re.Match[str]) -> str:
    whole, fraction = found[1].replace(",", ""), found[2]
    said = _cardinal(whole)
    return f"{said}点{_spell(fraction)}" if fraction else said


def _spell(digits: str) -> str:
    return "".join(_SPELLED[int(digit)] for digit in digits)


def _cardinal(digits: str) -> str:
    if digits == "0" or digits[0] == "0" or len(digits) > 4 * len(_GROUPS):
        return _spell(digits)
    said = ""
    for at, group in enumerate(reversed(_fours(digits))):
        if int(group):
            said = _below_ten_thousand(group) + _GROUPS[at] + said
    return said


def _fours(digits: str) -> list[str]:
    first = len(digits) % 4
    groups = [digits[at : at + 4] for at in range(first, len(digits), 4)]
    return [digits[:first], *groups] if first else groups


def _below_ten_thousand(group: str) -> str:
    said = ""
    for digit, place in zip(group, reversed(_PLACES[: len(group)]), strict=True):
        if digit != "0":
            said += ("" if digit == "1" and place else _DIGITS[int(digit)]) + place
    return said


__all__ = ["expand_numbers"]
