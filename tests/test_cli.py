from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import types
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fake_engine import FakeEngine
from xtts_rtc import bench, cli, doctor
from xtts_rtc.api import Engine
from xtts_rtc.errors import EngineUnavailable, GenerationFailed
from xtts_rtc.guard.guards import Guards
from xtts_rtc.metrics import Metrics
from xtts_rtc.settings import Settings

ENGLISH_CLIP_HZ = 24_000


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("XTTS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    fake = FakeEngine()
    monkeypatch.setattr(cli, "engine_of", lambda settings, metrics=None: fake)
    return fake


def write_clip(path: Path, seconds: float = 8.0) -> Path:
    """A tone that comes and goes, at a good level."""
    time = np.arange(int(seconds * ENGLISH_CLIP_HZ)) / ENGLISH_CLIP_HZ
    pcm = 6_000 * np.sin(2 * np.pi * 220 * time) * (np.sin(2 * np.pi * 0.5 * time) > -0.8)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, ENGLISH_CLIP_HZ, 0, "NONE", ""))
        file.writeframes(pcm.astype("<i2").tobytes())
    return path


def usage_code(argv: list[str]) -> int | str | None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    return caught.value.code


def test_say_writes_the_file_and_reports_on_stderr_only(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["say", "one two", "-o", "out.wav"]) == 0
    with wave.open("out.wav") as file:
        assert file.getnframes() == 12_000
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("out.wav: 0.50 s of audio in ")
    assert engine.is_closed


def test_say_hands_its_flags_on(engine: FakeEngine) -> None:
    flags = [
        "--voice",
        "zoe",
        "--language",
        "fr",
        "--rate",
        "16000",
        "--temperature",
        "0.2",
        "--top-k",
        "1",
        "--seed",
        "9",
    ]
    assert cli.main(["say", "x", "-o", "out.pcm", *flags]) == 0
    voice, language, sampling, hz = engine.opened[0]
    assert (voice, language, hz) == ("zoe", "fr", 16_000)
    assert sampling is not None
    assert (sampling.temperature, sampling.top_k, sampling.seed, sampling.top_p) == (0.2, 1, 9, 0.85)


def test_say_reads_standard_input(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(read=lambda: "from a pipe"))
    assert cli.main(["say", "-", "-o", "out.wav"]) == 0
    assert engine.speeches[0].text == "from a pipe"


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["say"],
        ["say", "x"],
        ["say", "x", "-o", "a.wav", "--rate", "12345"],
        ["say", "x", "-o", "a.wav", "--language", "xx"],
        ["say", "x", "-o", "a.wav", "--encoding", "zip"],
        ["serve", "--port", "many"],
        ["bench", "--streams", "1,many"],
        ["bench", "--runs", "0"],
        ["bench", "--against", "itself"],
        ["convert", "folder"],
        ["voices"],
        ["sing"],
    ],
)
def test_wrong_usage_is_one_line_and_exits_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert usage_code(argv) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.err.startswith("xtts-rtc: ") and "--help" in captured.err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--device", "gpu"], "model.device: it must be auto, cpu, cuda or cuda:N"),
        (["--temperature", "5"], "temperature is 5.0"),
        (["--voice", "../../etc/passwd"], "voices.voice: it must be 1 to 64 of"),
        (["--config", "absent.yaml"], "absent.yaml cannot be read"),
        (["-o", "a.xyz"], "add --encoding"),
    ],
)
def test_a_bad_value_is_one_line_on_stderr_and_exits_2(
    engine: FakeEngine, capsys: pytest.CaptureFixture[str], flags: list[str], says: str
) -> None:
    assert cli.main(["say", "x", "-o", "a.wav", *flags]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("xtts-rtc: ")
    assert says in captured.err
    assert not engine.opened


def test_a_failure_exits_1_and_verbose_adds_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "engine_of", lambda settings: FakeEngine(GenerationFailed("the weights gave NaN")))
    assert cli.main(["say", "x", "-o", "a.wav"]) == 1
    assert capsys.readouterr().err == "xtts-rtc: the weights gave NaN\n"
    assert cli.main(["say", "x", "-o", "a.wav", "--verbose"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_unexpected_error_does_not_print_what_it_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(settings: Settings) -> FakeEngine:
        raise RuntimeError("my spoken text")

    monkeypatch.setattr(cli, "engine_of", fail)
    assert cli.main(["say", "x", "-o", "a.wav"]) == 1
    assert capsys.readouterr().err.startswith("xtts-rtc: unexpected RuntimeError; the same command with --verbose")


def test_a_folder_that_is_not_there_is_one_line(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["say", "x", "-o", "absent/a.wav"]) == 1
    assert capsys.readouterr().err.strip().endswith("No such file or directory")


def test_an_interrupt_exits_130_and_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(settings: Settings) -> FakeEngine:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError

    monkeypatch.setattr(cli, "engine_of", interrupt)
    assert cli.main(["say", "x", "-o", "a.wav"]) == 130
    assert capsys.readouterr().err == ""


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    script = "import sys; from xtts_rtc.cli import main; sys.exit(main(['voices', 'check', sys.argv[1]]))"
    clip = write_clip(Path("anna.wav"))
    command = [sys.executable, "-c", script, str(clip)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr == b""


def test_voices_can_be_added_listed_checked_and_removed(capsys: pytest.CaptureFixture[str]) -> None:
    clip = write_clip(Path("anna.wav"))
    assert cli.main(["voices", "add", str(clip)]) == 0
    assert cli.main(["voices", "add", str(clip), "--id", "bea"]) == 0
    capsys.readouterr()
    assert cli.main(["voices", "list"]) == 0
    assert capsys.readouterr().out == "anna\nbea\n"
    assert cli.main(["voices", "check", str(clip)]) in (0, 1)
    assert "length      8.0 s" in capsys.readouterr().out
    assert cli.main(["voices", "remove", "anna"]) == 0
    capsys.readouterr()
    cli.main(["voices", "list"])
    assert capsys.readouterr().out == "bea\n"


def test_voices_that_are_none_are_one_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["voices", "remove", "../../etc"]) == 1
    assert cli.main(["voices", "remove", "nobody"]) == 1
    Path("empty.wav").write_bytes(b"")
    assert cli.main(["voices", "add", "empty.wav"]) == 1
    assert capsys.readouterr().err.count("\n") == 3


def test_a_broken_voice_is_reported_beside_the_good_ones(capsys: pytest.CaptureFixture[str]) -> None:
    Path("speakers").mkdir()
    write_clip(Path("speakers/anna.wav"))
    Path("speakers/torn.wav").write_bytes(b"RIFF....WAVE")
    assert cli.main(["voices", "list"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "anna\n"
    assert captured.err.startswith("xtts-rtc: torn: ")


def test_voices_of_a_server_are_asked_for(engine: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["voices", "list", "--url", "ws://127.0.0.1:9"]) == 0
    assert capsys.readouterr().out == "default\nzoe\n"


def test_serve_refuses_to_stand_in_for_another_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--url", "ws://127.0.0.1:9"]) == 2
    assert "serve runs an engine of its own" in capsys.readouterr().err


def test_serve_passes_every_option_on(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from xtts_rtc import app

    seen: dict[str, Any] = {}

    async def serve(load: Callable[[Metrics], Engine], **given: object) -> bool:
        seen.update(given, engine=load(Metrics()))
        return True

    monkeypatch.setattr(app, "serve", serve)
    monkeypatch.setattr("xtts_rtc.guard.logs.configure", lambda log_format: seen.update(log_format=log_format))
    monkeypatch.setenv("XTTS_API_KEY", "k")
    (tmp_path / "keys").write_text("anna:0123456789abcdef\n")
    options = f"--host 127.0.0.2 --port 0 --grace 3 --log-format json --api-keys-file {tmp_path / 'keys'}"
    options += " --max-streams-per-key 2 --header-s 4 --body-s 5 --max-header-bytes 6000 --max-body-bytes 7000"
    options += " --max-upload-bytes 8000 --max-connections 9 --cors-origins https://a.example --output-dir kept"
    assert cli.main(["serve", *options.split()]) == 0
    guards = seen.pop("guards")
    assert seen == {
        "host": "127.0.0.2", "port": 0, "grace_s": 3.0, "output_dir": Path("kept"), "log_format": "json",
        "engine": engine, "phone": None,
    }  # fmt: skip
    assert [guards.keys.name_of(key) for key in ("k", "0123456789abcdef", "")] == ["default", "anna", None]
    assert guards == Guards(
        keys=guards.keys, max_streams_per_key=2, header_s=4, body_s=5, max_header_bytes=6000, max_body_bytes=7000,
        max_upload_bytes=8000, max_connections=9, cors_origins=("https://a.example",),
    )  # fmt: skip


def test_doctor_reports_a_bad_option_instead_of_failing_on_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "_runtimes", lambda: iter(()))  # asking torch costs a second
    assert cli.main(["doctor", "--device", "gpu", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["is_healthy"] is False
    assert any("model.device" in finding["value"] for finding in report["findings"])


def test_bench_gets_its_arguments_and_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[argparse.Namespace] = []

    def run(args: argparse.Namespace) -> int:
        seen.append(args)
        return 0

    monkeypatch.setattr(bench, "run", run)
    flags = ["--model", "random-tiny", "--streams", "1,4", "--against", "stock", "--json", "b.json"]
    assert cli.main(["bench", *flags]) == 0
    args = seen[0]
    assert (args.settings.model.name, args.streams, args.against) == ("random-tiny", "1,4", "stock")
    assert (args.json_file, args.runs) == (Path("b.json"), 5)


def test_convert_refuses_a_folder_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["convert", "absent", "-o", "bundle"]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert "absent" in captured.err
    assert not Path("bundle").exists()


def test_the_demo_is_offered_exactly_when_it_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert usage_code(["--help"]) == 0
    has_command = "    demo " in capsys.readouterr().out
    package = Path(cli.__file__).parent
    assert has_command == ((package / "demo.py").is_file() or (package / "demo" / "__init__.py").is_file())


def test_the_engine_of_a_server_is_remote_and_reports_that_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["say", "x", "-o", "a.wav", "--url", "ws://127.0.0.1:9"]) == EngineUnavailable("").retryable
    assert capsys.readouterr().err.count("\n") == 1


def test_the_version_is_the_packages_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert usage_code(["--version"]) == 0
    assert capsys.readouterr().out == f"xtts-rtc {importlib.metadata.version('xtts-rtc')}\n"
