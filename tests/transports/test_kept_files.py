"""The folder where `/tts` keeps files for who asks for JSON does not grow without end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("fastapi")

import httpx

from tests.fakes import tone_engine
from xtts_rtc.app import create_app
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.transports.tts_api import keep_newest


def test_the_newest_files_are_kept_and_other_names_are_left_alone(tmp_path: Path) -> None:
    ours = [tmp_path / f"{number:032x}.wav" for number in range(6)]
    theirs = [tmp_path / name for name in ("notes.wav", "holiday.jpg", f".{'0' * 32}.wav.part")]
    for age, path in enumerate([*theirs, *ours]):
        path.write_bytes(b"x")
        os.utime(path, (1_000 + age, 1_000 + age))
    keep_newest(tmp_path, 4)
    assert sorted(tmp_path.iterdir()) == sorted([*theirs, *ours[2:]])


async def test_a_full_folder_makes_room_for_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keep_newest, "__defaults__", (2,))
    tone = ToneBackend()
    made = []
    async with tone_engine(tone) as engine:
        transport = httpx.ASGITransport(create_app(engine, output_dir=tmp_path))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            for _ in range(3):
                answer = await client.post("/tts", json={"text": "Hello."}, headers={"Accept": "application/json"})
                made.append(Path(answer.json()["output_path"]))
                os.utime(made[-1], (1_000 + len(made), 1_000 + len(made)))
    tone.close()
    assert [path.exists() for path in made] == [False, True, True]
