"""`xtts-rtc serve` with a section `audiosocket`: from the YAML file to the caller's ear, and down again."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes import tone_engine
from tests.transports.audiosocket.phone import calling
from xtts_rtc import app
from xtts_rtc.composition import phone_of
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.errors import ConfigError
from xtts_rtc.settings import Settings, load_settings

pytestmark = [pytest.mark.net, pytest.mark.slow]

ROOT = Path(__file__).parents[3]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings_with(tmp_path: Path, lines: str) -> Settings:
    config = tmp_path / "phone.yaml"
    config.write_text("audiosocket:\n" + "".join(f"  {line}\n" for line in lines.splitlines()))
    return load_settings(config=config, environ={}, dotenv=None)


@pytest.fixture
async def served(no_leaked_tasks: None, tmp_path: Path) -> AsyncIterator[tuple[int, asyncio.Task[None], ToneBackend]]:
    port, tone = free_port(), ToneBackend()
    settings = settings_with(tmp_path, f'port: {port}\ngreeting: "This is a test."\nphrases: {{1: "It is."}}')
    task = asyncio.create_task(
        app.serve(lambda metrics: tone_engine(tone), port=0, grace_s=5, phone=phone_of(settings))
    )
    async with asyncio.timeout(10):
        while not task.done():
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                break
    yield port, task, tone
    if not task.done():
        os.kill(os.getpid(), signal.SIGTERM)
    await task


async def test_a_caller_hears_the_greeting_of_the_file(served: tuple[int, asyncio.Task[None], ToneBackend]) -> None:
    port, _, _ = served
    async with calling(port) as phone:
        await phone.until_loud()
        phone.press("1")
        await asyncio.sleep(0.3)
        assert phone.loud_times()


async def test_a_signal_lets_running_speech_end_and_hangs_up(
    served: tuple[int, asyncio.Task[None], ToneBackend],
) -> None:
    port, task, tone = served
    async with calling(port) as phone:
        await phone.until_loud()
        os.kill(os.getpid(), signal.SIGTERM)
        await phone.until_hung_up(limit_s=8)
        assert phone.was_told
        assert len(phone.loud_times()) * 0.02 == pytest.approx(1.0, abs=0.1), "it was heard to its end"
        async with asyncio.timeout(5):
            await task
        assert tone.num_streams == 0


async def test_a_port_that_is_taken_stops_the_start(no_leaked_tasks: None, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = settings_with(tmp_path, f"port: {taken.getsockname()[1]}")
        with pytest.raises(OSError):
            await app.serve(lambda metrics: tone_engine(ToneBackend()), port=0, phone=phone_of(settings))


def test_no_port_no_calls() -> None:
    assert phone_of(load_settings(environ={}, dotenv=None)) is None
    shipped = load_settings(config=ROOT / "configs" / "telephony.yaml", environ={}, dotenv=None)
    assert phone_of(shipped) is not None and set(shipped.audiosocket.phrases) == {"1", "2"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("phrases: {x: Hello.}", "must be texts by key: 0-9, A-D"),
        ("prot: 9092", "did you mean port"),
        ("port: 90920", "less than or equal to 65535"),
        ("language: xx", "audiosocket.language"),
        ("listen_s: 0", "greater than 0"),
    ],
)
def test_a_wrong_option_stops_the_start_and_says_what_is_right(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        settings_with(tmp_path, line)
