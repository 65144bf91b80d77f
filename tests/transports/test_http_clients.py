"""Clients that others wrote speak with the small real model: curl, ffprobe, openai, LiveKit's plugin for it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import openai
import pytest
import soxr

from tests.fakes import serving, tone_engine
from xtts_rtc.api import Engine
from xtts_rtc.audio.g711 import alaw_decode, mulaw_decode
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.errors import GenerationFailed

pytestmark = [pytest.mark.slow, pytest.mark.net]

TEXT = "Good morning. How can I help you today?"
SEED = 7
HZ = 24_000
FORMATS = {
    "pcm": ("s16le", 24_000),
    "l16be": ("s16be", 24_000),
    "mulaw": ("mulaw", 8_000),
    "alaw": ("alaw", 8_000),
    "wav": ("wav", 24_000),
    "opus": ("ogg", 48_000),
    "mp3": ("mp3", 24_000),
    "flac": ("flac", 24_000),
    "aac": ("aac", 24_000),
}
"""Ours to ffmpeg's name, and the rate that ffprobe sees (Opus is always played at 48 kHz)."""
BARE = ("pcm", "l16be", "mulaw", "alaw")
EXTRA_S = {"mp3": 1_152 / HZ, "aac": 2_048 / HZ}
"""What a decoder may give beyond the audio: MP3 a frame at the end, AAC its 1,024 samples in front too."""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    # The fp32 vocoder: in bf16 the same latents differ by 3e-4 between windows of different length.
    loaded = Engine.load(model="embedded", device="cpu", vocoder="onnxruntime-fp32", max_ahead_s=60.0)
    with contextlib.closing(loaded):
        yield loaded


@pytest.fixture
async def port(engine: Engine) -> AsyncIterator[int]:
    async with serving(engine) as found:
        yield found


@pytest.fixture(scope="module")
def reference(engine: Engine) -> Any:
    """The same text and seed as samples at 24 kHz, without a server between."""

    async def speak() -> Any:
        from xtts_rtc.types import SamplingParams

        async with engine.open(sampling=SamplingParams(seed=SEED)) as speech:
            speech.push_text(TEXT)
            speech.end_input()
            return np.concatenate([chunk.pcm async for chunk in speech])

    return asyncio.run(speak())


async def run(*command: str, data: bytes | None = None) -> tuple[int, bytes]:
    """Exit code and standard output of a program."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate(data)
    assert process.returncode is not None
    return process.returncode, out


async def curl(port: int, path: str, body: dict[str, Any], *options: str) -> tuple[int, bytes]:
    url, kind = f"http://127.0.0.1:{port}{path}", "Content-Type: application/json"
    return await run("curl", "-sS", "--noproxy", "*", "-H", kind, "-d", json.dumps(body), *options, url)


def read_with_ffmpeg(data: bytes) -> Any:
    """Samples at 24 kHz."""
    with av.open(io.BytesIO(data)) as container:
        rate = container.streams.audio[0].rate
        pcm = np.concatenate([frame.to_ndarray().reshape(-1) for frame in container.decode(audio=0)])
    samples = pcm / (32_768 if pcm.dtype == np.int16 else 1)
    return samples if rate == HZ else soxr.resample(samples, rate, HZ)


def read(format: str, data: bytes) -> Any:
    if format == "pcm":
        return np.frombuffer(data, "<i2") / 32_768
    if format == "l16be":
        return np.frombuffer(data, ">i2") / 32_768
    if format in ("mulaw", "alaw"):
        decode = mulaw_decode if format == "mulaw" else alaw_decode
        return soxr.resample(decode(np.frombuffer(data, np.uint8)) / 32_768, 8_000, HZ)
    return read_with_ffmpeg(data)


def likeness(heard: Any, reference: Any) -> float:
    """Correlation from the first sample on; no shift is looked for."""
    num = min(len(heard), len(reference))
    return float(np.corrcoef(heard[:num], reference[:num])[0, 1])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("path", ["/tts", "/tts_stream"])
async def test_curl_gets_a_file_that_ffprobe_knows_and_that_says_the_same(
    port: int, reference: Any, tmp_path: Path, path: str, format: str
) -> None:
    file = tmp_path / f"speech.{format}"
    code, _ = await curl(port, path, {"text": TEXT, "seed": SEED, "format": format}, "-o", str(file))
    assert code == 0
    name, rate = FORMATS[format]
    bare = ["-f", name, "-ar", str(rate)] if format in BARE else []
    entries = ["-show_entries", "format=format_name,duration:stream=codec_type,sample_rate,channels", "-of", "json"]
    code, out = await run("ffprobe", "-v", "error", *bare, *entries, str(file))
    probe = json.loads(out)
    assert code == 0 and len(probe["streams"]) == 1
    stream = probe["streams"][0]
    assert (stream["codec_type"], stream["sample_rate"], stream["channels"]) == ("audio", str(rate), 1)
    assert name in probe["format"]["format_name"].split(",")
    said_s = len(reference) / HZ
    if "duration" in probe["format"]:  # a streamed FLAC has none
        assert float(probe["format"]["duration"]) == pytest.approx(said_s, abs=0.1)
    else:
        assert (path, format) == ("/tts_stream", "flac")
    heard = read(format, file.read_bytes())
    assert -1 / 8_000 <= len(heard) / HZ - said_s <= EXTRA_S.get(format, 0) + 1 / 8_000
    in_band = soxr.resample(soxr.resample(reference, HZ, 8_000), 8_000, HZ) if rate == 8_000 else reference
    assert likeness(heard[1_024 if format == "aac" else 0 :], in_band) > 0.95
    if format in ("pcm", "l16be", "wav", "flac"):
        assert len(heard) == len(reference) and np.abs(heard - reference).max() < 1e-4


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("audio/mpeg", "audio/mpeg"), ("audio/flac", "audio/flac"), ("*/*", "audio/wav"), ("audio/ogg", "audio/ogg")],
)
async def test_curl_chooses_by_the_header(port: int, accept: str, kind: str) -> None:
    options = ["-H", f"Accept: {accept}", "-o", "/dev/null", "-w", "%{http_code} %{content_type}"]
    code, out = await curl(port, "/tts", {"text": "Hello."}, *options)
    assert code == 0 and out.decode().startswith(f"200 {kind}")


async def test_curl_sees_errors_as_errors(port: int) -> None:
    code, out = await curl(port, "/tts", {"text": "Hello.", "speaker": "nobody"}, "-w", " %{http_code}")
    assert code == 0 and out.endswith(b" 404") and b"Speaker 'nobody' not found" in out
    code, _ = await curl(port, "/tts", {"text": ""}, "--fail")
    assert code == 22


async def test_curl_sees_a_failed_speech_as_a_partial_file() -> None:
    tone = ToneBackend()
    async with tone_engine(tone) as engine, serving(engine) as port:
        tone.fail_next(GenerationFailed("the numbers went wrong"), after_steps=20)
        code, out = await curl(port, "/tts_stream", {"text": "Again and again. " * 50})
    assert code == 18 and len(out) > 1_000  # CURLE_PARTIAL_FILE


async def test_curl_that_is_ended_half_way_frees_the_engine() -> None:
    tone = ToneBackend(step_s=0.005)
    async with tone_engine(tone) as engine, serving(engine) as port:
        code, _ = await curl(port, "/tts", {"text": "Again and again. " * 500}, "--max-time", "0.3")
        assert code == 28 and tone.num_steps > 0
        async with asyncio.timeout(1):
            while tone.num_streams:
                await asyncio.sleep(0.002)
        assert tone.max_steps_after_cancel <= 1


async def test_the_real_engine_is_idle_soon_after_its_listener_left(engine: Engine, port: int) -> None:
    asking = asyncio.create_task(curl(port, "/tts", {"text": "Again and again. " * 500}, "--max-time", "1.5"))
    async with asyncio.timeout(10):
        while not (await engine.status()).num_streams:
            await asyncio.sleep(0.01)
    assert (await asking)[0] == 28
    async with asyncio.timeout(1):
        while (await engine.status()).num_streams:
            await asyncio.sleep(0.005)


@pytest.fixture
async def client(port: int) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as made:
        yield made


OPENAI_FORMATS = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


@pytest.mark.parametrize("format", OPENAI_FORMATS)
async def test_openai_async_client_gets_every_format(client: openai.AsyncOpenAI, reference: Any, format: Any) -> None:
    answer = await client.audio.speech.create(
        model="tts-1", voice="default", input=TEXT, response_format=format, extra_body={"seed": SEED}
    )
    assert answer.response.headers["content-type"].startswith(OPENAI_FORMATS[format])
    heard = read(format, answer.content)
    assert likeness(heard[1_024 if format == "aac" else 0 :], reference) > 0.95


async def test_openai_sync_client_streams_to_a_file(port: int, reference: Any, tmp_path: Path) -> None:
    def speak() -> None:
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none") as sync:
            with sync.audio.speech.with_streaming_response.create(
                model="xtts", voice={"id": "default"}, input=TEXT, response_format="wav", extra_body={"seed": SEED}
            ) as answer:
                answer.stream_to_file(tmp_path / "speech.wav")
            assert [model.id for model in sync.models.list()][0] == "xtts"
            assert sync.models.retrieve("tts-1").owned_by == "xtts-rtc"

    await asyncio.to_thread(speak)
    assert likeness(read("wav", (tmp_path / "speech.wav").read_bytes()), reference) > 0.99


async def test_openai_events_are_the_same_audio(client: openai.AsyncOpenAI, reference: Any) -> None:
    events = []
    async with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts",
        voice="default",
        input=TEXT,
        response_format="pcm",
        stream_format="sse",
        extra_body={"seed": SEED},
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for line in answer.iter_lines():
            if line:
                assert line.startswith("data: ")
                events.append(json.loads(line.removeprefix("data: ")))
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"} and len(events) > 3
    last = events[-1]
    assert last["type"] == "speech.audio.done" and last["usage"]["output_tokens"] > 10
    heard = read("pcm", b"".join(base64.b64decode(event["audio"]) for event in events[:-1]))
    assert np.abs(heard - reference).max() < 1e-4


async def test_openai_speed_changes_the_length(client: openai.AsyncOpenAI, reference: Any) -> None:
    answer = await client.audio.speech.create(
        model="xtts", voice="default", input=TEXT, response_format="pcm", speed=2.0, extra_body={"seed": SEED}
    )
    assert len(answer.content) / 2 == pytest.approx(len(reference) / 2, rel=0.1)


@pytest.mark.parametrize(
    ("changed", "kind", "code", "param"),
    [
        ({"input": " "}, openai.BadRequestError, "invalid_text", "input"),
        ({"voice": "ash"}, openai.NotFoundError, "voice_not_found", "voice"),
        ({"model": "whisper-1"}, openai.NotFoundError, "model_not_found", "model"),
        ({"speed": 3.0}, openai.BadRequestError, "invalid_parameter", "speed"),
        ({"speed": 0.25}, openai.BadRequestError, "invalid_parameter", "speed"),
        ({"response_format": "ogg"}, openai.BadRequestError, "invalid_parameter", "response_format"),
        ({"instructions": "Whisper."}, openai.BadRequestError, "invalid_parameter", "instructions"),
    ],
)
async def test_openai_client_raises_its_own_errors(
    client: openai.AsyncOpenAI, changed: Any, kind: type[openai.APIStatusError], code: str, param: str
) -> None:
    with pytest.raises(kind) as caught:
        await client.audio.speech.create(**{"model": "xtts", "voice": "default", "input": "Hello.", **changed})
    assert (caught.value.code, caught.value.param) == (code, param)


async def test_openai_client_is_told_of_keys_and_of_a_full_server() -> None:
    tone = ToneBackend(max_streams=1)
    async with tone_engine(tone) as engine, serving(engine, api_key="the right key") as port:
        url = f"http://127.0.0.1:{port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="another", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError) as refused:
                await client.models.list()
            assert refused.value.code == "unauthorized" and refused.value.type == "authentication_error"
        async with openai.AsyncOpenAI(base_url=url, api_key="the right key", max_retries=0) as client, engine.open():
            with pytest.raises(openai.RateLimitError) as full:
                await client.audio.speech.create(model="xtts", voice="default", input="Hello.")
            assert full.value.code == "engine_full" and int(full.value.response.headers["retry-after"]) >= 1


async def test_openai_events_that_break_off_are_an_error() -> None:
    tone = ToneBackend()
    async with tone_engine(tone) as engine, serving(engine) as port:
        tone.fail_next(GenerationFailed("the numbers went wrong"), after_steps=20)
        async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0) as client:
            with pytest.raises(Exception, match="incomplete") as caught:  # httpx's or its successor's own class
                lines = []
                async with client.audio.speech.with_streaming_response.create(
                    model="xtts", voice="default", input="Again and again. " * 50, stream_format="sse"
                ) as answer:
                    async for line in answer.iter_lines():
                        lines.append(line)
    assert type(caught.value).__name__ == "RemoteProtocolError"
    assert (
        json.loads([line for line in lines if line][-1].removeprefix("data: "))["error"]["code"] == "generation_failed"
    )


@pytest.mark.parametrize(("model", "format"), [("tts-1", "mp3"), ("tts-1", "pcm"), ("gpt-4o-mini-tts", "wav")])
async def test_livekits_openai_plugin_speaks_through_it(port: int, reference: Any, model: str, format: Any) -> None:
    plugin = pytest.importorskip("livekit.plugins.openai")
    url = f"http://127.0.0.1:{port}/v1"
    tts = plugin.TTS(model=model, voice="default", base_url=url, api_key="none", response_format=format)
    try:
        async with tts.synthesize(TEXT) as stream:
            frames = [event.frame async for event in stream]
    finally:
        await tts.aclose()
    assert {frame.sample_rate for frame in frames} == {24_000}
    pcm = np.concatenate([np.frombuffer(frame.data, np.int16) for frame in frames]) / 32_768
    # Another seed, so another take of the same sentence: as long, and as loud.
    assert len(pcm) == pytest.approx(len(reference), rel=0.4)
    assert np.sqrt(np.mean(pcm**2)) == pytest.approx(float(np.sqrt(np.mean(reference**2))), rel=0.5)


async def test_livekits_openai_plugin_raises_its_own_error(port: int) -> None:
    agents = pytest.importorskip("livekit.agents")
    plugin = pytest.importorskip("livekit.plugins.openai")
    tts = plugin.TTS(model="tts-1", voice="nobody", base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
    once = agents.APIConnectOptions(max_retry=0)
    try:
        with pytest.raises(agents.APIStatusError) as caught:
            async with tts.synthesize(TEXT, conn_options=once) as stream:
                async for _ in stream:
                    pass
    finally:
        await tts.aclose()
    assert caught.value.status_code == 404
