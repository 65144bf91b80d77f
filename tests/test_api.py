from __future__ import annotations

import subprocess
import sys

import pytest

import xtts_rtc
from tests.fakes import hear, serving, tone_engine
from xtts_rtc.api import Engine
from xtts_rtc.engine.tone import ToneBackend
from xtts_rtc.errors import ConfigError, EngineUnavailable


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has after running `code`."""
    program = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return set(done.stdout.split())


def test_the_public_names_are_there_and_no_others() -> None:
    assert sorted(xtts_rtc.__all__) == xtts_rtc.__dir__()
    for name in xtts_rtc.__all__:
        assert getattr(xtts_rtc, name).__name__ == name
    with pytest.raises(AttributeError, match="Motor"):
        _ = xtts_rtc.Motor  # type: ignore[attr-defined]


def test_importing_the_package_loads_nothing_of_it() -> None:
    ours = {name for name in loaded_by("import xtts_rtc") if name.startswith("xtts_rtc")}
    assert ours == {"xtts_rtc"}


def test_importing_the_api_loads_no_runtime_and_no_network() -> None:
    loaded = loaded_by("from xtts_rtc import Engine, SamplingParams")
    assert not loaded & {"torch", "onnxruntime", "transformers", "TTS", "websockets", "starlette", "livekit", "soxr"}


async def test_a_closed_engine_says_so() -> None:
    engine = tone_engine(ToneBackend())
    async with engine:
        assert await engine.voices() == ["default"]
        assert (await engine.status()).is_ready
    with pytest.raises(EngineUnavailable):
        engine.open()
    status = await engine.status()
    assert not status.is_ready and status.load == 1.0
    engine.close()


async def test_closing_the_engine_ends_what_it_opened() -> None:
    tone = ToneBackend()
    engine = tone_engine(tone)
    speech = engine.open()
    speech.push_text("A sentence that is not over when the engine goes. " * 20)
    await anext(aiter(speech))
    await engine.aclose()
    assert tone.num_streams == 0 and await hear(speech) == []


async def test_the_load_is_the_share_of_streams_in_use() -> None:
    async with tone_engine(ToneBackend(), max_streams=4) as engine:
        speech = engine.open()
        assert (await engine.status()).load == 0.25
        await speech.aclose()
        assert (await engine.status()).load == 0.0


def test_an_address_is_checked_before_anything_is_connected() -> None:
    with pytest.raises(ConfigError):
        Engine.connect("example")


@pytest.mark.net
async def test_a_server_tells_its_voices_and_its_load() -> None:
    async with tone_engine(ToneBackend(), max_streams=2, voices=("b", "a")) as local, serving(local) as port:
        async with Engine.connect(f"http://127.0.0.1:{port}") as remote:
            assert await remote.voices() == ["a", "b"]
            async with local.open():
                status = await remote.status()
            assert (status.is_ready, status.num_streams, status.max_streams) == (True, 1, 2)
    async with Engine.connect("http://127.0.0.1:9") as nobody:
        status = await nobody.status()
        assert not status.is_ready and status.load == 1.0 and status.reason
        with pytest.raises(EngineUnavailable):
            await nobody.voices()
