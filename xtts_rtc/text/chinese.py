"""Chinese numbers as words, the way the published model heard them in training.

In: text with digits. Out: the same with Chinese numerals and every punctuation mark turned into a comma.
The rules and their order are those of chn_text_norm as shipped in coqui-tts 0.28.0 (`zh_num2words.py`).
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable

_DIGITS = "零一二三四五六七八九"
_UNITS = {
    1: "十", 2: "百", 3: "千", 4: "万", 8: "亿", 12: "兆", 16: "京", 20: "垓", 24: "秭", 28: "穰", 32: "沟",
    36: "涧", 40: "正", 44: "载",
}  # fmt: skip
_DESCENDING = sorted(_UNITS, reverse=True)

_MONEY_UNIT = "(?:(?:亿|千万|百万|万|千|百)|(?:亿|千万|百万|万|千|百|)元|(?:亿|千万|百万|万|千|百|)块|角|毛|分)"
_MEASURES = (
    "匹张座回场尾条个首阙阵网炮顶丘棵只支袭辆挑担颗壳窠曲墙群腔砣座客贯扎捆刀令打手罗坡山岭江溪钟队单双对出口头脚板跳枝件贴"
    "针线管名位身堂课本页家户层丝毫厘分钱两斤担铢石钧锱忽"
)
_MORE_MEASURES = (
    "毫厘分寸尺丈里寻常铺程撮勺合升斗石盘碗碟叠桶笼盆盒杯钟斛锅簋篮盘桶罐瓶壶卮盏箩箱煲啖袋钵年月日季刻时周天秒分旬"
    "纪岁世更夜春夏秋冬代伏辈丸泡粒颗幢堆条根支道面片张颗块"
)
_MEASURE = f"(?:[{_MEASURES}]|[千毫微]克|[千分厘毫微]米|[{_MORE_MEASURES}])"

_PUNCTUATION = string.punctuation + (
    "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃《》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿"
    "–—‘’‛“”„‟…‧﹏·〈〉"
)
_TO_COMMA = str.maketrans(dict.fromkeys(_PUNCTUATION, ","))
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def spell_digits(number: str) -> str:
    """One numeral per digit; other characters than digits and one point are not expected."""
    return "点".join("".join(_DIGITS[int(digit)] for digit in part) for part in number.split("."))


def read_number(number: str) -> str:
    """A decimal string as a cardinal: "200" is 两百, "12" is 十二, "0.5" is 零点五."""
    whole, _, fraction = number.partition(".")
    symbols = _by_place(whole) if len(whole) > 1 else [_DIGITS[int(digit)] for digit in whole]
    said = "".join(_two_as_liang(symbols))
    if fraction:
        said += "点" + "".join(_DIGITS[int(digit)] for digit in fraction)
    if said.startswith("点"):
        return "零" + said
    return said[1:] if said.startswith("一十") else said


def _by_place(digits: str) -> list[str]:
    significant = digits.lstrip("0")
    if not significant:
        return []
    if len(significant) == 1:
        said = _DIGITS[int(significant)]
        return [said] if significant == digits else ["零", said]
    power = next(power for power in _DESCENDING if power < len(significant))
    return [*_by_place(digits[:-power]), _UNITS[power], *_by_place(significant[-power:])]


def _two_as_liang(symbols: list[str]) -> list[str]:
    """两 stands for 二 before hundreds and above, but not after 十."""
    units = set(_UNITS.values())
    said = list(symbols)
    for at, symbol in enumerate(symbols):
        before = said[at - 1] if at else None
        after = symbols[at + 1] if at + 1 < len(symbols) else None
        if symbol == "二" and after in units and after != "十" and (before is None or before in units - {"十"}):
            said[at] = "两"
    return said


def _read_date(date: str) -> str:
    year, mark, rest = date.strip().partition("年")
    said = spell_digits(year) + "年" if mark else ""
    rest = rest if mark else date
    month, mark, day = rest.strip().partition("月")
    if mark:
        said += read_number(month) + "月"
    return said + (read_number(day[:-1]) + day[-1] if day else "")


def _read_money(amount: str) -> str:
    for number in _NUMBER.findall(amount):
        amount = amount.replace(number, read_number(number))
    return amount


def _read_mobile(number: str) -> str:
    return "".join(spell_digits(part) for part in number.strip("+").split())


def _read_fraction(fraction: str) -> str:
    above, below = fraction.split("/")
    return f"{read_number(below)}分之{read_number(above)}"


_RULES: tuple[tuple[re.Pattern[str], Callable[[str], str]], ...] = (
    (re.compile(r"\D+((?:(?:[089]\d|(?:19|20)\d{2})年)?(?:\d{1,2}月(?:\d{1,2}[日号])?)?)"), _read_date),
    (re.compile(rf"\D+(\d+(?:\.\d+)?[多余几]?{_MONEY_UNIT}(?:\d{_MONEY_UNIT}?)?)"), _read_money),
    (re.compile(r"\D((?:\+?86 ?)?1(?:[38]\d|5[0-35-9]|7[678]|9[89])\d{8})\D"), _read_mobile),
    (
        re.compile(r"\D((?:0(?:10|2[1-3]|[3-9]\d{2})-?)?[1-9]\d{6,7})\D"),
        lambda number: "".join(spell_digits(part) for part in number.split("-")),
    ),
    (re.compile(r"(\d+/\d+)"), _read_fraction),
    (re.compile(r"(\d+(?:\.\d+)?%)"), lambda share: "百分之" + read_number(share.strip("%"))),
    (re.compile(rf"(\d+(?:\.\d+)?)[多余几]?{_MEASURE}"), read_number),
    (re.compile(r"(\d{4,32})"), spell_digits),
    (re.compile(r"(\d+(?:\.\d+)?)"), read_number),
)
_LETTERS_AROUND_TWO = re.compile(r"([a-zA-Z]+)二([a-zA-Z]+)")


def expand_numbers(text: str) -> str:
    """Dates, money, telephone numbers, fractions, per cent and counts as words, punctuation as commas."""
    # The two marks give the patterns that want a neighbour one at either end.
    text = f"^{text}$"
    for pattern, read in _RULES:
        # Found once, then replaced where the string first occurs, which need not be where it was found
        # ("15月5月"): the training text was made so, and the ids follow it.
        for number in pattern.findall(text):
            if number:
                text = text.replace(number, read(number), 1)
        if read is _read_fraction:
            text = text.replace("％", "%")
    for before, after in _LETTERS_AROUND_TWO.findall(text):
        text = text.replace(f"{before}二{after}", f"{before}2{after}", 1)
    return text.lstrip("^").rstrip("$").translate(_TO_COMMA)


__all__ = ["expand_numbers", "read_number", "spell_digits"]
