"""Voices over HTTP: what is kept, what is refused, and that nothing a client sends harms another."""

from __future__ import annotations

import asyncio
import io
import os
import re
import struct
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest

from tests.engine.fake_runtime import DIM, FakeFrontend, FakeRuntime
from tests.fakes import PlainSegmenter, hear
from tests.voices.sounds import file_bytes, talk, wav
from xtts_rtc.api import Engine, _LocalEngine
from xtts_rtc.app import create_app
from xtts_rtc.engine.worker import XttsBackend
from xtts_rtc.guard.guards import Guards
from xtts_rtc.transports import voices_api
from xtts_rtc.types import Conditioning, Float32
from xtts_rtc.voices.cache import ConditioningCache
from xtts_rtc.voices.library import VoiceLibrary
from xtts_rtc.voices.store import VoiceStore


def condition(clips: list[Float32]) -> tuple[Float32, Float32]:
    mark = float(np.abs(clips[0]).sum())
    return np.full((32, DIM), mark, np.float32), np.full(512, mark, np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "speakers"


@pytest.fixture
async def engine(no_leaked_tasks: None, folder: Path) -> AsyncIterator[Engine]:
    default = Conditioning("default", np.zeros((32, DIM), np.float32), np.zeros(512, np.float32))
    library = VoiceLibrary(VoiceStore(folder), ConditioningCache(None, "m"), condition, builtin={"default": default})
    backend = XttsBackend(FakeRuntime(), FakeFrontend(), library)  # type: ignore[arg-type]
    async with _LocalEngine(
        backend, lambda language: PlainSegmenter(), library.ids, 4, lambda: True, loader=backend.voices
    ) as made:  # type: ignore[arg-type,return-value]
        yield made


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(engine) as made:
        yield made


def client_of(engine: Engine, guards: Guards | None = None) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(create_app(engine, guards=guards, output_dir=None))
    return httpx.AsyncClient(transport=transport, base_url="http://server.test")


async def upload(
    client: httpx.AsyncClient, data: bytes, name: str = "anna.wav", path: str = "/v1/voices", **fields: str
) -> httpx.Response:
    return await client.post(path, files={"clip": (name, data, "audio/wav")}, data=fields)


async def test_who_sends_slowly_does_not_keep_others_waiting_for_ever(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voices_api, "UPLOAD_WAIT_S", 0.05)
    may_go_on = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"--b\r\n"
        await may_go_on.wait()

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    async with asyncio.TaskGroup() as group:
        for _ in range(voices_api.MAX_UPLOADS):
            group.create_task(client.post("/v1/voices", content=slowly(), headers=headers))
        await asyncio.sleep(0.02)
        answer = await upload(client, wav(8))
        assert answer.status_code == 503 and "other clips" in answer.json()["error"]
        may_go_on.set()
    assert (await upload(client, wav(8))).status_code == 201  # the places are free again


async def test_a_clip_becomes_a_voice_with_its_report_and_goes_again(
    client: httpx.AsyncClient, engine: Engine, folder: Path
) -> None:
    answer = await upload(client, wav(8))
    assert answer.status_code == 201 and answer.json()["id"] == "anna"
    check = answer.json()["check"]
    assert check["is_good"] and check["duration_s"] == pytest.approx(8) and check["findings"] == []
    assert (folder / "anna.wav").read_bytes() == wav(8)
    assert (await client.get("/v1/voices")).json() == {
        "voices": [{"id": "anna"}, {"id": "default"}], "problems": [],
    }  # fmt: skip
    assert (await client.get("/v1/voices/anna")).json() == {"id": "anna", "problem": ""}
    async with engine.open(voice="anna", realtime=False) as speech:
        speech.push_text("One. ")
        speech.end_input()
        assert (await hear(speech))[-1].is_final
    assert (await client.delete("/v1/voices/anna")).status_code == 204
    assert list(folder.iterdir()) == []
    gone = [await client.get("/v1/voices/anna"), await client.delete("/v1/voices/anna")]
    assert [answer.status_code for answer in gone] == [404, 404]


async def test_the_report_says_what_is_wrong_with_a_usable_clip(client: httpx.AsyncClient) -> None:
    answer = await upload(client, wav(2.5, hz=8_000, noise=0.05), id="ben")
    check = answer.json()["check"]
    assert answer.status_code == 201 and answer.json()["id"] == "ben" and not check["is_good"]
    assert {finding["what"] for finding in check["findings"]} >= {"length", "rate", "noise"}


async def test_a_voice_is_replaced_only_when_asked(client: httpx.AsyncClient, folder: Path) -> None:
    assert (await upload(client, wav(8), path="/v1/voices/anna")).status_code == 201
    taken = await upload(client, wav(7), path="/v1/voices/anna")
    assert (taken.status_code, taken.json()["code"]) == (409, "voice_taken")
    assert (await upload(client, wav(7), path="/v1/voices/Anna")).status_code == 409
    assert (folder / "anna.wav").read_bytes() == wav(8)
    flac = file_bytes(talk(7), kind="FLAC")
    assert (await upload(client, flac, "x.wav", path="/v1/voices/anna", replace="true")).status_code == 201
    assert [path.name for path in folder.iterdir()] == ["anna.flac"]
    assert (await upload(client, flac, path="/v1/voices/anna", replace="perhaps")).status_code == 422


def zip_named_wav() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("a.wav", wav(8))
    return out.getvalue()


def nan_wav() -> bytes:
    pcm = talk(8)
    pcm[1000] = np.nan
    return file_bytes(pcm, subtype="FLOAT")


def lying_wav() -> bytes:
    """A header that promises 4 GB of samples."""
    data = bytearray(wav(2))
    data[4:8] = data[40:44] = struct.pack("<I", 0xFFFFFFF0)
    return bytes(data)


HOSTILE = {
    "zero length": (b"", "clip"),
    "an hour of silence": (file_bytes(np.zeros(3600 * 24_000, np.int16), kind="FLAC"), "minutes long"),
    "ten minutes of silence": (file_bytes(np.zeros(590 * 24_000, np.int16), kind="FLAC"), "silent"),
    "a zip": (zip_named_wav(), "not a WAV"),
    "text": (b"RIFFxxxxWAVEbut no more", "damaged"),
    "a truncated WAV": (wav(8)[:40], "damaged|long"),
    "a truncated FLAC": (file_bytes(talk(8), kind="FLAC")[:5000], "damaged|cut off"),
    "a truncated Ogg": (file_bytes(talk(8), kind="OGG", subtype="VORBIS")[:3000], "damaged|long|silent"),
    "samples that are no numbers": (nan_wav(), "not numbers"),
    "a rate of 400 kHz": (file_bytes(talk(2), hz=400_000), "sample rate"),
    "nine channels": (file_bytes(np.zeros((48_000, 9), np.int16)), "9 channels"),
    "an HLS playlist": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "not a WAV"),
    "half a second": (wav(0.5), "0.50 s long"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_clip_is_refused_quickly_and_leaves_nothing(
    client: httpx.AsyncClient, folder: Path, name: str
) -> None:
    data, why = HOSTILE[name]
    began = time.process_time()
    answer = await upload(client, data)
    assert time.process_time() - began < 1.5
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_clip")
    assert re.search(why, answer.json()["error"]), answer.json()
    assert not folder.exists() or list(folder.iterdir()) == []
    assert (await upload(client, wav(8))).status_code == 201


async def test_a_header_that_lies_about_its_length_costs_nothing(client: httpx.AsyncClient) -> None:
    answer = await upload(client, lying_wav())
    assert answer.status_code in (201, 422)


async def test_a_wide_and_fast_clip_is_taken_in_bounded_memory(client: httpx.AsyncClient) -> None:
    pcm = np.repeat(talk(2.0, hz=192_000)[:, None], 8, axis=1)
    answer = await upload(client, file_bytes(pcm, hz=192_000))
    check = answer.json()["check"]
    assert answer.status_code == 201 and (check["sample_rate"], check["channels"]) == (192_000, 8)


NAMES = ["../x", "..", "a/b", "a\\b", "a\0b", "ünï", "a b", "x" * 65, "", ".hidden", "con:", "anna\n", "%2e%2e", "名"]


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_that_is_no_id_is_refused_before_any_path(
    client: httpx.AsyncClient, folder: Path, name: str
) -> None:
    by_field = await upload(client, wav(8), id=name) if name else await upload(client, wav(8), ".wav")
    by_file = await upload(client, wav(8), f"{name}.wav")
    for answer in (by_field, by_file):
        assert answer.status_code in (400, 422) and answer.json()["code"] in ("invalid_voice_id", "invalid_request")
    removed = await client.delete(f"/v1/voices/{quote(name or '.', safe='')}")
    assert removed.status_code in (400, 404, 405)
    assert not folder.exists() or list(folder.iterdir()) == []


async def test_what_is_no_upload_is_told_what_one_is(client: httpx.AsyncClient) -> None:
    json_body = await client.post("/v1/voices", json={"id": "anna"})
    assert (json_body.status_code, json_body.json()["code"]) == (415, "unsupported_media")
    no_file = await client.post("/v1/voices", files={"other": ("a.wav", wav(8))})
    assert (no_file.status_code, no_file.json()["code"]) == (422, "invalid_parameter")
    broken = await client.post("/v1/voices", content=b"--x", headers={"Content-Type": "multipart/form-data"})
    assert (broken.status_code, broken.json()["code"]) == (400, "invalid_request")
    two = await client.post("/v1/voices", files=[("clip", ("a.wav", wav(8))), ("clip", ("b.wav", wav(8)))])
    assert two.status_code == 400


async def test_a_clip_over_the_limit_is_refused(engine: Engine) -> None:
    async with client_of(engine, Guards(max_upload_bytes=100_000)) as client:
        for seconds in (2.5, 8):  # 120 kB fits the form's limit, 384 kB does not
            answer = await upload(client, wav(seconds))
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_a_server_that_is_open_to_all_changes_no_voice(engine: Engine, folder: Path) -> None:
    async with client_of(engine, Guards(may_change_voices=False)) as client:
        for answer in (await upload(client, wav(8)), await client.delete("/v1/voices/default")):
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
            assert "XTTS_API_KEY" in answer.json()["error"]
        assert (await client.get("/v1/voices")).status_code == 200
    assert not folder.exists()


async def test_a_full_disk_is_reported_and_survived(
    client: httpx.AsyncClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    answer = await upload(client, wav(8))
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_failed")
    assert "No space left" in answer.json()["error"] and list(folder.iterdir()) == []
    monkeypatch.undo()
    assert (await upload(client, wav(8))).status_code == 201


async def test_a_folder_that_cannot_be_read_is_reported_and_survived(
    client: httpx.AsyncClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await upload(client, wav(8))
    real = os.listdir

    def refuse(path: Any = ".") -> list[str]:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "listdir", refuse)  # the tests may run as root, who is refused nothing
    listed = (await client.get("/v1/voices")).json()
    assert {"id": "default"} in listed["voices"]
    assert [problem["name"] for problem in listed["problems"]] == ["speakers"]
    assert "Permission denied" in listed["problems"][0]["reason"]
    answer = await upload(client, wav(8), "ben.wav")
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_failed")
    monkeypatch.undo()
    assert (await upload(client, wav(8), "ben.wav")).status_code == 201


async def test_a_file_put_into_the_folder_is_there_at_the_next_request(
    client: httpx.AsyncClient, engine: Engine, folder: Path
) -> None:
    folder.mkdir()
    (folder / "zoe.wav").write_bytes(wav(8))
    (folder / "bad.wav").write_bytes(b"RIFF")
    assert {"id": "zoe"} in (await client.get("/v1/voices")).json()["voices"]
    answer = await client.post("/tts", json={"text": "One. ", "speaker": "zoe"})
    assert answer.status_code == 200 and answer.content[:4] == b"RIFF"
    assert (await client.post("/tts", json={"text": "One. ", "speaker": "bad"})).status_code == 422
    assert [problem["name"] for problem in (await client.get("/v1/voices")).json()["problems"]] == ["bad"]
    assert (await client.get("/v1/voices/bad")).json()["problem"]


async def test_the_models_own_voice_stays(client: httpx.AsyncClient) -> None:
    answer = await client.delete("/v1/voices/default")
    assert answer.status_code == 400 and "comes with the model" in answer.json()["error"]
