from __future__ import annotations

import importlib.metadata
import json
import shutil
from pathlib import Path

import pytest

from xtts_rtc import doctor
from xtts_rtc.doctor import Finding, State, as_json, as_table, examine, is_healthy
from xtts_rtc.errors import ConfigError
from xtts_rtc.settings import Values, load_settings

EMBEDDED = Path(doctor.__file__).parent / "assets" / "embedded"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "_runtimes", lambda: iter(()))  # asking torch costs a second


def report(given: Values | None = None) -> dict[tuple[str, str], Finding]:
    settings = load_settings(given, environ={}, dotenv=None, must_be_possible=False)
    return {(finding.section, finding.name): finding for finding in examine(settings)}


def test_the_embedded_model_is_found_and_needs_no_license() -> None:
    found = report()
    assert found["model", "embedded"].state is State.OK
    assert found["model", "Coqui Public Model License"].state is State.NOTE
    assert "NON-commercial" in found["model", "Coqui Public Model License"].fix


def test_a_model_folder_that_lacks_files_names_them() -> None:
    Path("half").mkdir()
    Path("half/config.json").write_text("{}")
    finding = report({"model": {"name": "half"}})["model", "half"]
    assert finding.state is State.PROBLEM
    assert finding.value == "half lacks vocab.json, model.safetensors or model.pth"


def test_a_bundle_is_a_model() -> None:
    Path("bundle").mkdir()
    for name in ("manifest.json", "gpt.onnx"):
        (Path("bundle") / name).write_bytes(bytes(2**20))
    finding = report({"model": {"name": "bundle"}})["model", "bundle"]
    assert (finding.state, finding.value) == (State.OK, "a bundle, 2 MiB")


def test_what_was_never_tested_is_said_plainly() -> None:
    untested = {name for section, name in report() if section == "not tested by this project"}
    assert untested == {"CUDA", "CUDA graphs", "vocoder stream", "DeepSpeed", "published weights"}


def test_an_option_that_cannot_be_honoured_is_a_problem() -> None:
    found = report({"model": {"deepspeed": True}})
    assert found["settings", "options"].state is State.PROBLEM
    assert "XTTS_DEEPSPEED" in found["settings", "options"].value


def test_a_server_open_to_others_without_a_key_is_a_problem() -> None:
    assert report({"server": {"host": "0.0.0.0"}})["settings", "server"].state is State.PROBLEM
    assert ("settings", "server") not in report({"server": {"host": "0.0.0.0", "api_key": "k"}})


def test_settings_that_cannot_be_read_are_the_finding() -> None:
    findings = examine(None, ConfigError("config.yaml is not YAML"))
    assert any(finding.value == "config.yaml is not YAML" for finding in findings)
    assert not is_healthy(findings)


def test_every_voice_is_checked_and_a_broken_one_does_not_hide_the_others() -> None:
    Path("speakers").mkdir()
    shutil.copy(EMBEDDED / "default.wav", "speakers/anna.wav")
    Path("speakers/torn.wav").write_bytes(b"RIFF....WAVE")
    found = report()
    assert found["voices", "anna"].state is State.OK
    assert found["voices", "torn"].state is State.PROBLEM
    assert found["voices", "torn"].fix


def test_a_package_off_its_pin_is_a_problem_and_a_local_build_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"torch": "2.14.1+cpu", "livekit-agents": "1.0.0"}
    monkeypatch.setattr(doctor, "_version", lambda name: here.get(name, "9"))
    monkeypatch.setattr(
        importlib.metadata,
        "requires",
        lambda name: ["numpy>=2", "torch==2.14.1; extra == 'a'", 'livekit-agents==1.8.9 ; extra == "b"'],
    )
    found = report()
    assert found["packages", "(core)"].state is State.OK
    assert found["packages", "a"].state is State.OK
    assert found["packages", "b"].value == "livekit-agents 1.0.0, not 1.8.9"


def test_a_missing_extra_is_a_note_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "deepspeed" else "9")
    finding = report()["packages", "deepspeed"]
    assert (finding.state, finding.value) == (State.NOTE, "missing: deepspeed")
    assert "pip install 'xtts-rtc[deepspeed]'" in finding.fix


def test_table_and_json_say_the_same() -> None:
    findings = [Finding("a", "x", State.OK, "fine"), Finding("b", "long name", State.PROBLEM, "bad", "do this")]
    assert as_table(findings).splitlines() == [
        "a",
        "  ok      x          fine",
        "",
        "b",
        "  problem long name  bad",
        "                     -> do this",
        "",
        "1 to fix",
    ]
    parsed = json.loads(as_json(findings))
    assert parsed["is_healthy"] is False
    assert parsed["findings"][1] == {
        "section": "b",
        "name": "long name",
        "state": "problem",
        "value": "bad",
        "fix": "do this",
    }


def test_cpu_features_are_read_where_the_system_lists_them(tmp_path: Path) -> None:
    listing = tmp_path / "cpuinfo"
    listing.write_text("processor: 0\nflags\t\t: fpu avx2 amx_int8\nbugs: none\n")
    assert doctor._cpu_flags(listing) == {"fpu", "avx2", "amx_int8"}
    assert doctor._cpu_flags(tmp_path / "absent") == set()
