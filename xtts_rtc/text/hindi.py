"""Hindi number words. coqui-tts 0.28.0 has none (num2words 0.5.14 knows no Hindi) and raises on a digit."""

from __future__ import annotations

_BELOW_HUNDRED = (
    "शून्य एक दो तीन चार पाँच छह सात आठ नौ दस ग्यारह बारह तेरह चौदह पंद्रह सोलह सत्रह अठारह उन्नीस "
    "बीस इक्कीस बाईस तेईस चौबीस पच्चीस छब्बीस सत्ताईस अट्ठाईस उनतीस तीस इकतीस बत्तीस तैंतीस चौंतीस पैंतीस छत्तीस सैंतीस अड़तीस उनतालीस "
    "चालीस इकतालीस बयालीस तैंतालीस चौवालीस पैंतालीस छियालीस सैंतालीस अड़तालीस उनचास "
    "पचास इक्यावन बावन तिरपन चौवन पचपन छप्पन सत्तावन अट्ठावन उनसठ "
    "साठ इकसठ बासठ तिरसठ चौंसठ पैंसठ छियासठ सड़सठ अड़सठ उनहत्तर "
    "सत्तर इकहत्तर बहत्तर तिहत्तर चौहत्तर पचहत्तर छिहत्तर सतहत्तर अठहत्तर उनासी "
    "अस्सी इक्यासी बयासी तिरासी चौरासी पचासी छियासी सतासी अट्ठासी नवासी "
    "नब्बे इक्यानवे बानवे तिरानवे चौरानवे पचानवे छियानवे सत्तानवे अट्ठानवे निन्यानवे"
).split()
_SCALES = ((10**11, "खरब"), (10**9, "अरब"), (10**7, "करोड़"), (10**5, "लाख"), (10**3, "हज़ार"), (100, "सौ"))
_ORDINALS = {1: "पहला", 2: "दूसरा", 3: "तीसरा", 4: "चौथा", 6: "छठा"}
_LARGEST = 10**13


def cardinal(number: int) -> str:
    """Number in words, in the Indian scale (लाख, करोड़); from 10**13 on digit by digit. Not below 0."""
    if number >= _LARGEST:
        return " ".join(_BELOW_HUNDRED[int(digit)] for digit in str(number))
    words = []
    for size, name in _SCALES:
        count, number = divmod(number, size)
        if count:
            words += [_BELOW_HUNDRED[count], name]
    if number or not words:
        words.append(_BELOW_HUNDRED[number])
    return " ".join(words)


def ordinal(number: int) -> str:
    """The masculine ordinal."""
    return _ORDINALS.get(number) or cardinal(number) + "वाँ"


def decimal(amount: str) -> str:
    """ "12.05" as बारह दशमलव शून्य पाँच: the fraction digit by digit."""
    whole, _, fraction = amount.partition(".")
    return " ".join([cardinal(int(whole)), "दशमलव", *(_BELOW_HUNDRED[int(digit)] for digit in fraction)])


__all__ = ["cardinal", "decimal", "ordinal"]
