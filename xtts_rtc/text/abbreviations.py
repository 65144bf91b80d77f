"""Which full stops do not end a sentence: abbreviations per language. Data and one question about it.

Three kinds. A *joined* one is followed by what belongs to it ("Dr. Smith"): never an end. A *counting* one
belongs to a number ("No. 5"): an end unless a digit follows. An *open* one may be the last word ("etc."):
an end unless a small letter or a digit follows.
"""

from __future__ import annotations

from enum import Enum
from functools import cache


class Stop(Enum):
    """What a full stop after a word may be."""

    END = "end"
    INSIDE = "inside"
    INSIDE_BEFORE_DIGIT = "inside before a digit"
    INSIDE_BEFORE_SMALL = "inside before a small letter or a digit"


_JOINED = {
    "": "mr mrs ms mx dr drs prof st sr sra jr rev gen col capt lt sgt maj hon vs cf e.g i.e mt ft messrs",
    "en": "gov sen rep pres supt approx dept est fig",
    "es": "ee uu d dña dr dra sr sra sres srta ud uds lic ing prof av avda gral p.ej ej pág art núm",
    "fr": "c.-à-d m mm mme mmes mlle me dr pr st ste bd av p.ex ex",
    "de": "hr fr frl dr dipl ing z.b d.h u.a z.t b bzw ca evtl ggf z d h inkl exkl str geb gest vgl bspw sog zzgl "
    "abzgl mind max fa mio mrd tsd st jan feb apr jun jul aug sept okt nov dez",
    "it": "sig sig.ra sigg dott dott.ssa ing avv prof geom dr d.ssa p.es es ca on",
    "pt": "sr sra srta dr dra prof profa eng av p.ex ex exmo exma d",
    "pl": "p pp m dr inż mgr prof hab ks św sw np tzn tj m.in ul al im gen płk r.ż ok godz",
    "tr": "dr prof doç av sn bkz byk b örn ör yrd müh alb gen",
    "ru": "д-р проф г-н г-жа ул пр просп пл им т.е т.к т.н напр см ср акад ст гр тов",
    "nl": "dhr mevr mw dr drs ir ing mr prof bijv b.v o.a d.w.z m.b.t t.a.v ca nl jhr st",
    "cs": "tis mil p pí dr ing mgr bc prof doc mudr judr rndr phdr např tj tzn tzv ul nám čes sv gen",
    "hu": "dr prof ifj id özv szül pl ill kb ún sz u b nőv vö",
    "ar": "د أ م",
    "hi": "डॉ श्री प्रो पं कु",
    "ko": "",
    "ja": "",
    "zh-cn": "",
}
_COUNTING = {
    "": "no nr num art fig vol p pp pg ch sec eq par ver",
    "es": "n.º núm cap",
    "fr": "n chap",
    "de": "abs kap bd s ziff",
    "it": "n cap pag",
    "pt": "n núm cap pág",
    "pl": "rys str poz ust",
    "ru": "стр гл рис табл п № тел д кв",
    "nl": "blz hfst",
    "cs": "č str obr kap čl odst",
    "hu": "old",
    "tr": "s md",
}
_OPEN = {
    "": "etc inc ltd co corp llc jr sr al a.m p.m am pm ph.d b.c a.d u.s",
    "es": "ee.uu etc s.a a.c d.c",
    "fr": "etc s.a j.-c env",
    "de": "min std sek usw etc gmbh u.s.w uam v.chr n.chr",
    "it": "ecc s.p.a a.c d.c",
    "pt": "etc ltda s.a a.c d.c",
    "pl": "itd itp r w tys mln mld zł gr m.in",
    "tr": "vb vs m.ö m.s",
    "ru": "г гг в вв руб коп тыс млн млрд др пр т.д т.п н.э",
    "nl": "enz e.d e.a nv bv",
    "cs": "atd apod r mld kč hod",
    "hu": "stb stbi ft",
    "ar": "إلخ الخ",
}


# Words of the first rows ("") that are ordinary words elsewhere.
_ORDINARY = {
    "de": "am art ver co no par gen sec al", "es": "no al sec par ver co", "fr": "no par sec col art al",
    "it": "no al col par sec co", "pt": "no al sec par ver co", "pl": "co no par al ver", "cs": "co no par al am",
    "nl": "art ver al co", "tr": "al at art", "hu": "ver al", "ru": "",
}  # fmt: skip


@cache
def _table(language: str) -> dict[str, Stop]:
    kinds = ((Stop.INSIDE, _JOINED), (Stop.INSIDE_BEFORE_DIGIT, _COUNTING), (Stop.INSIDE_BEFORE_SMALL, _OPEN))
    found: dict[str, Stop] = {}
    for kind, table in kinds:
        found |= dict.fromkeys(table[""].split(), kind)
    for word in _ORDINARY.get(language, "").split():
        found.pop(word, None)
    for kind, table in kinds:
        found |= dict.fromkeys(table.get(language, "").split(), kind)
    return found


def stop_after(word: str, language: str) -> Stop:
    """What the full stop behind `word` (small letters, without the stop) may be; END if it is no abbreviation."""
    return _table(language).get(word, Stop.END)


__all__ = ["Stop", "stop_after"]
