"""Words per language that the front end needs: what stands for a symbol, an abbreviation, an ordinal ending.

Data only. The readings are those that the published XTTS v2 model was trained with (coqui-tts 0.28.0,
`TTS/tts/layers/xtts/tokenizer.py`), spelling for spelling, because other words would be other token ids.
Order matters: rows are applied one after the other.
"""

from __future__ import annotations

import re
from functools import cache

CHAR_LIMITS = {
    "en": 250, "es": 239, "fr": 273, "de": 253, "it": 213, "pt": 203, "pl": 224, "tr": 226, "ru": 182,
    "nl": 251, "cs": 186, "ar": 166, "zh-cn": 82, "hu": 224, "ko": 95, "ja": 71, "hi": 150,
}  # fmt: skip
"""Most characters the published model speaks well in one go (the same source)."""

_SYMBOLS = "&@%#$£°"

_SYMBOL_WORDS = {
    "en": "and|at|percent|hash|dollar|pound|degree",
    "es": "y|arroba|por ciento|numeral|dolar|libra|grados",
    "fr": "et|arobase|pour cent|dièse|dollar|livre|degrés",
    "de": "und|at|prozent|raute|dollar|pfund|grad",
    "pt": "e|arroba|por cento|cardinal|dólar|libra|graus",
    "it": "e|chiocciola|per cento|cancelletto|dollaro|sterlina|gradi",
    "pl": "i|małpa|procent|krzyżyk|dolar|funt|stopnie",
    "ar": "و|على|في المئة|رقم|دولار|جنيه|درجة",
    "zh-cn": "和|在|百分之|号|美元|英镑|度",
    "cs": "a|na|procento|křížek|dolar|libra|stupně",
    "ru": "и|собака|процентов|номер|доллар|фунт|градус",
    "nl": "en|bij|procent|hekje|dollar|pond|graden",
    "tr": "ve|at|yüzde|diyez|dolar|sterlin|derece",
    "hu": "és|kukac|százalék|kettőskereszt|dollár|font|fok",
    "ko": "그리고|에|퍼센트|번호|달러|파운드|도",
    "hi": "और|ऐट दी रेट|प्रतिशत|हैश|डॉलर|पाउंड|डिग्री",
}

_ABBREVIATIONS = {
    "en": "mrs=misess mr=mister dr=doctor st=saint co=company jr=junior maj=major gen=general drs=doctors "
    "rev=reverend lt=lieutenant hon=honorable sgt=sergeant capt=captain esq=esquire ltd=limited col=colonel ft=fort",
    "es": "sra=señora sr=señor dr=doctor dra=doctora st=santo co=compañía jr=junior ltd=limitada",
    "fr": "mme=madame mr=monsieur dr=docteur st=saint co=compagnie jr=junior ltd=limitée",
    "de": "fr=frau dr=doktor st=sankt co=firma jr=junior",
    "pt": "sra=senhora sr=senhor dr=doutor dra=doutora st=santo co=companhia jr=júnior ltd=limitada",
    "it": "sig=signore dr=dottore st=santo co=compagnia jr=junior ltd=limitata",
    "pl": "p=pani m=pan dr=doktor sw=święty jr=junior",
    "cs": "dr=doktor ing=inženýr p=pan",
    "ru": "г-жа=госпожа г-н=господин д-р=доктор",
    "nl": "dhr=de_heer mevr=mevrouw dr=dokter jhr=jonkheer",
    "tr": "b=bay byk=büyük dr=doktor",
    "hu": "dr=doktor b=bácsi nőv=nővér",
}

_ORDINAL_ENDINGS = {
    "en": "st|nd|rd|th",
    "es": "º|ª|er|o|a|os|as",
    "fr": "º|ª|er|re|e|ème",
    "de": r"st|nd|rd|th|º|ª|\.(?=\s|$)",
    "pt": "º|ª|o|a|os|as",
    "it": "º|°|ª|o|a|i|e",
    "pl": "º|ª|st|nd|rd|th",
    "ar": "ون|ين|ث|ر|ى",
    "cs": r"\.(?=\s|$)",
    "ru": "-й|-я|-е|-ое|-ье|-го",
    "nl": "de|ste|e",
    "tr": r"\.|inci|nci|uncu|üncü",
    "hu": r"\.|adik|edik|odik|ödik|ödike|ik",
    "ko": "번째|번|차|째",
    "hi": "st|nd|rd|th",
}

AND_BEFORE_CENTS = {
    "en": ", ", "es": " con ", "fr": " et ", "de": " und ", "pt": " e ", "it": " e ", "pl": ", ", "cs": ", ",
    "ru": ", ", "nl": ", ", "ar": ", ", "tr": ", ", "hu": ", ", "ko": ", ", "hi": ", ",
}  # fmt: skip
"""What num2words puts between an amount and its cents; a whole amount is cut there."""


@cache
def symbol_words(language: str) -> dict[str, str]:
    """Symbol to its word with a space on both sides, in the order of application."""
    return {mark: f" {word} " for mark, word in zip(_SYMBOLS, _SYMBOL_WORDS[language].split("|"), strict=True)}


@cache
def abbreviations(language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Patterns and what is said instead; empty for a language that has none."""
    # Russian contractions carry a hyphen instead of a full stop.
    tail = r"\b" if language == "ru" else r"\."
    rows = (row.split("=") for row in _ABBREVIATIONS.get(language, "").split())
    return tuple((re.compile(rf"\b{short}{tail}", re.IGNORECASE), full.replace("_", " ")) for short, full in rows)


@cache
def ordinal_pattern(language: str) -> re.Pattern[str]:
    """Digits (group 1) followed by an ordinal's ending."""
    return re.compile(rf"([0-9]+)(?:{_ORDINAL_ENDINGS[language]})")


__all__ = ["AND_BEFORE_CENTS", "CHAR_LIMITS", "abbreviations", "ordinal_pattern", "symbol_words"]
