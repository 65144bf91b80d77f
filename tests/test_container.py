"""The container files without a container engine: linted, checked against each other, and their entry point run.

The command, user, environment and paths come out of the Dockerfile itself, so that it cannot drift from this.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import wave
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema_rs import validator_for

from xtts_rtc.settings import VARIABLES

ROOT = Path(__file__).parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent
START_S = 20.0
"""From the command to /healthz; on two idle cores it takes about 1.5 s."""


def instructions(text: str) -> list[tuple[str, str]]:
    """Name and argument of each, continued lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (name.upper(), argument.strip()) for name, _, argument in (line.partition(" ") for line in joined.split("\n"))
    ]


def image(runtime: str) -> dict[str, Any]:
    """What the last stage inherits for a RUNTIME: ENV as a dictionary, COPY as a list, the last of everything else."""
    stages: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    name, arguments = "", {"RUNTIME": runtime}
    for kind, argument in instructions(DOCKERFILE):
        if kind == "ARG" and not name:
            key, _, value = argument.partition("=")
            arguments.setdefault(key, value)
        elif kind == "FROM":
            parts = re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], argument).split()
            name = parts[2] if len(parts) == 3 else "last"
            stages[name] = (parts[0], [])
        else:
            stages[name][1].append((kind, argument))
    chain: list[tuple[str, str]] = []
    stage = "last"
    while stage in stages:
        chain = stages[stage][1] + chain
        stage = stages[stage][0]
    found: dict[str, Any] = {"ENV": {}, "COPY": [], "FROM": stage}
    for kind, argument in chain:
        if kind == "ENV":
            found["ENV"] |= dict(pair.split("=", 1) for pair in shlex.split(argument))
        elif kind == "COPY":
            found["COPY"].append(argument)
        else:
            found[kind] = json.loads(argument) if argument.startswith("[") else argument
    return found


def test_the_dockerfile_has_no_complaint_of_its_linter() -> None:
    linter = shutil.which("hadolint", path=f"{BIN}:{os.environ['PATH']}")
    assert linter, "hadolint is not installed: make setup"
    done = subprocess.run([linter, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_compose_file_is_one_by_its_specification() -> None:
    package = find_spec("check_jsonschema")  # only its copy of the schema is used; importing it costs half a second
    assert package and package.origin, "check-jsonschema is not installed: make setup"
    schema = Path(package.origin).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    check = validator_for(json.loads(schema.read_text(encoding="utf-8")))
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    assert [error.message for error in check.iter_errors(compose)] == []
    compose["services"]["engine"]["portz"] = []
    assert not check.is_valid(compose)


@pytest.mark.parametrize("runtime", ["cpu", "cuda"])
def test_the_image_runs_as_nobody_special_and_knows_its_options(runtime: str) -> None:
    made = image(runtime)
    user, _, group = made["USER"].partition(":")
    assert int(user) > 0 and int(group) > 0
    assert made["STOPSIGNAL"] == "SIGTERM" and "CMD" in made["HEALTHCHECK"]
    assert {name for name in made["ENV"] if name.startswith("XTTS_")} <= set(VARIABLES)
    assert made["ENV"]["XTTS_SPEAKERS_DIR"] in made["VOLUME"] and made["ENV"]["XTTS_CACHE_DIR"] in made["VOLUME"]
    assert made["ENV"]["XTTS_MODEL"] == {"cpu": "/opt/bundle", "cuda": "embedded"}[runtime]
    assert any("/opt/bundle" in copied for copied in made["COPY"]) == (runtime == "cpu")


def test_torch_is_in_the_cuda_image_alone() -> None:
    locked = {name: set(re.findall(r"^([a-z0-9-]+)==", _lock(name), re.MULTILINE)) for name in ("runtime", "cuda")}
    assert not locked["runtime"] & {"torch", "torchaudio", "coqui-tts", "transformers"}
    assert {"torch", "torchaudio", "coqui-tts", "livekit-agents", "fastapi", "uvicorn"} <= locked["cuda"]
    assert {"onnxruntime", "onnx", "livekit-agents", "fastapi", "uvicorn"} <= locked["runtime"]
    for name in locked:
        assert _lock(name).count("==") <= _lock(name).count("--hash=sha256:")


def test_no_weights_but_the_embedded_ones_can_get_into_an_image() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignored if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = [argument.split() for kind, argument in instructions(DOCKERFILE) if kind == "COPY"]
    for words in copied:
        if not any(word.startswith("--from") for word in words):
            for source in (word for word in words[:-1] if not word.startswith("--")):
                assert any(path == source or path.startswith(f"{source}/") for path in allowed), source
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    weights = [path for path in tracked if path.endswith((".safetensors", ".pth", ".pt", ".onnx"))]
    assert [path for path in weights if path.split("/")[0] in {rule.split("/")[0] for rule in allowed}] == [
        "xtts_rtc/assets/embedded/model.safetensors"
    ]


def test_compose_wires_the_agent_to_the_engine_and_the_rooms() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    engine, agent, livekit = services["engine"], services["agent"], services["livekit"]
    made = image("cpu")
    port = made["CMD"][made["CMD"].index("--port") + 1]
    assert agent["environment"]["XTTS_URL"] == f"http://engine:{port}" and made["EXPOSE"] == port
    assert f"127.0.0.1:{port}:{port}" in engine["ports"]
    assert agent["environment"]["LIVEKIT_URL"] == f"ws://livekit:{_rooms(livekit)['port']}"
    assert agent["environment"]["XTTS_API_KEY"] == engine["environment"]["XTTS_API_KEY"]
    assert agent["image"] == engine["image"] and "build" not in agent
    assert {volume.partition(":")[2] for volume in engine["volumes"]} == set(made["VOLUME"])
    for service in (engine, agent):
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert {name for name in service["environment"] if name.startswith("XTTS_")} <= set(VARIABLES)
    assert not re.search(r"(KEY|SECRET): [^$\s{]", (ROOT / "compose.yaml").read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.net
def test_the_entry_point_speaks_as_its_user_on_read_only_paths_and_ends_in_time() -> None:
    with container() as (process, port, folder):
        begun = time.monotonic()
        while not _is_alive(port) and time.monotonic() - begun < START_S:
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.2)
        print(f"alive after {time.monotonic() - begun:.1f} s")
        assert time.monotonic() - begun < START_S
        assert subprocess.run(_health_command(port), timeout=10, check=False).returncode == 0
        while not _is_alive(port, "/readyz"):
            assert time.monotonic() - begun < 60, "it never became ready"
            time.sleep(0.2)
        print(f"ready after {time.monotonic() - begun:.1f} s")
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/tts",
            json.dumps({"text": "Hello from a container."}).encode(),
            {"Content-Type": "application/json", "Authorization": "Bearer a-key-for-this-test"},
        )
        with _open(request) as answer, wave.open(io.BytesIO(answer.read())) as audio:
            assert audio.getnframes() / audio.getframerate() > 0.5
        assert _uid_of(process.pid) == (int(image("cpu")["USER"].split(":")[0]) if os.geteuid() == 0 else os.geteuid())
        process.send_signal(signal.Signals[image("cpu")["STOPSIGNAL"]])
        assert process.wait(timeout=_grace_s()) == 0
        owned = {path for path in folder.rglob("*") if path.stat().st_uid == 10001 and path.is_file()}
        assert all(path.is_relative_to(folder / "var") for path in owned), "it wrote outside its volumes"
    assert subprocess.run(_health_command(port), stderr=subprocess.DEVNULL, timeout=10, check=False).returncode != 0


@contextlib.contextmanager
def container() -> Iterator[tuple[subprocess.Popen[bytes], int, Path]]:
    """The image's command with its absolute paths below a folder of its own; all but the volumes is not its user's."""
    made = image("cpu")
    folder = Path(tempfile.mkdtemp(prefix="xtts-container-"))
    folder.chmod(0o755)
    uid, gid = map(int, made["USER"].split(":")) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    try:
        place = folder / made["WORKDIR"].lstrip("/")
        place.mkdir(parents=True)
        for words in map(str.split, made["COPY"]):
            if not any(word.startswith("--from") for word in words):
                _copy(ROOT / words[-2], place / words[-1])
        subprocess.run([BIN / "xtts-rtc", *_convert_arguments(folder)], cwd=ROOT, check=True, capture_output=True)
        for volume in made["VOLUME"]:
            (folder / volume.lstrip("/")).mkdir(parents=True, exist_ok=True)
            os.chown(folder / volume.lstrip("/"), uid, gid)
        port = _free_port()
        command = [*made["ENTRYPOINT"], *made["CMD"]]
        command[command.index("--port") + 1] = str(port)
        command[command.index("--host") + 1] = "127.0.0.1"
        environment = {name: _moved(value, folder) for name, value in made["ENV"].items()}
        environment |= {"PATH": f"{BIN}:/usr/bin:/bin", "XTTS_API_KEY": "a-key-for-this-test"}
        process = subprocess.Popen([*_as_user(uid, gid), *command], cwd=place, env=environment)
        try:
            yield process, port, folder
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(10)
    finally:
        shutil.rmtree(folder)


def _as_user(uid: int, gid: int) -> list[str]:
    """The image's user; it may read every file, since an interpreter in a home folder is closed to others."""
    if os.geteuid() != 0:
        return []
    reading = "-all,+dac_read_search"
    return [
        "setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs",
        f"--inh-caps={reading}", f"--ambient-caps={reading}",
    ]  # fmt: skip


def _convert_arguments(folder: Path) -> list[str]:
    """Of the Dockerfile's own conversion, with the bundle below `folder`."""
    line = next(argument for kind, argument in instructions(DOCKERFILE) if kind == "RUN" and "convert" in argument)
    return [_moved(word, folder) for word in shlex.split(line)[1:]]


def _moved(value: str, folder: Path) -> str:
    return f"{folder}{value}" if value.startswith(("/srv/", "/var/", "/opt/bundle")) else value


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def _health_command(port: int) -> list[str]:
    command = json.loads(image("cpu")["HEALTHCHECK"].partition("CMD ")[2])
    return [str(BIN / command[0]), *(word.replace(":8020/", f":{port}/") for word in command[1:])]


def _grace_s() -> float:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return float(compose["services"]["engine"]["stop_grace_period"].removesuffix("s"))


def _rooms(livekit: dict[str, Any]) -> dict[str, Any]:
    text = re.sub(r"\$\{(\w+)[^}]*\}", r"\1", livekit["environment"]["LIVEKIT_CONFIG"])
    config: dict[str, Any] = yaml.safe_load(text)
    return config


def _lock(name: str) -> str:
    return (ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8")


def _open(request: urllib.request.Request | str) -> Any:
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30)


def _is_alive(port: int, path: str = "/healthz") -> bool:
    try:
        with _open(f"http://127.0.0.1:{port}{path}") as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _uid_of(pid: int) -> int:
    found = re.search(r"^Uid:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])
