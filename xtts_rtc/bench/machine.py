"""The machine in words: what somebody needs to know to judge figures taken on it."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from xtts_rtc.bench.records import Machine

_FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "i8mm", "bf16")
_PACKAGES = ("numpy", "onnxruntime", "openvino", "torch", "coqui-tts", "deepspeed")


def describe_machine(device: str) -> Machine:
    """This machine; the GPU only where `device` is one."""
    cpuinfo = _cpuinfo()
    flags = set((cpuinfo.get("flags") or cpuinfo.get("Features") or "").split())
    return Machine(
        cpu=cpuinfo.get("model name") or platform.processor() or platform.machine(),
        cores=num_cores(),
        flags=tuple(flag for flag in _FLAGS if flag in flags),
        memory_gb=round(_memory_bytes() / 2**30, 1),
        gpu=_gpu(device),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages={name: version for name in _PACKAGES if (version := _version(name))},
        load_before=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    )


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OthersCpu:
    """What the rest of the machine computed since this was made, as a share of all its cores."""

    def __init__(self) -> None:
        self._start = _ticks()

    def share(self) -> float | None:
        """0 to 1; None where /proc does not tell. Our own processes count once they have ended."""
        if self._start is None or (now := _ticks()) is None:
            return None
        everything, busy, ours = (after - before for after, before in zip(now, self._start, strict=True))
        return round(max(0.0, busy - ours) / everything, 3) if everything else None


def _ticks() -> tuple[float, float, float] | None:
    """Seconds of CPU time: of all cores, busy, and of this process and its ended children."""
    path = Path("/proc/stat")
    if not path.is_file():
        return None
    hertz = os.sysconf("SC_CLK_TCK")
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, path.read_text().split("\n")[0].split()[1:9])
    busy = user + nice + system + irq + softirq + steal
    return (busy + idle + iowait) / hertz, busy / hertz, sum(os.times()[:4])


def _cpuinfo() -> dict[str, str]:
    """The first processor of /proc/cpuinfo; empty where there is none."""
    path = Path("/proc/cpuinfo")
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    return found


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _gpu(device: str) -> str | None:
    if not device.startswith("cuda"):
        return None
    import torch

    name: str = torch.cuda.get_device_name(device)
    return name


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


__all__ = ["OthersCpu", "describe_machine", "num_cores"]
