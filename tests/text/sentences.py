# ruff: noqa: E501  # rows of words read better whole
"""Makes sentences in the seventeen languages, full of what a front end must turn into words."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.text.hard_cases import ROWS

_TEMPLATES = {
    "en": "Hello, how can I help you today?|{a} Smith bought {n} apples for {m}.|The {o} train leaves in {x} minutes!|"
    'It is {n}% cheaper & {x}° warmer than in {y}.|Call me @ {n} or use #{n}; it\'s well-known.|She said "no" {n} times…',
    "es": "Hola, ¿en qué puedo ayudarle hoy?|{a} García compró {n} manzanas por {m}.|¡El {o} tren sale en {x} minutos!|"
    'Es {n}% más barato & {x}° más cálido que en {y}.|Llámame @ {n} o usa #{n}; está bien.|Dijo "no" {n} veces…',
    "fr": "Bonjour, comment puis-je vous aider ?|{a} Dupont a acheté {n} pommes pour {m}.|Le {o} train part dans {x} minutes !|"
    "C'est {n}% moins cher & {x}° plus chaud qu'en {y}.|Appelez @ {n} ou #{n} ; d'accord.|Elle a dit «non» {n} fois…",
    "de": "Guten Tag, wie kann ich Ihnen helfen?|{a} Müller kaufte {n} Äpfel für {m}.|Der {o} Zug fährt in {x} Minuten!|"
    "Es ist {n}% billiger & {x}° wärmer als {y}.|Rufen Sie @ {n} oder #{n} an; schön.|Sie sagte „nein“ {n} Mal…",
    "it": "Buongiorno, come posso aiutarla oggi?|{a} Rossi ha comprato {n} mele per {m}.|Il {o} treno parte tra {x} minuti!|"
    'Costa {n}% in meno & fa {x}° in più che nel {y}.|Chiama @ {n} o usa #{n}; va bene.|Ha detto "no" {n} volte…',
    "pt": "Olá, como posso ajudar você hoje?|{a} Silva comprou {n} maçãs por {m}.|O {o} trem sai em {x} minutos!|"
    'É {n}% mais barato & {x}° mais quente que em {y}.|Ligue @ {n} ou use #{n}; está bem.|Ela disse "não" {n} vezes…',
    "pl": "Dzień dobry, w czym mogę pomóc?|{a} Kowalski kupił {n} jabłek za {m}.|{o} pociąg odjeżdża za {x} minut!|"
    "Jest {n}% taniej & {x}° cieplej niż w {y}.|Dzwoń @ {n} albo #{n}; dobrze.|Powiedziała „nie” {n} razy…",
    "tr": "Merhaba, size nasıl yardımcı olabilirim?|{a} Yılmaz {m} ödeyip {n} elma aldı.|{o} tren {x} dakika sonra kalkıyor!|"
    '%{n} daha ucuz & {x}° daha sıcak, yıl {y}.|Beni @ {n} veya #{n} ile ara; İyi günler.|Kız "hayır" dedi, {n} kere…',
    "ru": "Здравствуйте, чем могу помочь?|{a} Иванов купил {n} яблок за {m}.|{o} поезд уходит через {x} минут!|"
    "Это на {n}% дешевле & на {x}° теплее, чем в {y}.|Звоните @ {n} или #{n}; хорошо.|Она сказала «нет» {n} раз…",
    "nl": "Goedendag, waarmee kan ik u helpen?|{a} Jansen kocht {n} appels voor {m}.|De {o} trein vertrekt over {x} minuten!|"
    'Het is {n}% goedkoper & {x}° warmer dan in {y}.|Bel @ {n} of #{n}; prima.|Ze zei "nee", wel {n} keer…',
    "cs": "Dobrý den, jak vám mohu pomoci?|{a} Novák koupil {n} jablek za {m}.|{o} vlak odjíždí za {x} minut!|"
    "Je to o {n}% levnější & o {x}° teplejší než {y}.|Volejte @ {n} nebo #{n}; dobře.|Řekla „ne“ {n} krát…",
    "ar": "مرحبا، كيف يمكنني مساعدتك؟|{a} أحمد اشترى {n} تفاحة بمبلغ {m}.|القطار {o} يغادر بعد {x} دقيقة!|"
    'أرخص بنسبة {n}% & أدفأ {x}° من عام {y}.|اتصل @ {n} أو #{n}؛ حسنا.|قالت "لا" {n} مرات…',
    "zh-cn": "你好，请问有什么可以帮您？|他{y}年{n}月买了{n}个苹果，花了{m}。|第{n}班车{x}分钟后开！|便宜{n}%，热{x}°，比{n}/{n}多。|"
    "请打13812345678或者010-87654321联系{n}位老师。|她说“不”说了{n}次……|版本{x}，B2B，P2P，{n}多元{n}块",
    "hu": "Jó napot, miben segíthetek?|{a} Szabó vett {n} almát {m} összegért.|A {o} vonat {x} perc múlva indul!|"
    "Ez {n}% olcsóbb & {x}° melegebb, mint {y}.|Hívjon @ {n} vagy #{n}; rendben.|Azt mondta: „nem”, {n} alkalommal…",
    "ko": "안녕하세요, 무엇을 도와드릴까요?|김 씨가 {m} 주고 사과 {n}개를 샀어요.|{o} 기차는 {x}분 후에 떠납니다!|"
    '{y}년보다 {n}% 싸고 & {x}° 따뜻해요.|@ {n} 또는 #{n} 번호로 전화하세요; 좋아요.|"아니요"라고 {n}번 말했어요…',
    "ja": "こんにちは、今日は何をお手伝いしましょうか？|田中さんは{m}でりんごを{n}個買いました。|{n}番目の電車は{x}分後に出ます！|"
    "{y}年より{n}%安くて{x}°暖かいです。|「いいえ」と{n}回言いました……|カツカレーとコーヒーを{n}つお願いします。",
    "hi": "नमस्ते, मैं आपकी क्या मदद कर सकता हूँ?|राम ने सेब खरीदे, बहुत अच्छे & मीठे।|गाड़ी अभी जा रही है!|यह % और ° और # का निशान है।|"
    'मुझे @ पर बुलाओ; ठीक है।|उसने "नहीं" कहा…|क्या आप कल आएँगे? हाँ, ज़रूर।|{n} बजे {m} लेकर आना।',
}
_ORDINALS = {
    "en": "st nd rd th", "es": "º ª er o", "fr": "er re e ème", "de": ". º", "it": "º ª", "pt": "º ª o", "pl": "º . th",
    "tr": ". inci üncü", "ru": "-й -я -е", "nl": "e de ste", "cs": ".", "ar": "ث ر", "hu": ". adik edik", "ko": "번째 번 째",
}  # fmt: skip
_TITLES = {
    "en": "Dr. Mr. Mrs. Capt. St. Gen.", "es": "Sr. Sra. Dra. Dr.", "fr": "Mme. Mr. Dr.", "de": "Fr. Dr. Hr.",
    "it": "Sig. Dr.", "pt": "Sr. Sra. Dr.", "pl": "p. M. dr.", "tr": "B. Dr.", "ru": "г-н Г-жа д-р", "nl": "Dhr. Mevr.",
    "cs": "p. Ing. Dr.", "ar": "د.", "hu": "dr. b.",
}  # fmt: skip
_EXTRA = [
    "",
    "",
    "",
    " ",
    "!",
    "?",
    ".",
    "...",
    " (ok)",
    " - 7",
    " 3/4",
    " 1,000",
    " 1.000,5",
    " v2.0.1",
    " a&b",
    " x@y.z",
    "\n",
]


def sentences(language: str, num: int, seed: int = 0) -> Iterator[str]:
    """`num` sentences, the hard cases of the language first."""
    rng = random.Random(f"{language}{seed}")
    collected = [text for row_language, text, _ in ROWS if row_language == language]
    yield from collected[:num]
    templates = _TEMPLATES[language].split("|")
    for _ in range(num - len(collected)):
        text = rng.choice(templates)
        if rng.random() < 0.3:
            text += " " + rng.choice(templates)
        for slot in "nxmoay":
            while f"{{{slot}}}" in text:
                text = text.replace(f"{{{slot}}}", _fill(slot, language, rng), 1)
        text = text.upper() if rng.random() < 0.05 and language != "tr" else text
        yield text + rng.choice(_EXTRA)


def _fill(slot: str, language: str, rng: random.Random) -> str:
    number = rng.choice([rng.randint(0, 20), rng.randint(0, 999), rng.randint(1000, 10**6), rng.randint(0, 10**13)])
    match slot:
        case "n":
            return rng.choice([str(number), f"{number:,}", f"{number:,}".replace(",", ".")])
        case "x":
            return f"{rng.randint(0, 999)}{rng.choice('.,')}{rng.randint(0, 999)}"
        case "m":
            amount = rng.choice([str(number % 10000), f"{number % 1000}.{rng.randint(0, 99):02}", f"{number % 100},5"])
            sign = rng.choice("$£€")
            return rng.choice([sign + amount, amount + sign])
        case "o":
            return str(number % 200) + rng.choice(_ORDINALS.get(language, "").split() or [""])
        case "a":
            return rng.choice(_TITLES.get(language, "X.").split())
    return str(rng.randint(1500, 2100))


__all__ = ["sentences"]
