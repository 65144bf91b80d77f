from __future__ import annotations

import io
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from tests.fake_engine import FakeEngine
from xtts_rtc.audio.g711 import mulaw_encode
from xtts_rtc.errors import GenerationFailed, InvalidParameter
from xtts_rtc.say import STDOUT, ProgressBar, Spoken, choose_encoding, say
from xtts_rtc.types import SamplingParams


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_a_wav_file_has_the_length_of_the_audio_in_its_header(tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    spoken = await say(FakeEngine(), "one two three", out=out, encoding=choose_encoding(None, out))
    with wave.open(str(out)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        assert file.getnframes() == 18_000
        assert len(file.readframes(file.getnframes())) == 36_000
    assert spoken.audio_s == 0.75
    assert spoken.first_audio_s is not None
    assert spoken.first_audio_s <= spoken.total_s


async def test_standard_output_gets_bare_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(output))
    await say(FakeEngine(), "one two", out=STDOUT, encoding=choose_encoding(None, STDOUT))
    pcm = np.frombuffer(output.getvalue(), "<i2")
    assert len(pcm) == 12_000
    assert pcm[0] == -16_384


async def test_telephone_encodings_have_their_own_rate(tmp_path: Path) -> None:
    engine, out = FakeEngine(), tmp_path / "out.bin"
    await say(engine, "one", out=out, encoding=choose_encoding("mulaw", out))
    assert engine.opened[0][3] == 8_000
    samples = np.rint(np.linspace(-0.5, 0.5, 2_000, dtype=np.float32) * 32_768).astype(np.int16)
    assert out.read_bytes() == mulaw_encode(samples).tobytes()


async def test_what_was_asked_for_reaches_the_engine(tmp_path: Path) -> None:
    engine, sampling = FakeEngine(), SamplingParams(temperature=0.3, seed=5)
    out = tmp_path / "out.wav"
    encoding = choose_encoding(None, out)
    await say(
        engine, "x", out=out, encoding=encoding, voice="zoe", language="de", sampling=sampling, sample_rate=48_000
    )
    assert engine.opened == [("zoe", "de", sampling, 48_000)]
    assert engine.speeches[0].is_closed


async def test_a_failure_leaves_no_file_and_keeps_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    out.write_bytes(b"old")
    with pytest.raises(GenerationFailed):
        await say(FakeEngine(GenerationFailed("NaN")), "one two", out=out, encoding=choose_encoding(None, out))
    assert [path.name for path in tmp_path.iterdir()] == ["out.wav"]
    assert out.read_bytes() == b"old"


async def test_nothing_to_say_is_a_valid_file(tmp_path: Path) -> None:
    out = tmp_path / "out.wav"
    spoken = await say(FakeEngine(), "", out=out, encoding=choose_encoding(None, out))
    with wave.open(str(out)) as file:
        assert file.getnframes() == 0
    assert str(spoken) == "nothing to say: 0.00 s of audio"


async def test_progress_goes_from_words_begun_to_all(tmp_path: Path) -> None:
    seen: list[tuple[float, float]] = []
    out = tmp_path / "out.wav"
    encoding = choose_encoding(None, out)
    await say(FakeEngine(), "ab cd", out=out, encoding=encoding, on_progress=lambda share, s: seen.append((share, s)))
    assert seen == [(0.4, 0.25), (0.8, 0.5)]


def test_a_name_without_a_format_needs_one() -> None:
    assert choose_encoding(None, Path("a.WAV")).name == "wav"
    assert choose_encoding("alaw", Path("a.wav")).name == "alaw"
    with pytest.raises(InvalidParameter, match="a.xyz does not say its format; add --encoding"):
        choose_encoding(None, Path("a.xyz"))


def test_the_bar_is_drawn_on_a_terminal_and_nowhere_else() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        bar = ProgressBar(stream)
        bar.show(0.5, 1.25)
        bar.clear()
    assert f"[{'#' * 15}{'.' * 15}]    1.2 s" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")
    assert pipe.getvalue() == ""


def test_the_summary_gives_the_real_time_factor() -> None:
    spoken = Spoken(audio_s=2.0, total_s=0.5, first_audio_s=0.125)
    assert str(spoken) == "2.00 s of audio in 0.50 s (real-time factor 0.25), first audio after 0.12 s"
