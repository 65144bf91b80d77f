"""A voice is made ready beside those who speak: no step waits for it, and no step is lost."""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.engine.fake_runtime import DIM, FakeFrontend, FakeRuntime, Listener, file_request, segment
from tests.voices.sounds import wav
from xtts_rtc.engine.voice_loader import VoiceLoader
from xtts_rtc.engine.worker import XttsBackend
from xtts_rtc.errors import BadClip, EngineUnavailable, GenerationFailed, StorageFailed, VoiceError, VoiceTaken
from xtts_rtc.types import Conditioning, EndEvent, ErrorEvent, Float32
from xtts_rtc.voices.cache import ConditioningCache
from xtts_rtc.voices.library import VoiceLibrary
from xtts_rtc.voices.store import VoiceStore

WAIT_S = 10


class SlowModel:
    """Conditioning that takes until `go` is set; set, it takes no time."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.has_begun = threading.Event()
        self.num_calls = 0
        self.makes_nan = False
        self.hook: Callable[[], None] = lambda: None

    def condition(self, clips: list[Float32]) -> tuple[Float32, Float32]:
        self.num_calls += 1
        self.hook()
        self.has_begun.set()
        assert self.go.wait(WAIT_S)
        mark = np.nan if self.makes_nan else float(np.abs(clips[0]).sum())
        return np.full((32, DIM), mark, np.float32), np.full(512, mark, np.float32)


@pytest.fixture
def model() -> SlowModel:
    return SlowModel()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "speakers").mkdir()
    return tmp_path / "speakers"


@pytest.fixture
def runtime() -> FakeRuntime:
    return FakeRuntime()


@pytest.fixture
def engine(folder: Path, model: SlowModel, runtime: FakeRuntime) -> Iterator[XttsBackend]:
    default = Conditioning("default", np.zeros((32, DIM), np.float32), np.zeros(512, np.float32))
    library = VoiceLibrary(
        VoiceStore(folder), ConditioningCache(None, "m"), model.condition, builtin={"default": default}
    )
    backend = XttsBackend(runtime, FakeFrontend(), library)  # type: ignore[arg-type]
    yield backend
    model.go.set()
    backend.close()
    assert not {"xtts-engine", "xtts-voices"} & {thread.name for thread in threading.enumerate()}


def speak(engine: XttsBackend, voice: str, num_segments: int = 1) -> Listener:
    listener = Listener()
    stream = engine.open(file_request(voice=voice), listener)
    for index in range(num_segments):
        engine.say(stream, segment(index))
    engine.end(stream)
    engine.consumed(stream, 10**9)
    return listener


def test_a_running_stream_steps_on_while_a_clip_is_conditioned(
    engine: XttsBackend, model: SlowModel, folder: Path, runtime: FakeRuntime
) -> None:
    runtime.hook = lambda what, numbers: time.sleep(0.001)
    running = speak(engine, "default", num_segments=20)
    assert running.got_audio.wait(WAIT_S)
    (folder / "anna.wav").write_bytes(wav(2))
    model.go.clear()
    waiting = speak(engine, "anna")
    assert model.has_begun.wait(WAIT_S)
    steps = engine.stats().num_steps
    deadline = time.monotonic() + WAIT_S
    while engine.stats().num_steps < steps + 100 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert engine.stats().num_steps >= steps + 100
    assert not waiting.events and not running.is_over.is_set()
    assert engine.stats().num_active == 1  # who waits for a voice holds no slot
    model.go.set()
    assert waiting.is_over.wait(WAIT_S) and isinstance(waiting.events[-1], EndEvent)
    assert running.is_over.wait(WAIT_S) and isinstance(running.events[-1], EndEvent)


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has no priority of its own")
def test_a_voice_is_conditioned_with_what_the_speakers_leave(
    engine: XttsBackend, model: SlowModel, folder: Path, runtime: FakeRuntime
) -> None:
    found: dict[str, int] = {}

    def note_priority(where: str) -> None:
        found[where] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    model.hook = lambda: note_priority("voices")
    runtime.hook = lambda what, numbers: note_priority("engine")
    (folder / "anna.wav").write_bytes(wav(2))
    assert speak(engine, "anna").is_over.wait(WAIT_S)
    assert found["voices"] == 19 > found["engine"]


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has no priority of its own")
def test_where_priorities_are_forbidden_voices_are_conditioned_all_the_same(
    model: SlowModel, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(*of: int) -> None:
        raise PermissionError("not in this sandbox")

    monkeypatch.setattr(os, "setpriority", forbid)
    (folder / "anna.wav").write_bytes(wav(2))
    loader = VoiceLoader(VoiceLibrary(VoiceStore(folder), ConditioningCache(None, "m"), model.condition))
    outcomes: queue.SimpleQueue[object] = queue.SimpleQueue()
    loader.load("anna", outcomes.put)
    try:
        assert isinstance(outcomes.get(timeout=WAIT_S), Conditioning)
    finally:
        loader.close()


def test_a_known_voice_does_not_wait_for_an_unknown_one(engine: XttsBackend, model: SlowModel, folder: Path) -> None:
    clip = folder / "anna.wav"
    clip.write_bytes(wav(2))
    os.utime(clip, (1, 1))
    long_ago = time.time_ns
    with pytest.MonkeyPatch.context() as patch:  # the file's last change is 3 s old
        patch.setattr("xtts_rtc.voices.library.time.time_ns", lambda: long_ago() + 3_000_000_000)
        assert speak(engine, "anna").is_over.wait(WAIT_S)
    model.go.clear()
    (folder / "ben.wav").write_bytes(wav(3))
    unknown = speak(engine, "ben")
    assert speak(engine, "anna").is_over.wait(WAIT_S)
    assert not unknown.events


def test_a_stream_that_is_cancelled_while_its_voice_loads_ends_at_once(
    engine: XttsBackend, model: SlowModel, folder: Path
) -> None:
    (folder / "anna.wav").write_bytes(wav(2))
    model.go.clear()
    listener = Listener()
    stream = engine.open(file_request(voice="anna"), listener)
    assert model.has_begun.wait(WAIT_S)
    engine.cancel(stream)
    assert listener.is_over.wait(WAIT_S)
    last = listener.events[-1]
    assert isinstance(last, EndEvent) and last.is_cancelled
    model.go.set()
    assert speak(engine, "anna").is_over.wait(WAIT_S)
    assert engine.stats().num_active == engine.stats().num_waiting == 0


def test_a_clip_that_cannot_be_used_fails_its_stream_alone(engine: XttsBackend, folder: Path) -> None:
    (folder / "anna.wav").write_bytes(wav(2)[:3000])
    broken = speak(engine, "anna")
    assert broken.is_over.wait(WAIT_S)
    last = broken.events[-1]
    assert isinstance(last, ErrorEvent) and isinstance(last.error, BadClip)
    assert list(engine.voices.library.problems()) == ["anna"]
    fine = speak(engine, "default")
    assert fine.is_over.wait(WAIT_S) and isinstance(fine.events[-1], EndEvent)


def test_a_clip_that_changes_is_heard_at_the_next_stream(engine: XttsBackend, model: SlowModel, folder: Path) -> None:
    (folder / "anna.wav").write_bytes(wav(2))
    assert speak(engine, "anna").is_over.wait(WAIT_S)
    (folder / "anna.wav").write_bytes(wav(2, seed=1))  # the same length, perhaps within the file system's clock tick
    assert speak(engine, "anna").is_over.wait(WAIT_S)
    (folder / "anna.wav").write_bytes(wav(2.5))
    assert speak(engine, "anna").is_over.wait(WAIT_S)
    assert model.num_calls == 2  # the noise-free seeds are the same clip: content decides, not times
    (folder / "anna.wav").write_bytes(wav(2, noise=0.01))
    assert speak(engine, "anna").is_over.wait(WAIT_S)
    assert model.num_calls == 3


def test_an_added_voice_can_speak_without_another_run_of_the_model(engine: XttsBackend, model: SlowModel) -> None:
    report = engine.voices.add("anna", wav(8))
    assert report.duration_s == pytest.approx(8) and model.num_calls == 1
    listener = speak(engine, "anna")
    assert listener.is_over.wait(WAIT_S) and isinstance(listener.events[-1], EndEvent)
    assert model.num_calls == 1
    with pytest.raises(VoiceTaken):
        engine.voices.add("anna", wav(7))
    engine.voices.remove("anna")
    with pytest.raises(VoiceError, match="not found"):
        engine.voices.remove("anna")
    with pytest.raises(VoiceError, match="comes with the model"):
        engine.voices.remove("default")


def test_a_clip_the_model_makes_nothing_of_is_not_kept(engine: XttsBackend, model: SlowModel, folder: Path) -> None:
    model.makes_nan = True
    with pytest.raises(GenerationFailed):
        engine.voices.add("anna", wav(8))
    assert list(folder.iterdir()) == []


def test_a_disk_that_fails_is_reported_and_leaves_nothing(
    engine: XttsBackend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageFailed, match="No space left"):
        engine.voices.add("anna", wav(8))
    assert list(folder.iterdir()) == []
    monkeypatch.undo()
    assert engine.voices.add("anna", wav(8)).is_good


def test_a_closed_engine_takes_no_voice(engine: XttsBackend) -> None:
    engine.close()
    with pytest.raises(EngineUnavailable):
        engine.voices.add("anna", wav(8))
