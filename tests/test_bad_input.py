"""Whatever is sent to a real engine: one clear error, and nobody else hears of it."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.fakes import hear, joined
from xtts_rtc import cli
from xtts_rtc.api import Engine
from xtts_rtc.errors import (
    BadClip,
    CheckpointError,
    InvalidText,
    InvalidVoiceId,
    UnknownLanguage,
    VoiceNotFound,
    XttsRtcError,
)
from xtts_rtc.types import Float32, SamplingParams

pytestmark = pytest.mark.slow

EMBEDDED = Path(cli.__file__).parent / "assets" / "embedded"
HEALTHY = (
    "The quick brown fox jumps over the lazy dog. It was a bright cold day in April. "
    "Nobody in the house had heard a word of it."
)
MEGABYTE = "All work and no play. " * 50_000


@dataclass(frozen=True, slots=True)
class Bad:
    """One bad request: what `Engine.open` gets, the error that comes of it, and what its message must name."""

    kind: type[XttsRtcError]
    says: str
    text: str = "Hello there."
    options: dict[str, str] = field(default_factory=dict)


REQUESTS = {
    "unknown voice": Bad(VoiceNotFound, "'nobody' not found; there are: .*default", options={"voice": "nobody"}),
    "path as a voice": Bad(InvalidVoiceId, "1 to 64", options={"voice": "../../etc/passwd"}),
    "unknown language": Bad(UnknownLanguage, "choose one of en", options={"language": "xx"}),
    "language of another model": Bad(UnknownLanguage, "choose one of en", options={"language": "de"}),
    "a megabyte of text": Bad(InvalidText, "100,000 characters.*split it", MEGABYTE),
    "text in another script": Bad(InvalidText, "script.*choose the text's language", "Привет, как дела?"),
    "another script after good text": Bad(InvalidText, "script", "Hello there, my friend. 你好，世界。"),
    "corrupt clip": Bad(BadClip, "corrupt.wav: .*damaged", options={"voice": "corrupt"}),
    "clip cut short": Bad(BadClip, "cut.flac: .*export", options={"voice": "cut"}),
    "empty clip": Bad(BadClip, "empty.wav: .*upload or record it again", options={"voice": "empty"}),
    "two-hour clip": Bad(BadClip, "long.flac: .*120 minutes.*cut out", options={"voice": "long"}),
    "clip that is no audio": Bad(BadClip, "letter.mp3: .*convert it to WAV", options={"voice": "letter"}),
}


def flac(seconds: float, hz: int = 8_000) -> bytes:
    out = io.BytesIO()
    rng = np.random.default_rng(0)
    with soundfile.SoundFile(out, "w", hz, 1, format="FLAC") as file:
        file.write((rng.standard_normal(hz) / 8).astype(np.float32))
        file.write(np.zeros(round((seconds - 1) * hz), np.int16))
    return out.getvalue()


@pytest.fixture(scope="module")
def speakers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speakers")
    (folder / "corrupt.wav").write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(range(200)))
    (folder / "empty.wav").write_bytes(b"")
    (folder / "letter.mp3").write_text("Dear engine, please speak with my voice.")
    (folder / "long.flac").write_bytes(flac(7_200))
    whole = flac(8)
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", params=["onnx", "torch"])
def engine(request: pytest.FixtureRequest, speakers: Path, cache: Path) -> Iterator[Engine]:
    vocoder = "onnxruntime-fp32" if request.param == "onnx" else "auto"  # bf16 hears how the audio is cut in windows
    engine = Engine.load(
        device="cpu", backend=request.param, vocoder=vocoder, speakers_dir=speakers, cache_dir=cache, max_streams=4
    )
    yield engine
    engine.close()


async def spoken(engine: Engine, text: str, **options: str) -> Float32:
    sampling = SamplingParams(seed=11)
    async with engine.open(sampling=sampling, realtime=False, **options) as speech:  # type: ignore[arg-type]
        speech.push_text(text)
        speech.end_input()
        return joined(await hear(speech))


async def failure(engine: Engine, bad: Bad) -> XttsRtcError:
    """The one error of a bad request."""
    with pytest.raises(bad.kind, match=bad.says) as caught:
        await spoken(engine, bad.text, **bad.options)
    return caught.value


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_bad_request_is_one_clear_error(engine: Engine, name: str) -> None:
    bad = REQUESTS[name]
    error = await failure(engine, bad)
    assert type(error) is bad.kind and not error.retryable
    assert "\n" not in error.message and 20 < len(error.message) < 300
    assert bad.text[:20] not in error.message and "/tmp" not in error.message
    assert (await engine.status()).num_streams == 0


async def test_a_healthy_stream_hears_nothing_of_bad_ones(engine: Engine) -> None:
    alone = await spoken(engine, HEALTHY)
    bad = list(REQUESTS.values())
    for some in (bad[at : at + 3] for at in range(0, len(bad), 3)):  # with the healthy one as many as there are slots
        async with engine.open(sampling=SamplingParams(seed=11), realtime=False) as speech:
            speech.push_text(HEALTHY)
            speech.end_input()
            first = await anext(aiter(speech))
            errors, rest = await asyncio.gather(asyncio.gather(*(failure(engine, one) for one in some)), hear(speech))
        together = joined([first, *rest])
        difference = np.abs(together - alone).max() if together.shape == alone.shape else np.inf
        print([type(error).__name__ for error in errors], f"{difference:.1e}")
        assert difference < 1e-4  # float32 sums of another batch size and of other windows
    assert (await engine.status()).num_streams == 0


async def test_bad_ones_at_once_are_not_mixed_up(engine: Engine) -> None:
    bad = list(REQUESTS.values())[:8]
    errors = await asyncio.gather(*(failure(engine, one) for one in bad))
    assert [type(error) for error in errors] == [one.kind for one in bad]
    assert (await spoken(engine, "Still here.")).any()


# --- checkpoints ---


def damage(folder: Path, how: str) -> None:
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    if how == "missing vocab.json":
        (folder / "vocab.json").unlink()
    elif how == "missing weights":
        weights.unlink()
    elif how == "truncated weights":
        weights.write_bytes(data[: len(data) * 2 // 3])
    elif how == "NaN weights":
        size = int.from_bytes(data[:8], "little")
        entry = json.loads(data[8 : 8 + size])["gpt.gpt.h.2.mlp.c_fc.weight"]
        assert entry["dtype"] == "BF16"
        at = 8 + size + entry["data_offsets"][0] + 1_000
        data[at : at + 2] = b"\xc0\x7f"
        weights.write_bytes(data)
    elif how == "config of another model":
        (folder / "config.json").write_text('{"model": "vits", "model_args": {}}')
    elif how == "vocabulary of another model":
        (folder / "vocab.json").write_text('{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}')


CHECKPOINTS = {
    "missing vocab.json": r"vocab\.json: No such file.* holds config\.json",
    "missing weights": r"neither model\.safetensors nor model\.pth; copy the weights there",
    "truncated weights": r"model\.safetensors .*copy it again",
    "NaN weights": r"gpt\.gpt\.h\.2\.mlp\.c_fc\.weight holds NaN.*copy it again",
    "config of another model": r"config\.json",
    "vocabulary of another model": r"vocab\.json.*(copy them again|use files of one model)",
}


@pytest.fixture(params=CHECKPOINTS)
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str]:
    """A copy of the packaged checkpoint with one thing wrong, and what must be said of it."""
    folder = Path(shutil.copytree(EMBEDDED, tmp_path / "model"))
    damage(folder, request.param)
    return folder, CHECKPOINTS[request.param]


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_a_damaged_checkpoint_stops_the_start(backend: str, damaged: tuple[Path, str], tmp_path: Path) -> None:
    folder, says = damaged
    with pytest.raises(CheckpointError, match=says) as caught:
        Engine.load(model=str(folder), device="cpu", backend=backend, cache_dir=tmp_path / "cache")
    assert "\n" not in caught.value.message and len(caught.value.message) < 600
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_a_model_that_is_not_there_is_told_with_those_that_are(backend: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no model is called 'absent'.*embedded, random-tiny, random-full or a"):
        Engine.load(model="absent", device="cpu", backend=backend, cache_dir=tmp_path)


async def test_a_bundle_that_was_damaged_in_the_cache_is_made_anew(tmp_path: Path) -> None:
    def load() -> Engine:
        return Engine.load(device="cpu", backend="onnx", vocoder="onnxruntime-fp32", cache_dir=tmp_path)

    async with load() as first:
        expected = await spoken(first, "Hello.")
    (data,) = tmp_path.glob("bundles/*/gpt.data")
    data.write_bytes(data.read_bytes()[:1_000])
    async with load() as second:
        assert (await spoken(second, "Hello.") == expected).all()


# --- the command ---


@pytest.fixture
def _as_a_user(speakers: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("XTTS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XTTS_SPEAKERS_DIR", str(speakers))
    monkeypatch.setenv("XTTS_CACHE_DIR", str(cache))


def command(argv: list[str]) -> int | str | None:
    try:
        return cli.main(argv)
    except SystemExit as exit:
        return exit.code


def complaint(capfd: pytest.CaptureFixture[str]) -> str:
    """The one line that was written, and nothing else was."""
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1, captured.err
    assert captured.err.startswith("xtts-rtc: ")
    assert not Path("a.wav").exists() and not list(Path().glob(".a.wav*"))
    return captured.err


@pytest.mark.usefixtures("_as_a_user")
@pytest.mark.parametrize("name", REQUESTS)
def test_say_tells_a_bad_request_in_one_line(
    name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = REQUESTS[name]
    monkeypatch.setattr(sys, "stdin", io.StringIO(bad.text))
    flags = [word for option, value in bad.options.items() for word in (f"--{option}", value)]
    is_usage = name in ("path as a voice", "unknown language")  # seen before a model is loaded
    assert command(["say", "-", "-o", "a.wav", "--backend", "onnx", *flags]) == (2 if is_usage else 1)
    assert len(complaint(capfd)) < 300


@pytest.mark.usefixtures("_as_a_user")
@pytest.mark.parametrize("backend", ["onnx", "torch"])
def test_say_tells_bad_weights_and_bad_text_in_one_line(
    backend: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(EMBEDDED, tmp_path / "model"))
    damage(folder, "NaN weights")
    common = ["say", "-o", "a.wav", "--backend", backend]
    assert command([*common, "Hello.", "--model", "model"]) == 1
    assert "holds NaN" in complaint(capfd)
    assert command([*common, "Hello.", "--model", "absent"]) == 1
    assert "no model is called 'absent'" in complaint(capfd)
    assert command([*common, "Привет"]) == 1
    assert "script" in complaint(capfd)
    assert command([*common, "Hello.", "--backend", "cuda"]) == 2
    assert "model.backend" in complaint(capfd)
