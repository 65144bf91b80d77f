"""One file drives the demo and the LiveKit worker: the same words, the same models, the same manners."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

pytest.importorskip("aiortc")
pytest.importorskip("livekit.agents")

from tests.fakes import tone_engine
from xtts_rtc import cli
from xtts_rtc.composition import calls_of
from xtts_rtc.demo.session import Conversation, Kit, build_session, load_kit
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.settings import Settings, load_settings
from xtts_rtc.transports.webrtc import IceOptions, IceServer, Peer

ROOT = Path(__file__).parents[2]
FILE = """
agent: {greeting: Ahoy., instructions: Speak like a sailor., llm_url: "http://127.0.0.1:9/v1", llm_model: sea-1,
        interrupt_after_s: 0.2, resume_after_s: 1.5, pause_s: 0.25, answer_after_s: 0.3, answer_latest_s: 1.0}
voices: {voice: anna, language: fr}
sampling: {temperature: 0.5}
webrtc: {max_calls: 2, idle_s: 77.0}
"""


@pytest.fixture(autouse=True)
def _a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of agent.py with another configuration beside it."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "agent.yaml").write_text(FILE)
    shutil.copy(ROOT / "agent.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"):
        monkeypatch.delenv(name, raising=False)


def agent_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("the_agent", "agent.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def settings_of_demo(*flags: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What `xtts-rtc demo` would begin with."""
    seen: list[Settings] = []
    monkeypatch.setattr("xtts_rtc.demo.run", lambda args: seen.append(args.settings) or 0)
    assert cli.main(["demo", *flags]) == 0
    return seen[0]


async def manners(kit: Kit) -> dict[str, object]:
    """What a session made of it would do."""
    session = build_session(kit)
    agent = Conversation(kit.voices.language, instructions=kit.agent.instructions)
    handling, voice = session.options.turn_handling, session.tts._opts  # type: ignore[union-attr]
    try:
        return {
            "model": session.llm.model,  # type: ignore[union-attr]
            "voice": (voice.voice, voice.language, voice.sampling.temperature),
            "instructions": agent.instructions,
            "greeting": kit.agent.greeting,
            "pause": handling["interruption"]["min_duration"],
            "resume": handling["interruption"]["false_interruption_timeout"],
            "delays": (handling["endpointing"]["min_delay"], handling["endpointing"]["max_delay"]),
        }
    finally:
        await kit.aclose()


async def test_the_same_file_drives_the_demo_and_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    for_rooms, for_pages = agent_module().settings(), settings_of_demo(monkeypatch=monkeypatch)
    assert for_rooms == for_pages
    tone = ToneBackend()
    async with tone_engine(tone) as engine:
        both = [await manners(load_kit(settings, engine)) for settings in (for_rooms, for_pages)]
    tone.close()
    assert both[0] == both[1]
    assert both[0] == {
        "model": "sea-1", "voice": ("anna", "fr", 0.5), "instructions": "Speak like a sailor.", "greeting": "Ahoy.",
        "pause": 0.2, "resume": 1.5, "delays": (0.3, 1.0),
    }  # fmt: skip


def test_a_file_that_is_named_and_a_flag_go_over_the_shared_one(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("other.yaml").write_text("agent: {greeting: Hi.}")
    assert settings_of_demo("--config", "other.yaml", monkeypatch=monkeypatch).agent.greeting == "Hi."
    settings = settings_of_demo("--max-calls", "3", monkeypatch=monkeypatch)
    assert (settings.webrtc.max_calls, settings.webrtc.idle_s) == (3, 77.0)


def test_the_shipped_file_says_what_the_defaults_are() -> None:
    shipped = load_settings(config=ROOT / "configs" / "agent.yaml", environ={}, dotenv=None)
    assert shipped == load_settings(environ={}, dotenv=None)


async def test_every_option_of_calls_reaches_them() -> None:
    async def talk(peer: Peer) -> None: ...

    given = {
        "max_calls": 3, "connect_s": 1.0, "silent_s": 2.0, "longest_s": 3.0, "addresses": ["127.0.0.1"],
        "stun_url": "stun:a.example:3478", "turn_url": "turn:b.example", "turn_username": "anna",
    }  # fmt: skip
    environ = {"XTTS_TURN_CREDENTIAL": "s3cret"}
    calls = calls_of(load_settings({"webrtc": given}, environ=environ, dotenv=None), talk)
    assert calls.max_calls == 3
    assert (calls._connect_s, calls._silence_s, calls._max_call_s) == (1.0, 2.0, 3.0)
    servers = (IceServer("stun:a.example:3478"), IceServer("turn:b.example", "anna", "s3cret"))
    assert calls._ice == IceOptions(addresses=("127.0.0.1",), servers=servers)
    assert "s3cret" not in repr(calls._ice)


def test_without_servers_no_packet_goes_to_strangers() -> None:
    async def talk(peer: Peer) -> None: ...

    assert calls_of(load_settings(environ={}, dotenv=None), talk)._ice == IceOptions(addresses=None, servers=())
