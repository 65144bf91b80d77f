from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import pytest

from xtts_rtc.errors import MissingExtra
from xtts_rtc.text import chinese, hindi, japanese, romanize
from xtts_rtc.text.normalize import normalize

pytest.importorskip("num2words")


@pytest.mark.parametrize(
    ("language", "text", "wanted"),
    [
        ("en", "Dr. X has 1,234 & $20", "doctor x has one thousand, two hundred and thirty-four and twenty dollars"),
        ("hi", "12.5 और 100 और 1st", "बारह दशमलव पाँच और एक सौ और पहला"),
        ("hi", "$20, ₹500", "बीस डॉलर, पाँच सौ रुपये"),
        ("cs", "3. května a 21. den", "třetí května a dvacátý první den"),
        ("cs", "150. den", "sto padesát den"),
        ("pl", "0th", "zero"),
        ("es", "1" + "0" * 30, "uno" + " cero" * 30),
        ("tr", "İyi 3. gün", "iyi üçüncü gün"),
    ],
)  # fmt: skip
def test_words(language: str, text: str, wanted: str) -> None:
    assert normalize(text, language) == wanted


def test_a_number_of_five_thousand_digits_is_read() -> None:
    assert normalize("9" * 5000, "en").startswith("nine nine")


def test_chinese_numbers() -> None:
    assert chinese.read_number("200") == "两百"
    assert chinese.read_number("10203.05") == "一万零二百零三点零五"
    assert chinese.expand_numbers("2024年5月3日，12%") == "二零二四年五月三日,百分之十二"


def test_hindi_numbers() -> None:
    assert hindi.cardinal(12_34_567) == "बारह लाख चौंतीस हज़ार पाँच सौ सड़सठ"
    assert hindi.cardinal(0) == "शून्य"
    assert len({hindi.cardinal(number) for number in range(100)}) == 100


def test_japanese_numbers() -> None:
    assert japanese.expand_numbers("2,024と10001と0と0.5") == "二千二十四と一万一とゼロとゼロ点五"
    assert japanese.expand_numbers("100000000") == "一億"
    assert japanese.expand_numbers("1" * 30) == "一" * 30


def test_korean_letters() -> None:
    assert romanize.romanize_korean("물엿 안녕하세요 ok") == "mul-yeos annyeonghase-yo ok"


def _without(*names: str) -> Callable[..., Any]:
    real = builtins.__import__

    def find(name: str, *rest: Any, **options: Any) -> Any:
        if name.partition(".")[0] in names:
            raise ImportError(name)
        return real(name, *rest, **options)

    return find


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    romanize._cutlet.cache_clear()
    monkeypatch.setattr(builtins, "__import__", _without("pypinyin", "cutlet", "num2words"))
    with pytest.raises(MissingExtra, match=r"xtts-rtc\[zh\]"):
        romanize.pinyin("好")
    with pytest.raises(MissingExtra, match=r"xtts-rtc\[ja\]"):
        romanize.romaji("はい")
    with pytest.raises(MissingExtra, match=r"xtts-rtc\[cpu\]"):
        normalize("5", "en")
    assert normalize("no digits", "en") == "no digits"
