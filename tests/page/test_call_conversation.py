"""A conversation with a barge-in on the demo's page: a real Chromium, the packaged recogniser, the embedded voice.

The microphone is Chromium's own fake one, which plays a file; what the page hears is taped in the page.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("aiortc")
pytest.importorskip("livekit.agents")

import soundfile

from tests.demo.conftest import scripted_kit, spoken
from tests.page.call_line import HZ, Line, line_of, loud_times, taped, until
from tests.page.conftest import Visit, on_a_thread
from xtts_rtc.api import Engine
from xtts_rtc.demo.peer_session import converse
from xtts_rtc.demo.recogniser import Recogniser, share_heard, words
from xtts_rtc.transports.webrtc import Calls, IceOptions

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.net, pytest.mark.slow]

MICROPHONE_HZ = 48_000
SPEAKERS = Path(__file__).parents[2] / "speakers"
QUESTION = "What is the capital of France?"
INTERRUPTION = "Stop. When does the train leave?"
LONG = (
    "The weather is fine today, and the streets are full of people. Everybody walks slowly along the river. "
    "Later in the evening the rain may come back again. Then the lamps are lit, and everybody goes home. "
    "The next day is fine again, and so the streets are full of people, and the river is quiet."
)
SECOND = "The train leaves at eight in the morning."
LEAD_S, ANSWER_S = 6.0, 5.0
"""Before the question (the call and the greeting, 2 s in all on two cores), and between it and the interruption: the
answer begins after 1.2 s and would last for 10."""


@contextlib.asynccontextmanager
async def agent() -> AsyncIterator[Line]:
    """The embedded voice and the packaged recogniser behind a language model that answers twice."""
    engine = Engine.load(model="embedded", device="cpu", speakers_dir=SPEAKERS)
    async with engine, scripted_kit(engine, LONG, SECOND) as (kit, _):
        kit.agent = kit.agent.model_copy(update={"greeting": "Hello there."})
        calls = Calls(partial(converse, kit), ice=IceOptions(addresses=("127.0.0.1",)))
        async with line_of(engine, calls) as line:
            yield line


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Chromium's fake microphone plays once, from the moment it is opened."""
    silence = partial(np.zeros, dtype=np.int16)
    pcm = np.concatenate(
        [
            silence(round(LEAD_S * MICROPHONE_HZ)),
            spoken(QUESTION),
            silence(round(ANSWER_S * MICROPHONE_HZ)),
            spoken(INTERRUPTION),
            silence(30 * MICROPHONE_HZ),
        ]
    )
    path = tmp_path_factory.mktemp("microphone") / "caller.wav"
    soundfile.write(path, pcm, MICROPHONE_HZ, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def speaking(launch: Callable[..., Browser], microphone: Path) -> Browser:
    """Its microphone says the caller's part."""
    return launch("--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={microphone}%noloop")


def answers(shown: Visit, state: str) -> list[str]:
    """What was heard of the agent's sentences that are in this state."""
    return [text.strip() for text in shown.page.locator(f'li.agent[data-state="{state}"] .words').all_inner_texts()]


@pytest.fixture(scope="module")
def recogniser() -> Iterator[Recogniser]:
    made = Recogniser()
    yield made
    made.close()


def test_a_caller_asks_interrupts_and_hears_the_next_answer_and_nothing_more_of_the_old(
    visit: Callable[..., Visit], speaking: Browser, recogniser: Recogniser, capsys: pytest.CaptureFixture[str]
) -> None:
    with on_a_thread(agent) as line:
        shown = visit(line.port, within=speaking, capture="call_capture.js", permissions=["microphone"])
        shown.page.click("#toggle")
        shown.state("talking")
        until(lambda: answers(shown, "cut"), shown)
        until(lambda: len(answers(shown, "done")) == 2, shown)  # the greeting is one
        shown.page.wait_for_timeout(800)
        agent_pcm, caller_pcm = taped(shown, "agent"), taped(shown, "caller")
        events = shown.page.evaluate("window.taped.events")
        figures = {name: shown.text(f"#{name}") for name in ("answers-in", "stops-in", "network")}
        lines = [text.strip() for text in shown.page.locator("li.caller .words").all_inner_texts()]
        heard_of_first, unheard = answers(shown, "cut")[0], shown.text('[data-state="cut"] p.unheard')
        totals = shown.page.locator(".turn .total").all_inner_texts()
        steps = shown.page.locator(".turn[open] dd").all_inner_texts()
        shown.page.click("#toggle")
        shown.state("over")
        until(lambda: line.calls.num_calls == 0, shown, 10)
    # The tape has its own clock; the caller's first sound after the agent began is the interruption.
    agent_times, caller_times = loud_times(agent_pcm), loud_times(caller_pcm)
    first_turn = next(event["at"] for event in events if event["type"] == "turn")
    onset = caller_times[caller_times > first_turn + 0.2][0]
    second_turn = next(event["at"] for event in events if event["type"] == "turn" and event["at"] > onset)
    last = agent_times[(agent_times >= onset - 1) & (agent_times < second_turn - 0.05)].max() + 0.02
    begin = agent_times[agent_times >= second_turn - 0.05][0]
    between = agent_pcm[round((last + 0.1) * HZ) : round(second_turn * HZ)]
    first_words = recogniser.words(agent_pcm[round(first_turn * HZ) : round(last * HZ)], HZ)
    second_words = recogniser.words(agent_pcm[round((begin - 0.1) * HZ) :], HZ)
    asked_until = caller_times[caller_times < begin].max() + 0.02
    waited_ms = 1e3 * (begin - asked_until)
    with capsys.disabled():
        print(
            f"\npage: voice to silence {1e3 * (last - onset):.0f} ms at the caller's ear; question to answer"
            f" {waited_ms:.0f} ms on the tape; answers in"
            f" {figures['answers-in']}, stops in {figures['stops-in']}; turns {totals}, {steps}\n"
            f"  heard: {' '.join(first_words)} | {' '.join(second_words)}"
        )
    assert share_heard(words(QUESTION), words(lines[0])) >= 0.6  # the recogniser mishears a word now and then
    assert "train" in words(" ".join(lines))
    assert last < asked_until  # while the caller still speaks; the figure is printed
    assert begin - last > 0.5 and np.abs(between).max() < 0.01  # silence from the cut to the next answer
    assert share_heard(words(SECOND), second_words) >= 0.7
    assert share_heard(words(LONG), second_words) < 0.25
    heard_of_first = heard_of_first.split(" cut in")[0]
    assert LONG.startswith(heard_of_first) and 3 <= len(heard_of_first.split()) < len(LONG.split())
    assert share_heard(words(heard_of_first), first_words) >= 0.5
    assert words(heard_of_first + unheard.removeprefix("Never heard:")) == words(LONG)
    assert figures["stops-in"].endswith(" ms") and figures["answers-in"] != "–"
    total = sum(float(text.split()[0]) * (1 if text.endswith("ms") else 1000) for text in steps)
    assert len(totals) == 2 and len(steps) == 5
    assert shown_ms(totals[1]) - 150 < waited_ms < shown_ms(totals[1]) + 900  # quiet ends count as speech, or not
    assert total == pytest.approx(shown_ms(totals[1]), abs=12)  # each is rounded


def shown_ms(text: str) -> float:
    value, unit = text.split()[:2]
    return float(value) * (1 if unit == "ms" else 1000)
