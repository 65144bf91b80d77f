"""Whatever several clients send to /v1/speech at once, the server answers, forgets it and speaks on.

FUZZ_EXAMPLES sets how many cases are tried.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.fakes import hear, joined, serving
from xtts_rtc.api import Engine

pytestmark = [pytest.mark.net, pytest.mark.slow]

NUM_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
KINDS = ("start", "text", "flush", "end", "cancel", "read")
ANSWERS = {"started", "segment", "done", "cancelled", "error"}
MAX_CLIENTS = 3
HUGE = 2 * 2**20 + 1
"""Bytes over the limit of one message."""

ids = st.sampled_from(("a", "b")) | st.text(max_size=80) | st.just("x" * 100_000)
short = st.text(max_size=8)
odd = st.none() | st.booleans() | st.integers() | st.floats() | short | st.lists(st.integers(), max_size=2)
phrases = st.sampled_from(("Hello there. ", "One more sentence! ", "and on it goes ", "\x00", "...", ""))
words = phrases | st.text(max_size=60)


def object_of(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of these keys, each with a value of its own kind or of none."""
    return st.fixed_dictionaries({}, optional={name: value | odd for name, value in values.items()})


samplings = object_of(
    temperature=st.floats(0.1, 2.0),
    top_k=st.integers(1, 1026),
    seed=st.integers(0, 2**63),
    speed=st.floats(0.5, 2),
)
starts = object_of(
    voice=st.sampled_from(("default", "nobody", "../etc")),
    language=st.sampled_from(("en", "de", "xx")),
    sample_rate=st.sampled_from((8_000, 24_000, 48_000)) | st.integers(),
    encoding=st.sampled_from(("pcm_s16le", "pcm_f32le", "mp3")),
    realtime=st.booleans(),
    window_s=st.floats(0.01, 5.0),
    sampling=samplings,
)
good = st.builds(lambda kind, text: {"type": kind, "id": "a", "text": text}, st.sampled_from(KINDS), words)
begun = st.builds(lambda values, key: {**values, "type": "start", "id": key}, starts, ids)
typed = st.builds(
    lambda kind, key, values: {**values, "type": kind, "id": key},
    st.sampled_from(KINDS) | st.text(max_size=8),
    ids | odd,
    object_of(text=words, samples=st.integers()),
)
anything = st.recursive(odd, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner))
frames = (
    st.one_of(good, good, begun, typed, anything).map(json.dumps)
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | st.just("[" * 50_000)
)
actions = st.one_of(
    *[st.tuples(st.just("send"), frames)] * 6,
    st.tuples(st.just("speak"), words),
    st.tuples(st.just("interrupt"), words),
    st.tuples(st.just("parts"), st.lists(st.text(max_size=10), min_size=1, max_size=3)),
    st.tuples(st.just("listen"), st.floats(0, 0.02)),
    st.tuples(st.just("ping"), st.none()),
    st.tuples(st.just("close"), st.sampled_from((1000, 1001, 3000, 4999))),
    st.tuples(st.just("vanish"), st.none()),
    st.tuples(st.just("huge"), st.booleans()),
)
scripts = st.lists(st.tuples(st.integers(0, MAX_CLIENTS - 1), actions), max_size=25)
Script = Sequence[tuple[int, tuple[str, Any]]]


@dataclass
class Client:
    """One socket, and what the server may not do on it."""

    line: ClientConnection
    answers: Counter[str]
    is_running: bool = False
    wrong: list[str] = field(default_factory=list)

    async def listen(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in self.line:
                self.check(message)

    def check(self, message: str | bytes) -> None:
        if isinstance(message, bytes):
            self.answers["audio"] += 1
            if not self.is_running:
                self.wrong.append("audio of no utterance")
            return
        answer = json.loads(message)
        if answer.get("type") not in ANSWERS:
            self.wrong.append(f"answered {answer}")
        self.answers[answer["type"]] += 1
        if answer["type"] == "started":
            self.is_running = True
        elif answer["type"] in ("done", "cancelled"):
            self.is_running = False
        elif answer["type"] == "error" and (answer["code"] in ("error", "generation_failed") or not answer["message"]):
            self.wrong.append(f"failed with {answer}")

    async def act(self, kind: str, value: Any) -> None:
        with contextlib.suppress(ConnectionClosed):
            if kind in ("send", "parts"):
                await self.line.send(value)
            elif kind in ("speak", "interrupt"):
                for part in ("start", "text", "end", "cancel")[: 3 if kind == "speak" else 4]:
                    await self.line.send(json.dumps({"type": part, "id": "a", "text": value}))
            elif kind == "listen":
                await asyncio.sleep(value)
            elif kind == "ping":
                await self.line.ping()
            elif kind == "close":
                await self.line.close(value)
            elif kind == "vanish":
                self.line.transport.abort()
            else:
                await self.line.send("x" * HUGE if value else b"x" * HUGE)


class Target:
    """A server over the real engine, in an event loop that only runs while an example does."""

    def __init__(self, runner: asyncio.Runner, engine: Engine, port: int) -> None:
        self._runner = runner
        self._engine = engine
        self._url = f"ws://127.0.0.1:{port}/v1/speech"
        self.remote = Engine.connect(self._url)
        self.complaints: list[str] = []
        self.answers: Counter[str] = Counter()
        self.num_actions = 0
        self._num_attacks = 0

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self._runner.run(work)

    async def attack(self, script: Script) -> None:
        """Play a script, then see that nothing of it is left and, now and then, that speech is still speech."""
        self._num_attacks += 1
        self.complaints.clear()
        tasks = len(asyncio.all_tasks())
        clients: dict[int, Client] = {}
        async with asyncio.TaskGroup() as group:
            for number, (kind, value) in script:
                if number not in clients:
                    line = await connect(self._url, compression=None, close_timeout=1, ping_interval=None)
                    clients[number] = Client(line, self.answers)
                    group.create_task(clients[number].listen())
                await clients[number].act(kind, value)
                self.num_actions += 1
            for client in clients.values():
                client.line.transport.abort()
        assert [what for client in clients.values() for what in client.wrong] == []
        async with asyncio.timeout(10):
            while (await self._engine.status()).num_streams or len(asyncio.all_tasks()) > tasks:
                await asyncio.sleep(0.001)
        assert self.complaints == []
        if self._num_attacks % 20 == 0:
            await self.speak()

    async def speak(self) -> None:
        """What a well-behaved client hears is still speech."""
        async with self.remote.open(realtime=False) as speech:
            speech.push_text("Still there.")
            speech.end_input()
            assert joined(await hear(speech)).size > 2_400


class _Complaints(logging.Handler):
    """Every error, tracebacks included."""

    def __init__(self, into: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._into = into

    def emit(self, record: logging.LogRecord) -> None:
        self._into.append(self.format(record))


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    engine = Engine.load(model="random-tiny", backend="onnx", max_streams=MAX_CLIENTS + 1)
    with asyncio.Runner(debug=False) as runner, contextlib.ExitStack() as stack:
        running = contextlib.AsyncExitStack()
        port = runner.run(running.enter_async_context(serving(engine)))
        made = Target(runner, engine, port)
        handler = _Complaints(made.complaints)
        logging.getLogger().addHandler(handler)
        stack.callback(logging.getLogger().removeHandler, handler)
        made.run(made.speak())
        yield made
        runner.run(made.remote.aclose())
        runner.run(running.aclose())
        runner.run(engine.aclose())


@settings(max_examples=NUM_EXAMPLES, deadline=None)
@given(script=scripts)
def test_no_message_breaks_the_server(target: Target, script: Script) -> None:
    event(f"{len({number for number, _ in script})} clients")
    target.run(target.attack(script))


def test_it_was_a_conversation_and_goes_on(target: Target) -> None:
    target.run(target.speak())
    print(f"\n{target.num_actions} actions, the server's answers: {dict(target.answers)}")
    assert set(target.answers) == ANSWERS | {"audio"}
