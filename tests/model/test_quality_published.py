"""The quality gate on the user's own checkpoint: XTTS_TEST_CHECKPOINT names its folder.

Every CPU precision against torch fp32, in every language the checkpoint speaks; and for English, where a
recogniser is at hand, the word error rate of what is really spoken. The words of the other sixteen languages are
not checked: those tests are skipped and say so.

    XTTS_TEST_CHECKPOINT=folder pytest -m weights tests/model/test_quality_published.py
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import numpy as np
import pytest

from tests.engine.fake_runtime import Listener, file_request
from xtts_rtc.bench.session import OneVoice
from xtts_rtc.engine.loading import DEFAULT_CLIP
from xtts_rtc.engine.runtimes import LoadedRuntime, ModelChoice, load_runtime
from xtts_rtc.engine.worker import XttsBackend
from xtts_rtc.errors import UnknownLanguage
from xtts_rtc.model.quality import Trace, compare_traces, is_good, trace
from xtts_rtc.types import LANGUAGES, OUTPUT_HZ, Conditioning, Segment
from xtts_rtc.voices.clip import read_clip

pytestmark = pytest.mark.weights

SENTENCES = {
    "en": "Thank you for calling, how can I help you today?",
    "es": "Gracias por llamar, ¿en qué puedo ayudarle hoy?",
    "fr": "Merci de votre appel, comment puis-je vous aider ?",
    "de": "Danke für Ihren Anruf, wie kann ich Ihnen helfen?",
    "it": "Grazie per la chiamata, come posso aiutarla oggi?",
    "pt": "Obrigado por ligar, como posso ajudar hoje?",
    "pl": "Dziękuję za telefon, w czym mogę pomóc?",
    "tr": "Aradığınız için teşekkürler, nasıl yardımcı olabilirim?",
    "ru": "Спасибо за звонок, чем я могу вам помочь?",
    "nl": "Bedankt voor het bellen, hoe kan ik u helpen?",
    "cs": "Děkuji za zavolání, jak vám mohu pomoci?",
    "ar": "شكرا لاتصالك، كيف يمكنني مساعدتك اليوم؟",
    "zh-cn": "感谢您的来电，请问有什么可以帮您？",
    "hu": "Köszönöm a hívását, miben segíthetek?",
    "ko": "전화해 주셔서 감사합니다, 무엇을 도와드릴까요?",
    "ja": "お電話ありがとうございます、ご用件は何でしょうか。",
    "hi": "कॉल करने के लिए धन्यवाद, मैं आपकी क्या मदद कर सकता हूँ?",
}
ENGLISH = (
    "Thank you for calling, how can I help you today?",
    "The train to London leaves at nine in the morning.",
    "Please wait a moment while I look for your order.",
    "I will send you the answer by the end of the week.",
    "There are two rooms left, and both have a view of the sea.",
    "Could you tell me your name and your number again?",
)
MAX_WER = 0.15
"""Of fp32; the published model is far below on such sentences, the embedded one at about 0.1."""
CONFIGURATIONS = (
    ("int8", "auto"),  # what a user gets
    ("int8-row", "onnxruntime-fp32"),
    ("int8-block", "onnxruntime-fp32"),
    ("fp32", "onnxruntime-fp32"),
)
"""Precision and vocoder."""
SEEDS = (1, 2, 3, 4)
MAX_WER_LOST = 0.06
"""How much worse than fp32 a precision may be: two standard errors of the difference over these 260 words. With one
seed (65 words) it was failed by chance: once a draw goes another way, it is another utterance."""


@pytest.fixture(scope="module")
def checkpoint() -> str:
    folder = os.environ.get("XTTS_TEST_CHECKPOINT")
    if not folder:
        pytest.skip("XTTS_TEST_CHECKPOINT names no folder with config.json, vocab.json and the weights")
    pytest.importorskip("TTS")
    return folder


@pytest.fixture(scope="module")
def reference(checkpoint: str, tmp_path_factory: pytest.TempPathFactory) -> LoadedRuntime:
    choice = ModelChoice(name=checkpoint, device="cpu", backend="torch")
    return load_runtime(choice, num_slots=1, cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def voice(reference: LoadedRuntime) -> Conditioning:
    return Conditioning("default", *reference.runtime.condition([read_clip(DEFAULT_CLIP).pcm]))


@pytest.fixture(scope="module")
def truths(reference: LoadedRuntime, voice: Conditioning) -> dict[str, Trace]:
    """fp32 in every language that the model and this installation know."""
    return {
        language: trace(reference.runtime, voice, ids_of(reference, language))
        for language in LANGUAGES
        if speaks(reference, language)
    }


@pytest.fixture(scope="module")
def wanted(reference: LoadedRuntime, voice: Conditioning) -> float:
    """The word error rate of fp32."""
    pytest.importorskip("moonshine_voice")
    return word_error_rate(reference, voice)


@pytest.fixture(scope="module", params=CONFIGURATIONS, ids=" ".join)
def other(
    request: pytest.FixtureRequest, checkpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoadedRuntime]:
    precision, vocoder = request.param
    choice = ModelChoice(name=checkpoint, device="cpu", backend="onnx", precision=precision, vocoder=vocoder)
    yield load_runtime(choice, num_slots=1, cache_dir=tmp_path_factory.mktemp("cache"))
    gc.collect()


def ids_of(loaded: LoadedRuntime, language: str) -> np.ndarray:
    return np.asarray(loaded.frontend.encode(SENTENCES[language], language), np.int64)


def speaks(loaded: LoadedRuntime, language: str) -> bool:
    """The vocabulary has the language's tag, and its extra is installed."""
    try:
        ids = ids_of(loaded, language)
    except UnknownLanguage:
        return False
    return bool(ids.size) and float(np.mean(ids == 1)) < 0.2  # 1 is [UNK]: a vocabulary of other letters


def test_the_default_configuration_is_as_good_as_fp32_in_every_language(
    other: LoadedRuntime, voice: Conditioning, truths: dict[str, Trace], request: pytest.FixtureRequest
) -> None:
    assert truths, "the checkpoint speaks none of the languages"
    failed = {}
    for language, truth in truths.items():
        ids = ids_of(other, language)
        parity = compare_traces(truth, trace(other.runtime, voice, ids, truth=truth))
        print(f"{language} {other.precision}: {parity}")
        if not is_good(parity):
            failed[language] = parity
    if failed and request.node.callspec.params["other"][0] in ("int8-row", "int8-block"):
        pytest.xfail(f"not the default on these weights, and rightly: fails in {', '.join(failed)}")
    assert not failed
    print("not covered:", ", ".join(language for language in LANGUAGES if language not in truths) or "nothing")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_words_are_as_right_as_those_of_fp32(
    language: str, other: LoadedRuntime, wanted: float, voice: Conditioning
) -> None:
    if language != "en":
        pytest.skip(f"no recogniser for {language} at hand: its latents are checked, its words are not")
    pytest.importorskip("moonshine_voice")
    found = word_error_rate(other, voice)
    print(f"word error rate: fp32 {wanted:.1%}, {other.precision} {found:.1%}")
    assert wanted <= MAX_WER
    assert found <= wanted + MAX_WER_LOST


def word_error_rate(loaded: LoadedRuntime, voice: Conditioning) -> float:
    import jiwer

    from xtts_rtc.demo.recogniser import Recogniser, words

    recogniser = Recogniser()
    backend = XttsBackend(loaded.runtime, loaded.frontend, OneVoice(voice))  # type: ignore[arg-type]
    try:
        said = [(text, spoken(backend, text, seed)) for seed in SEEDS for text in ENGLISH]
        heard = [" ".join(recogniser.words(pcm, OUTPUT_HZ)) for _, pcm in said]
    finally:
        backend.close()
        recogniser.close()
    return float(jiwer.wer([" ".join(words(text)) for text, _ in said], heard))


def spoken(backend: XttsBackend, text: str, seed: int) -> np.ndarray:
    listener = Listener()
    stream = backend.open(file_request(seed), listener)
    backend.consumed(stream, 10**9)
    backend.say(stream, Segment(0, text, text))
    backend.end(stream)
    assert listener.is_over.wait(300)
    return listener.pcm
