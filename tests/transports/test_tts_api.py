"""`/tts` and `/tts_stream` over a backend that beeps: what is answered, and what a client that leaves leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.fakes import serving, tone_engine
from xtts_rtc.api import Engine
from xtts_rtc.app import create_app
from xtts_rtc.engine.tone import CHARS_PER_SECOND, ToneBackend
from xtts_rtc.errors import GenerationFailed, NotAcceptable
from xtts_rtc.transports.tts_api import TtsBody, choose

TEXT = "The first sentence is here. A second one follows it!"
LONG = "This sentence is said again and again. " * 200
JSON = {"Accept": "application/json"}


@pytest.fixture
def tone() -> ToneBackend:
    return ToneBackend(max_streams=4)


@pytest.fixture
async def engine(no_leaked_tasks: None, tone: ToneBackend) -> AsyncIterator[Engine]:
    async with tone_engine(tone) as made:
        yield made


@pytest.fixture
async def client(engine: Engine, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Straight into the application; its answers come whole."""
    transport = httpx.ASGITransport(create_app(engine, output_dir=tmp_path / "kept"))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


@pytest.fixture
async def remote(engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    """Over loopback."""
    async with serving(engine) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as made:
            yield made


async def until_idle(tone: ToneBackend, limit_s: float = 5.0) -> None:
    async with asyncio.timeout(limit_s):
        while tone.num_streams:
            await asyncio.sleep(0.002)


async def test_a_file_has_its_length_in_the_header_and_in_the_wav(client: httpx.AsyncClient) -> None:
    answer = await client.post("/tts", json={"text": TEXT})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "audio/wav")
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert int.from_bytes(answer.content[40:44], "little") == len(answer.content) - 44


async def test_a_stream_is_little_endian_l16_unless_told(client: httpx.AsyncClient) -> None:
    answer = await client.post("/tts_stream", json={"text": TEXT})
    assert answer.headers["content-type"] == "audio/L16; rate=24000; channels=1; endianness=little-endian"
    pcm = np.frombuffer(answer.content, "<i2")
    assert len(pcm) == pytest.approx(len(TEXT) / CHARS_PER_SECOND * 24_000, rel=0.05)
    assert 7_000 < np.abs(pcm).max() < 9_000  # the beep's quarter of full scale


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        ({}, 400, "invalid_text", "text must be a string"),
        ({"text": ""}, 400, "invalid_text", "something to say"),
        ({"text": " \n\t"}, 400, "invalid_text", "something to say"),
        ({"text": 5}, 400, "invalid_text", "a string"),
        ({"text": "lone \ud800"}, 400, "invalid_text", "a string"),
        ({"text": "x" * 100_001}, 400, "invalid_text", "at most 100,000 characters"),
        ([], 400, "invalid_request", "JSON object"),
        ({"text": TEXT, "speaker": "nobody"}, 404, "voice_not_found", "Speaker 'nobody' not found"),
        ({"text": TEXT, "speaker": "../etc"}, 404, "voice_not_found", "Speaker '../etc' not found"),
        ({"text": TEXT, "language": "tlh"}, 422, "invalid_parameter", "language: it must be 'en'"),
        ({"text": TEXT, "temperature": 0}, 422, "invalid_parameter", "temperature"),
        ({"text": TEXT, "temperature": "0.5"}, 422, "invalid_parameter", "temperature"),
        ({"text": TEXT, "repetition_penalty": 21}, 422, "invalid_parameter", "repetition_penalty"),
        ({"text": TEXT, "top_k": 1.5}, 422, "invalid_parameter", "top_k"),
        ({"text": TEXT, "top_p": 1.1}, 422, "invalid_parameter", "top_p"),
        ({"text": TEXT, "speed": 3}, 422, "invalid_parameter", "speed"),
        ({"text": TEXT, "seed": -1}, 422, "invalid_parameter", "seed"),
        ({"text": TEXT, "format": "zip"}, 422, "invalid_parameter", "format: it must be 'pcm'"),
        ({"text": TEXT, "sample_rate": 11_000}, 422, "invalid_parameter", "sample_rate"),
        ({"text": TEXT, "format": "opus", "sample_rate": 44_100}, 422, "invalid_parameter", "opus has one of 8000"),
        ({"text": TEXT, "temprature": 1}, 422, "invalid_parameter", "'temprature' is not a parameter"),
    ],
)
@pytest.mark.parametrize("path", ["/tts", "/tts_stream"])
async def test_bad_input_gets_one_clear_error(
    client: httpx.AsyncClient, tone: ToneBackend, path: str, body: Any, status: int, code: str, words: str
) -> None:
    content = json.dumps(body).encode()
    answer = await client.post(path, content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert words in answer.json()["error"] and answer.json().keys() == {"error", "code"}
    assert tone.num_steps == 0


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"text": ' + b"9" * 5_000 + b"}", b"[" * 100_000])
async def test_what_is_not_json_is_refused(client: httpx.AsyncClient, content: bytes) -> None:
    answer = await client.post("/tts", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and answer.json().keys() == {"error", "code"}
    assert "JSON" in answer.json()["error"]


@pytest.mark.parametrize("path", ["/tts", "/tts_stream", "/v1/audio/speech"])
async def test_another_body_than_json_is_415(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(path, data={"text": TEXT})
    body = answer.json()["error"]
    assert answer.status_code == 415 and "application/json" in (body if isinstance(body, str) else body["message"])


async def test_unknown_paths_and_methods_are_answered_in_the_same_form(client: httpx.AsyncClient) -> None:
    nowhere, wrong = await client.get("/nowhere"), await client.put("/tts")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["code"], wrong.headers["allow"]) == (405, "method_not_allowed", "POST")


@pytest.mark.parametrize(
    ("accept", "given", "format", "rate"),
    [
        ("", {}, "wav", 24_000),
        ("*/*", {}, "wav", 24_000),
        ("audio/*", {}, "wav", 24_000),
        ("audio/mpeg", {}, "mp3", 24_000),
        ("audio/ogg; codecs=opus", {}, "opus", 24_000),
        ("AUDIO/FLAC", {"sample_rate": 48_000}, "flac", 48_000),
        ("audio/L16", {}, "l16be", 24_000),
        ("audio/L16; rate=16000; channels=1", {}, "l16be", 16_000),
        ("audio/L16; rate=16000; endianness=little-endian", {}, "pcm", 16_000),
        ("audio/L16; rate=12345", {}, "l16be", 24_000),
        ("audio/basic", {}, "mulaw", 8_000),
        ("audio/PCMA;rate=16000", {}, "alaw", 16_000),
        ("audio/wav;q=0.3, audio/mpeg;q=0.8, */*;q=0.1", {}, "mp3", 24_000),
        ("audio/*, audio/aac", {}, "aac", 24_000),
        ("image/png, audio/flac;q=0.2", {}, "flac", 24_000),
        ("audio/mpeg", {"format": "wav"}, "wav", 24_000),
        ("image/png", {"format": "opus"}, "opus", 24_000),
        ("audio/mpeg;q=nonsense, audio/wav;q=0.1", {}, "wav", 24_000),
        ("application/json, text/plain, */*", {}, "wav", 24_000),
    ],
)
def test_the_header_chooses_what_the_body_leaves_open(
    accept: str, given: dict[str, Any], format: str, rate: int
) -> None:
    choice = choose(accept, TtsBody(text=TEXT, **given), default="wav", on_json="a file")
    assert (choice.encoding.name, choice.sample_rate, choice.is_json) == (format, rate, False)


@pytest.mark.parametrize(
    ("accept", "is_json"), [("application/json", True), ("audio/wav;q=0.5, application/json", True)]
)
def test_json_is_answered_to_who_prefers_it(accept: str, is_json: bool) -> None:
    assert choose(accept, TtsBody(text=TEXT, format="mp3"), default="wav", on_json="a file").is_json == is_json


def test_a_stream_is_heard_also_by_who_expects_its_errors_only() -> None:
    choice = choose("application/json", TtsBody(text=TEXT), default="pcm", on_json="errors")
    assert (choice.encoding.name, choice.is_json) == ("pcm", False)  # what `curl --json` sends


@pytest.mark.parametrize("accept", ["image/png", "audio/webm", "audio/wav;q=0", "application/json", ";;,=;"])
def test_what_cannot_be_made_is_not_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="audio/wav"):
        choose(accept, TtsBody(text=TEXT), default="wav", on_json="nothing")


async def test_json_keeps_the_file_and_says_where(client: httpx.AsyncClient, tmp_path: Path) -> None:
    direct = await client.post("/tts", json={"text": TEXT})
    answer = await client.post("/tts", json={"text": TEXT}, headers=JSON)
    assert answer.json()["message"] == "TTS completed"
    path = Path(answer.json()["output_path"])
    assert path.parent == tmp_path / "kept" and path.suffix == ".wav"
    assert len(path.read_bytes()) == len(direct.content)


async def test_calls_at_once_never_share_a_file(client: httpx.AsyncClient, tmp_path: Path) -> None:
    texts = [TEXT[: 10 + 3 * index] for index in range(4)]
    answers = await asyncio.gather(*(client.post("/tts", json={"text": text}, headers=JSON) for text in texts))
    paths = [Path(answer.json()["output_path"]) for answer in answers]
    assert len(set(paths)) == 4
    sizes = [path.stat().st_size for path in paths]
    assert sizes == sorted(set(sizes))  # each as long as its own text
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {path.name for path in paths}


async def test_a_folder_that_cannot_be_written_is_reported_and_survived(
    client: httpx.AsyncClient, tmp_path: Path, tone: ToneBackend
) -> None:
    (tmp_path / "kept").write_text("a file where the folder should be")
    answer = await client.post("/tts", json={"text": TEXT}, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_failed")
    await until_idle(tone)
    assert (await client.post("/tts", json={"text": TEXT})).status_code == 200


async def test_a_server_that_keeps_no_files_says_so(engine: Engine) -> None:
    transport = httpx.ASGITransport(create_app(engine, output_dir=None))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answer = await client.post("/tts", json={"text": TEXT}, headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize("path", ["/tts", "/tts_stream"])
async def test_a_speech_that_fails_before_its_audio_is_an_error(
    client: httpx.AsyncClient, tone: ToneBackend, path: str
) -> None:
    tone.fail_next(GenerationFailed("the numbers went wrong"))
    answer = await client.post(path, json={"text": TEXT})
    assert (answer.status_code, answer.json()) == (
        500,
        {"error": "the numbers went wrong", "code": "generation_failed"},
    )


async def test_full_is_429_and_says_when_to_come_back(no_leaked_tasks: None) -> None:
    tone = ToneBackend(max_streams=1)
    async with tone_engine(tone) as engine:
        transport = httpx.ASGITransport(create_app(engine))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            async with engine.open():
                answer = await client.post("/tts_stream", json={"text": TEXT})
            assert (answer.status_code, answer.json()["code"]) == (429, "engine_full")
            assert int(answer.headers["retry-after"]) >= 1
            tone.die()
            answer = await client.post("/tts_stream", json={"text": TEXT})
            assert (answer.status_code, answer.json()["code"]) == (503, "engine_unavailable")
            assert int(answer.headers["retry-after"]) >= 1


async def test_no_spoken_word_is_in_an_error_or_in_the_log(
    client: httpx.AsyncClient, tone: ToneBackend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "xtts_rtc")
    secret = "the safe opens at midnight"
    for body in ({"text": secret, "top_k": 0}, {"text": [secret]}, {"text": secret, "speaker": "nobody"}):
        assert secret not in (await client.post("/tts", json=body)).text
    broken = await client.post(
        "/tts", content=f'{{"text": "{secret}'.encode(), headers={"Content-Type": "application/json"}
    )
    tone.fail_next(GenerationFailed("no"))
    assert secret not in (await client.post("/tts", json={"text": secret})).text + broken.text
    assert secret not in caplog.text


@pytest.mark.net
async def test_the_first_byte_leaves_with_the_first_chunk() -> None:
    tone = ToneBackend(step_s=0.02)
    async with tone_engine(tone) as engine, serving(engine) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as remote:
            async with remote.stream("POST", "/tts_stream", json={"text": LONG}) as answer:
                first = await anext(answer.aiter_bytes())
                assert tone.num_steps <= 4 and len(first) > 1_000  # of 520 steps
        await until_idle(tone)


async def leave(tone: ToneBackend, remote: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
    """Ask, and close the connection when the engine has made 20 steps."""
    asking = asyncio.create_task(remote.post(path, json=body))
    async with asyncio.timeout(5):
        while tone.num_steps < 20:
            await asyncio.sleep(0.002)
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking


@pytest.mark.net
@pytest.mark.parametrize("path", ["/tts", "/tts_stream", "/v1/audio/speech"])
@pytest.mark.parametrize("format", ["wav", "opus", "mp3"])
async def test_a_client_that_leaves_stops_the_engine_within_one_step(path: str, format: str) -> None:
    # /tts sends nothing before its end, so that only the connection itself can tell.
    tone = ToneBackend(step_s=0.005)
    body = {"text": LONG, "format": format}
    if path.startswith("/v1"):
        body = {"input": LONG, "voice": "default", "model": "xtts", "response_format": format}
    async with tone_engine(tone) as engine, serving(engine) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as remote:
            await leave(tone, remote, path, body)
            await until_idle(tone, 1.0)
            made = tone.num_steps
            await asyncio.sleep(0.05)
    assert tone.num_steps == made < 100  # of 5,200
    assert tone.max_steps_after_cancel <= 1


@pytest.mark.net
async def test_who_leaves_while_waiting_for_a_place_gives_it_back() -> None:
    tone = ToneBackend(max_streams=1, max_queue_s=30.0)
    async with tone_engine(tone) as engine, serving(engine) as port:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as remote, engine.open():
            asking = asyncio.create_task(remote.post("/tts", json={"text": TEXT}))
            async with asyncio.timeout(5):
                while tone.num_streams < 2:
                    await asyncio.sleep(0.002)
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
            async with asyncio.timeout(2):
                while tone.num_streams > 1:
                    await asyncio.sleep(0.002)
        assert tone.num_steps == 0


@pytest.mark.net
async def test_a_cancelled_file_leaves_nothing_in_the_folder(tmp_path: Path, no_leaked_tasks: None) -> None:
    tone = ToneBackend(step_s=0.005)
    gone = asyncio.Event()
    body = json.dumps({"text": LONG}).encode()
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])
    headers = [(b"content-type", b"application/json"), (b"accept", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/tts", "headers": headers, "query_string": b""}

    async def receive() -> dict[str, Any]:
        if (message := next(messages, None)) is not None:
            return message
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError("nothing may be answered")

    async with tone_engine(tone) as engine:
        app = create_app(engine, output_dir=tmp_path)
        answering = asyncio.create_task(app({**scope, "http_version": "1.1", "app": app}, receive, send))
        async with asyncio.timeout(5):
            while tone.num_steps < 20:
                await asyncio.sleep(0.002)
        assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
        gone.set()
        await answering
        assert tone.num_streams == 0 and not list(tmp_path.iterdir())


@pytest.mark.net
@pytest.mark.parametrize("format", ["pcm", "mp3"])
async def test_a_speech_that_fails_half_way_is_a_transfer_cut_off(
    remote: httpx.AsyncClient, tone: ToneBackend, format: str
) -> None:
    tone.fail_next(GenerationFailed("the numbers went wrong"), after_steps=20)
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
        await remote.post("/tts_stream", json={"text": LONG, "format": format})
    assert (await remote.post("/tts_stream", json={"text": TEXT})).status_code == 200


@pytest.mark.net
async def test_an_engine_that_is_closed_half_way_leaves_no_whole_looking_file(
    remote: httpx.AsyncClient, engine: Engine
) -> None:
    async with remote.stream("POST", "/tts_stream", json={"text": LONG}) as answer:
        parts = answer.aiter_bytes()
        await anext(parts)
        await engine.aclose()
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            async for _ in parts:
                pass


@pytest.mark.net
async def test_a_reader_that_stops_reading_rests_its_own_stream_only(
    remote: httpx.AsyncClient, tone: ToneBackend
) -> None:
    async with remote.stream("POST", "/tts_stream", json={"text": LONG * 5}) as answer:
        await anext(answer.aiter_bytes())
        made = -1
        async with asyncio.timeout(10):
            while made != tone.num_steps:
                made = tone.num_steps
                await asyncio.sleep(0.1)
        # Under 45 s of the 2,600 s: what the sockets hold and the engine's own lead.
        assert made < 450
        assert (await remote.post("/tts", json={"text": TEXT})).status_code == 200
