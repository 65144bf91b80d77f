"""`python agent.py console` in a terminal, without a sound card: with text, and what it says without PortAudio."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("livekit.agents")

from tests.demo.openai_stub import OpenAIStub

ROOT = Path(__file__).parents[2]
QUESTION = "When does the train leave?"
ANSWER = "The train leaves at eight."
LIMIT_S = 30.0
SILENT_SOUND_CARD = """
class default: device = (0, 0)
def query_devices(device=None, kind=None): return {"name": "none", "max_input_channels": 1}
"""
NO_PORTAUDIO = "raise OSError('PortAudio library not found')"


def environment(tmp_path: Path, sounddevice: str) -> dict[str, str]:
    """Of a process that finds this in place of sounddevice, whose library the machine may not have."""
    (tmp_path / "sounddevice.py").write_text(sounddevice)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("XTTS_", "OPENAI_", "LIVEKIT_"))}
    return {**clean, "PYTHONPATH": str(tmp_path), "TERM": "xterm", "COLUMNS": "100", "XTTS_MODEL": "random-tiny"}


class Terminal:
    """A process in a terminal of its own."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self._master, slave = pty.openpty()
        controlled = partial(os.login_tty, slave)  # so that Ctrl+C reaches it
        self.process = subprocess.Popen(command, cwd=ROOT, env=env, preexec_fn=controlled, pass_fds=(slave,))
        os.close(slave)
        self._screen = b""

    def until(self, text: str) -> str:
        """What stands on it once the text does, without colours and cursors."""
        deadline = time.monotonic() + LIMIT_S
        while text not in (plain := re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", self._screen).decode(errors="replace")):
            assert time.monotonic() < deadline and self.process.poll() is None, plain[-2000:]
            if select.select([self._master], [], [], 0.1)[0]:
                self._screen += os.read(self._master, 65_536)
        return plain

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt(self) -> int:
        """Press Ctrl+C until it ends, as between two prompts nobody may read it; the exit code."""
        deadline = time.monotonic() + LIMIT_S
        while (code := self.process.poll()) is None:
            assert time.monotonic() < deadline
            self.type("\x03")
            ends = time.monotonic() + 10.0  # pressed again while it ends, it ends by the signal
            while self.process.poll() is None and time.monotonic() < ends:
                if select.select([self._master], [], [], 0.1)[0]:
                    with contextlib.suppress(OSError):  # it has hung up
                        os.read(self._master, 65_536)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._master)


@pytest.mark.net
async def test_what_is_typed_is_answered_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    model = OpenAIStub(ANSWER)
    async with model.serving() as url:
        env = environment(tmp_path, SILENT_SOUND_CARD) | {"OPENAI_BASE_URL": url}
        terminal = Terminal([sys.executable, "agent.py", "console", "--text"], env)
        try:
            await asyncio.to_thread(terminal.until, "Type to talk to your agent")
            reading = asyncio.create_task(asyncio.to_thread(terminal.until, ANSWER))
            while not model.asked and not reading.done():  # it throws away what was typed before its prompt reads
                terminal.type(f"{QUESTION}\r")
                await asyncio.wait([reading], timeout=3.0)
            screen = await reading
            code = await asyncio.to_thread(terminal.interrupt)
        finally:
            terminal.close()
    assert code == 0
    assert "Hello! Ask me" in screen
    assert set(model.asked) == {QUESTION}


def test_without_portaudio_it_says_in_one_line_what_to_do(tmp_path: Path) -> None:
    command = [sys.executable, "agent.py", "console", "--text"]
    env = environment(tmp_path, NO_PORTAUDIO)
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("agent.py: the console needs PortAudio: apt-get install ")
    assert "Traceback" not in done.stderr
