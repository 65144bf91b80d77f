"""The server's end of /v1/speech over queues in place of a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from starlette.websockets import WebSocket

from tests.fakes import tone_engine
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.errors import GenerationFailed, InvalidParameter, ProtocolError
from xtts_rtc.transports.ws_api import SpeechSocket, encode, parse_sampling, parse_start
from xtts_rtc.types import SamplingParams

TEXT = "The first sentence is here. A second one follows it! "


class Wire:
    """A client's view of one socket."""

    def __init__(self) -> None:
        self._up: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._down: asyncio.Queue[Any] = asyncio.Queue()
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.is_broken = False
        self._up.put_nowait({"type": "websocket.connect"})
        self.socket = WebSocket({"type": "websocket", "path": "/v1/speech", "headers": []}, self._up.get, self._write)

    async def _write(self, message: Any) -> None:
        await self.may_write.wait()
        if self.is_broken:
            raise OSError
        if message["type"] == "websocket.send":
            data = message.get("bytes")
            self._down.put_nowait(json.loads(message["text"]) if data is None else data)

    def send(self, kind: str, utterance: str = "u1", **values: object) -> None:
        self.send_raw(json.dumps({"type": kind, "id": utterance, **values}))

    def send_raw(self, text: str | None = None, data: bytes | None = None) -> None:
        self._up.put_nowait({"type": "websocket.receive", "text": text, "bytes": data})

    def leave(self) -> None:
        self._up.put_nowait({"type": "websocket.disconnect", "code": 1006})

    async def next(self) -> Any:
        async with asyncio.timeout(5):
            return await self._down.get()

    async def until(self, *kinds: str) -> list[Any]:
        """Everything up to a message of one of these types, which is the last."""
        seen = []
        while not seen or isinstance(seen[-1], bytes) or seen[-1]["type"] not in kinds:
            seen.append(await self.next())
        return seen

    @property
    def num_unread(self) -> int:
        return self._down.qsize()


@pytest.fixture
def tone() -> ToneBackend:
    return ToneBackend(max_unread_s=0.5, max_streams=4)


@pytest.fixture
async def wire(no_leaked_tasks: None, tone: ToneBackend) -> AsyncIterator[Wire]:
    wire = Wire()
    async with tone_engine(tone) as engine:
        serving = asyncio.create_task(SpeechSocket(engine, wire.socket).serve())
        yield wire
        wire.leave()
        async with asyncio.timeout(5):
            await serving
        assert tone.num_streams == 0


def speak(wire: Wire, text: str = TEXT, utterance: str = "u1", **options: object) -> None:
    wire.send("start", utterance, **options)
    wire.send("text", utterance, text=text)
    wire.send("end", utterance)


async def test_an_utterance_is_started_segments_audio_done(wire: Wire) -> None:
    speak(wire, sample_rate=16_000)
    seen = await wire.until("done")
    control = [message for message in seen if not isinstance(message, bytes)]
    assert [message["type"] for message in control] == ["started", "segment", "segment", "done"]
    assert {message["id"] for message in control} == {"u1"}
    assert "".join(message["text"] for message in control[1:3]) == TEXT
    num_bytes = sum(len(message) for message in seen if isinstance(message, bytes))
    assert num_bytes / 2 / 16_000 == pytest.approx(control[-1]["metrics"]["audio_s"], abs=0.001)
    assert isinstance(seen[2], bytes), "a segment is announced before its audio"


async def test_the_socket_serves_one_utterance_after_the_other(wire: Wire) -> None:
    for utterance in ("a", "b", "c"):
        speak(wire, utterance=utterance)
        assert (await wire.until("done"))[-1]["id"] == utterance


@pytest.mark.parametrize(("encoding", "dtype"), [("pcm_s16le", "<i2"), ("pcm_f32le", "<f4")])
async def test_both_encodings_hold_the_same_audio(wire: Wire, encoding: str, dtype: str) -> None:
    speak(wire, encoding=encoding)
    seen = await wire.until("done")
    pcm = np.frombuffer(b"".join(message for message in seen if isinstance(message, bytes)), dtype)
    peak = np.abs(pcm.astype(np.float64)).max() / (32_768 if dtype == "<i2" else 1)
    assert peak == pytest.approx(0.25, abs=0.001)


async def test_no_audio_follows_cancelled(wire: Wire, tone: ToneBackend) -> None:
    speak(wire, TEXT * 50)
    await wire.until("segment")
    wire.send("cancel")
    last = (await wire.until("cancelled"))[-1]
    assert last["metrics"]["cancel_to_idle_ms"] >= 0
    assert tone.num_streams == 0 and tone.max_steps_after_cancel <= 1
    await asyncio.sleep(0.02)
    assert wire.num_unread == 0


async def test_a_start_right_behind_a_cancel_is_served(wire: Wire) -> None:
    speak(wire, TEXT * 50)
    await wire.until("segment")
    wire.send("cancel")
    speak(wire, utterance="u2")
    await wire.until("cancelled")
    assert (await wire.next()) == {"type": "started", "id": "u2"}
    assert (await wire.until("done"))[-1]["id"] == "u2"


async def test_a_second_start_is_refused_and_the_first_goes_on(wire: Wire) -> None:
    wire.send("start", "u1")
    wire.send("start", "u2")
    error = (await wire.until("error"))[-1]
    assert (error["id"], error["code"], error["retryable"]) == ("u2", "protocol_error", False)
    wire.send("text", "u1", text=TEXT)
    wire.send("end", "u1")
    assert (await wire.until("done"))[-1]["id"] == "u1"


@pytest.mark.parametrize(
    "raw",
    [
        "not json",
        "[1, 2]",
        '{"type": "sing"}',
        '{"no": "type"}',
        '{"type": 5}',
        '{"type": "start"}',
        '{"type": "start", "id": 7}',
        '{"type": "start", "id": "x", "voice": ["a"]}',
        '{"type": "start", "id": "x", "encoding": "mp3"}',
        '{"type": "start", "id": "x", "sample_rate": "fast"}',
        '{"type": "start", "id": "x", "sample_rate": 1}',
        '{"type": "start", "id": "x", "window_s": -1}',
        '{"type": "start", "id": "x", "sampling": {"temprature": 1}}',
        '{"type": "start", "id": "x", "sampling": {"temperature": "hot"}}',
        '{"type": "start", "id": "x", "sampling": [1]}',
        '{"type": "start", "id": "x", "voice": "nobody"}',
        '{"type": "start", "id": "x", "language": "xx"}',
        "[" * 100_000,
        None,
    ],
)
async def test_what_breaks_the_protocol_is_answered_and_survived(wire: Wire, raw: str | None) -> None:
    wire.send_raw(raw, None if raw else b"binary")
    error = await wire.next()
    assert error["type"] == "error" and error["message"] and error["code"] != "error"
    speak(wire)
    assert (await wire.until("done"))[-1]["type"] == "done"


async def test_messages_for_an_utterance_that_is_over_are_ignored(wire: Wire) -> None:
    speak(wire)
    await wire.until("done")
    for kind in ("text", "flush", "end", "cancel", "read"):
        wire.send(kind, text="late")
    speak(wire, utterance="u2")
    assert (await wire.next()) == {"type": "started", "id": "u2"}
    await wire.until("done")


async def test_text_over_the_limit_ends_its_utterance_only(wire: Wire, tone: ToneBackend) -> None:
    wire.send("start")
    wire.send("text", text="x" * 2**20)
    error = (await wire.until("error"))[-1]
    assert error["code"] == "invalid_text" and "100,000" in error["message"]
    assert tone.num_streams == 0
    speak(wire, utterance="u2")
    await wire.until("done")


async def test_flush_speaks_an_unfinished_sentence(wire: Wire) -> None:
    wire.send("start")
    wire.send("text", text="no end in sight")
    wire.send("flush")
    assert (await wire.until("segment"))[-1]["text"] == "no end in sight"


async def test_a_window_bounds_what_is_sent_and_reading_opens_it(wire: Wire, tone: ToneBackend) -> None:
    speak(wire, TEXT * 20, window_s=1.0, sample_rate=24_000)
    await wire.until("segment")
    heard = 0
    for _ in range(3):
        await asyncio.sleep(0.05)
        fresh = 0
        while wire.num_unread:
            message = await wire.next()
            fresh += len(message) // 2 if isinstance(message, bytes) else 0
        assert 0 < fresh <= 24_000
        heard += fresh
        wire.send("read", samples=fresh)
    assert tone.num_steps <= (heard / 24_000 + 1.0 + 0.5) * 10 + 2
    wire.send("cancel")
    await wire.until("cancelled")


async def test_a_peer_that_stops_reading_rests_its_stream(wire: Wire, tone: ToneBackend) -> None:
    speak(wire, TEXT * 20)
    await wire.until("segment")
    wire.may_write.clear()
    await asyncio.sleep(0.02)
    steps = tone.num_steps
    await asyncio.sleep(0.05)
    assert tone.num_steps == steps
    wire.may_write.set()
    assert (await wire.until("done"))[-1]["metrics"]["num_segments"] == 40


async def test_a_client_that_goes_frees_its_stream_even_in_a_stuck_write(wire: Wire, tone: ToneBackend) -> None:
    speak(wire, TEXT * 20)
    await wire.until("segment")
    wire.may_write.clear()
    await asyncio.sleep(0.01)
    wire.leave()
    async with asyncio.timeout(5):
        while tone.num_streams:
            await asyncio.sleep(0.001)
    wire.may_write.set()


async def test_a_client_that_leaves_in_mid_sentence_is_no_failure(
    wire: Wire, tone: ToneBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """Regression: it was logged as one, with a traceback, when a segment's text found the connection broken."""
    speak(wire, TEXT * 20)
    await wire.until("started")
    wire.is_broken = True
    async with asyncio.timeout(5):
        while tone.num_streams:
            await asyncio.sleep(0.001)
    assert [record for record in caplog.records if record.name.startswith("xtts_rtc")] == []


async def test_a_failure_is_told_with_its_code(wire: Wire, tone: ToneBackend) -> None:
    tone.fail_next(GenerationFailed("the model gave no number"), after_steps=2)
    speak(wire)
    error = (await wire.until("error"))[-1]
    assert (error["code"], error["message"]) == ("generation_failed", "the model gave no number")
    speak(wire, utterance="u2")
    await wire.until("done")


async def test_a_client_that_goes_at_once_frees_its_stream(no_leaked_tasks: None, tone: ToneBackend) -> None:
    wire = Wire()
    wire.send("start")
    wire.leave()  # read in the same turn of the loop: the speaking task never begins
    async with tone_engine(tone) as engine:
        await SpeechSocket(engine, wire.socket).serve()
        assert tone.num_streams == 0


def test_a_start_message_has_the_published_defaults() -> None:
    start = parse_start({"id": "u1"})
    assert (start.voice, start.language, start.sample_rate) == ("default", "en", 24_000)
    assert start.sampling == SamplingParams() and start.realtime and start.window_s is None
    with pytest.raises(ProtocolError, match="64"):
        parse_start({"id": "x" * 65})


@pytest.mark.parametrize(
    "values", [{"top_k": 1.5}, {"top_k": True}, {"seed": "1"}, {"top_p": 0}, {"speed": float("nan")}]
)
def test_sampling_out_of_range_names_the_parameter(values: dict[str, object]) -> None:
    with pytest.raises(InvalidParameter, match=next(iter(values))):
        parse_sampling(values)


def test_sampling_takes_whole_numbers_for_fractions() -> None:
    assert parse_sampling({"temperature": 1, "seed": 3}) == SamplingParams(temperature=1, seed=3)


def test_audio_that_is_no_number_is_refused() -> None:
    with pytest.raises(GenerationFailed):
        encode(np.array([np.nan], np.float32), "pcm_s16le")
