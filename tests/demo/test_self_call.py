"""The measured call, straight and in a LiveKit room: one script, one report, the same names in it."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

pytest.importorskip("aiortc")
pytest.importorskip("livekit.agents")

from tests.demo.openai_stub import OpenAIStub
from xtts_rtc import cli
from xtts_rtc.api import Engine
from xtts_rtc.demo import report, script
from xtts_rtc.demo.livekit_server import reachable_server
from xtts_rtc.demo.recogniser import Recogniser
from xtts_rtc.demo.self_call import measure, measure_in_room
from xtts_rtc.errors import ConfigError
from xtts_rtc.settings import load_settings

ANSWER = (
    "The weather is fine today, and the streets are full of people. Everybody walks slowly along the river. "
    "Later in the evening the rain may come back again."
)
SHORT = tuple(step for step in script.SCRIPT if step.clip in ("garden", "stop"))


@pytest.mark.net
@pytest.mark.parametrize("transport", ["webrtc", "livekit"])
async def test_the_script_is_played_and_reported_over_both_ways(
    transport: str,
    embedded_engine: Engine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(script, "play", functools.partial(script.play, script=SHORT))
    async with OpenAIStub(ANSWER).serving() as url:
        settings = load_settings({"agent": {"llm_url": url, "greeting": "Hello."}}, environ={}, dotenv=None)
        if transport == "webrtc":
            call = await measure(settings, embedded_engine)
        else:
            with reachable_server(tmp_path / "livekit.log", {}) as server:
                call = await measure_in_room(settings, embedded_engine, server)
    recogniser = Recogniser()
    try:
        made = report.document(call, recogniser)
    finally:
        recogniser.close()
    summary = made["summary"]
    with capsys.disabled():
        print(f"\nself-call, {transport}:\n{report.table(summary)}")
    assert (summary["transport"], summary["turns"], len(summary["barge_in_cut_ms"])) == (transport, 2, 1)
    assert summary["old_audio_after_cut_samples"] == 0
    assert summary["barge_in_cut_ms"][0] < 400  # a busy machine; the figure is printed
    assert {"turn", "cut", "said", "speech", "says"} <= {event["what"] for event in made["events"]}
    assert 0 < summary["turn_latency_ms"]["p50"] < 6_000


def test_a_livekit_server_without_its_key_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set LIVEKIT_API_KEY and LIVEKIT_API_SECRET too"):
        with reachable_server(tmp_path / "log", {"LIVEKIT_URL": "ws://127.0.0.1:9"}):
            pass


@pytest.mark.net
def test_a_livekit_server_that_does_not_answer_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"URL": "ws://127.0.0.1:9", "API_KEY": "k", "API_SECRET": "s" * 32}
    for name, value in given.items():
        monkeypatch.setenv(f"LIVEKIT_{name}", value)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    flags = ["--self-call", "--transport", "livekit", "--out", str(tmp_path), "--model", "random-tiny"]
    assert cli.main(["demo", *flags]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("xtts-rtc: the LiveKit server at ws://127.0.0.1:9 cannot be used: ")
    assert printed.count("\n") == 1 and "ssss" not in printed


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--text", "Hi."], "--text goes with --room"),
        (["--transport", "livekit"], "--transport with --self-call"),
        (["--out", "x"], "--out with either"),
        (["--self-call", "--text", "Hi."], "--text goes with --room"),
        (["--room", "--transport", "livekit"], "--transport with --self-call"),
        (["--self-call", "--room"], "choose one"),
    ],
)
def test_a_flag_without_what_it_is_for_is_wrong_usage(
    flags: list[str], why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def perform(*values: object) -> str:
        raise AssertionError("it went on")

    monkeypatch.setattr("xtts_rtc.demo.self_call.perform", perform)
    monkeypatch.setattr("xtts_rtc.demo.room.perform", perform)
    assert cli.main(["demo", *flags]) == 2
    assert why in capsys.readouterr().err
