"""What this installation can do, and what to fix.

In: the settings, or the error that kept them from being read. Out: findings, each with its remedy. It
looks and changes nothing; a package is imported only where asking it is the only way to know.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from xtts_rtc.errors import XttsRtcError
from xtts_rtc.settings import Settings, require_possible
from xtts_rtc.voices.check import check_clip
from xtts_rtc.voices.clip import read_clip
from xtts_rtc.voices.store import VoiceStore

_WEIGHT_NAMES = ("model.safetensors", "model.pth")
_CPU_FLAGS = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)\s*(?:==(?P<pin>[^,;\s]+))?")
_EXTRA = re.compile(r"extra == ['\"]([^'\"]+)")
_NEVER_RUN = (
    (
        "CUDA",
        "the batched GPT, half precision and torch.compile are tested on a CPU through the same code;"
        " nothing has been run on a GPU",
    ),
    (
        "CUDA graphs",
        "written, not run: buffers, shapes and shape errors around the capture are tested on a CPU,"
        " the capture and replay are not",
    ),
    ("vocoder stream", "the vocoder on its own CUDA stream is written, not run; TF32 rounding was imitated on a CPU"),
    (
        "DeepSpeed",
        "written, not run on its CUDA kernels; the calls were checked once against DeepSpeed 0.19.8 with its CPU"
        " fallbacks, and at start the kernels are compared with the plain layers and refused if they differ",
    ),
    ("published weights", "the loader reads their layout; only random and our own small weights were tried"),
)


class State(StrEnum):
    """How a finding is meant."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `fix` says what to do and is empty where nothing is wrong."""

    section: str
    name: str
    state: State
    value: str
    fix: str = ""


def examine(settings: Settings | None, error: XttsRtcError | None = None) -> list[Finding]:
    """All findings, in the order of the report. `error` is why there are no settings."""
    findings = [*_machine(), *_packages(), *_runtimes()]
    if settings is None:
        message = error.message if error else "not read"
        return [*findings, Finding("settings", "options", State.PROBLEM, message, "correct that option"), *_untested()]
    return [*findings, *_settings(settings), *_model(settings), *_voices(settings), *_untested()]


def as_table(findings: Sequence[Finding]) -> str:
    """For people: aligned, a section at a time, the remedies under their lines."""
    width = max(len(finding.name) for finding in findings)
    lines: list[str] = []
    section = ""
    for finding in findings:
        if finding.section != section:
            section = finding.section
            lines += [""] * bool(lines) + [section]
        lines.append(f"  {finding.state:<8}{finding.name:<{width + 2}}{finding.value}")
        if finding.fix:
            lines.append(f"  {'':<8}{'':<{width + 2}}-> {finding.fix}")
    num_problems = sum(finding.state is State.PROBLEM for finding in findings)
    return "\n".join([*lines, "", f"{num_problems} to fix" if num_problems else "nothing to fix"])


def as_json(findings: Sequence[Finding]) -> str:
    """For programs: ``{"is_healthy": bool, "findings": [{section, name, state, value, fix}]}``."""
    return json.dumps({"is_healthy": is_healthy(findings), "findings": [asdict(finding) for finding in findings]})


def is_healthy(findings: Sequence[Finding]) -> bool:
    """Whether nothing has to be fixed."""
    return all(finding.state is not State.PROBLEM for finding in findings)


def _machine() -> Iterator[Finding]:
    yield Finding("machine", "python", State.OK, f"{platform.python_version()} on {platform.system()}")
    flags = _cpu_flags(Path("/proc/cpuinfo"))
    has = ", ".join(flag for flag in _CPU_FLAGS if flag in flags)
    yield Finding("machine", "cpu", State.OK, f"{os.cpu_count()} cores; {has or 'features unknown on this system'}")
    yield Finding("machine", "disk", State.OK, f"{shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB free here")


def _cpu_flags(cpuinfo: Path) -> set[str]:
    if not cpuinfo.is_file():
        return set()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo.read_text(errors="replace"), re.MULTILINE)
    return set(found[1].split()) if found else set()


def _packages() -> Iterator[Finding]:
    """Per extra: what is there, what is missing, and what differs from its pin."""
    extras: dict[str, list[tuple[str, str | None]]] = {}
    for requirement in metadata.requires("xtts-rtc") or ():
        match, extra = _REQUIREMENT.match(requirement), _EXTRA.search(requirement)
        if match:
            extras.setdefault(extra[1] if extra else "", []).append((match["name"], match["pin"]))
    extras.pop("dev", None)
    yield from (_extra(name, wanted) for name, wanted in sorted(extras.items()))


def _extra(extra: str, wanted: Sequence[tuple[str, str | None]]) -> Finding:
    here = {name: _version(name) for name, _ in wanted}
    name = extra or "(core)"
    install = f"pip install 'xtts-rtc{f'[{extra}]' if extra else ''}'"
    missing = [package for package, version in here.items() if version is None]
    if missing:
        state = State.NOTE if extra else State.PROBLEM
        return Finding("packages", name, state, f"missing: {', '.join(missing)}", f"if you need it: {install}")
    off = [f"{package} {here[package]}, not {pin}" for package, pin in wanted if pin and not _is_at(here[package], pin)]
    if off:
        return Finding("packages", name, State.PROBLEM, "; ".join(off), f"{install} brings the version that was tested")
    return Finding("packages", name, State.OK, ", ".join(f"{package} {version}" for package, version in here.items()))


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _is_at(version: str | None, pin: str) -> bool:
    return version is not None and version.partition("+")[0] == pin  # 2.14.1+cpu is the same release


def _runtimes() -> Iterator[Finding]:
    has_onnx = find_spec("onnxruntime") is not None
    if has_onnx:
        yield Finding("runtimes", "onnx", State.OK, f"int8 and fp32 on the CPU; onnxruntime {_version('onnxruntime')}")
    if find_spec("torch") is None:
        without = (
            "not installed: no GPU, no .pth files" if has_onnx else "no runtime: speak through a server (XTTS_URL)"
        )
        yield Finding("runtimes", "torch", State.NOTE, without)
        return
    import torch

    has_cuda = torch.cuda.is_available()
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if has_cuda else []
    yield Finding(
        "runtimes", "torch", State.OK, f"fp32 on {', '.join(['cpu', *devices])}; {torch.get_num_threads()} threads"
    )
    yield Finding(
        "runtimes", "cuda", State.OK if has_cuda else State.NOTE, "available" if has_cuda else "no device seen"
    )


def _settings(settings: Settings) -> Iterator[Finding]:
    try:
        require_possible(settings)
        yield Finding("settings", "options", State.OK, "all of them can be honoured")
    except XttsRtcError as error:
        yield Finding("settings", "options", State.PROBLEM, error.message, "switch it off or install what it names")
    server = settings.server
    if server.url:
        yield Finding("settings", "engine", State.OK, f"remote, {server.url}")
    else:
        model = settings.model
        yield Finding("settings", "engine", State.OK, f"in process, device {model.device}, backend {model.backend}")
    is_open = server.host not in ("127.0.0.1", "localhost", "::1") and server.api_key is None
    if is_open:
        fix = "set XTTS_API_KEY, or host to 127.0.0.1"
        yield Finding(
            "settings", "server", State.PROBLEM, f"{server.host} is reachable from outside, without a key", fix
        )


def _model(settings: Settings) -> Iterator[Finding]:
    name = settings.model.name
    if name.startswith("random-"):
        yield Finding("model", name, State.NOTE, "random weights: noise, for tests and speed only")
    else:
        folder = Path(__file__).parent / "assets" / "embedded" if name == "embedded" else Path(name)
        yield _model_folder(name, folder)
    agreed = settings.model.license_agreed
    value = "accepted" if agreed else "not accepted; the embedded model does not need it"
    fix = "" if agreed else "to use the published weights: read it, then set COQUI_TOS_AGREED=1; it is NON-commercial"
    yield Finding("model", "Coqui Public Model License", State.OK if agreed else State.NOTE, value, fix)


def _model_folder(name: str, folder: Path) -> Finding:
    if (folder / "gpt.onnx").is_file() and (folder / "manifest.json").is_file():
        size = sum(path.stat().st_size for path in folder.iterdir())
        return Finding("model", name, State.OK, f"a bundle, {size / 2**20:.0f} MiB")
    missing = [wanted for wanted in ("config.json", "vocab.json") if not (folder / wanted).is_file()]
    weights = next((folder / found for found in _WEIGHT_NAMES if (folder / found).is_file()), None)
    if weights is None:
        missing.append(" or ".join(_WEIGHT_NAMES))
    if missing or weights is None:
        fix = "XTTS_MODEL must be embedded, random-tiny, random-full or a folder with these files"
        return Finding("model", name, State.PROBLEM, f"{folder} lacks {', '.join(missing)}", fix)
    return Finding("model", name, State.OK, f"{weights.name}, {weights.stat().st_size / 2**20:.0f} MiB")


def _voices(settings: Settings) -> Iterator[Finding]:
    folder = settings.voices.folder
    if not folder.is_dir():
        fix = "make it and put clips there, or set XTTS_SPEAKERS_DIR"
        yield Finding("voices", str(folder), State.NOTE, "no such folder: only the model's own voices", fix)
        return
    store = VoiceStore(folder)
    broken = {voice.name: voice.reason for voice in store.report()}
    for name, reason in broken.items():
        yield Finding("voices", name, State.PROBLEM, reason, "replace the clip, or xtts-rtc voices remove it")
    for voice_id in store.ids():
        if voice_id not in broken:
            yield _voice(voice_id, store.snapshot(voice_id).clips)


def _voice(voice_id: str, clips: Sequence[bytes]) -> Finding:
    reports = [check_clip(read_clip(clip)) for clip in clips]
    value = f"{sum(report.duration_s for report in reports):.1f} s in {len(reports)} clip(s)"
    advice = [finding.advice for report in reports for finding in report.findings if not report.is_good]
    if advice:
        return Finding("voices", voice_id, State.NOTE, value, " ".join(dict.fromkeys(advice)))
    return Finding("voices", voice_id, State.OK, value)


def _untested() -> Iterator[Finding]:
    return (Finding("not tested by this project", name, State.NOTE, why) for name, why in _NEVER_RUN)


__all__ = ["Finding", "State", "as_json", "as_table", "examine", "is_healthy"]
