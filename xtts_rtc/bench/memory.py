"""What a model costs in memory, measured in a process of its own that does nothing else.

Linux only (/proc): elsewhere nothing is reported rather than something else.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from xtts_rtc.bench.records import Memory
from xtts_rtc.bench.session import NUM_TOKENS
from xtts_rtc.engine.conversion import DEFAULT_CLIP
from xtts_rtc.engine.runtimes import LoadedRuntime, ModelChoice, load_runtime, model_folder
from xtts_rtc.errors import SetupError
from xtts_rtc.model.interface import ModelInfo, Runtime
from xtts_rtc.model.window import Window
from xtts_rtc.types import Conditioning
from xtts_rtc.voices.clip import read_clip

_TIMEOUT_S = 600
_NUM_SLOTS = 3
_MB = 1e6
_STATUS = Path("/proc/self/status")
_CHILD = "from xtts_rtc.bench.memory import report; report()"
_MODULES = {
    "onnx": ("xtts_rtc.model.onnx.runtime",),
    "torch": ("xtts_rtc.model.torch.checkpoint", "xtts_rtc.model.torch.runtime", "TTS.tts.models.xtts"),
}


def measure_memory(choice: ModelChoice, config: str, *, backend: str, cache_dir: Path) -> Memory | None:
    """Load `choice` in a new process and let three streams speak; None where there is no /proc.

    Raises SetupError when the process fails.
    """
    if not _STATUS.is_file():
        return None
    request = {"choice": asdict(choice), "config": config, "backend": backend, "cache_dir": str(cache_dir)}
    command = [sys.executable, "-c", _CHILD]
    try:
        done = subprocess.run(
            command, input=json.dumps(request), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise SetupError(f"the memory of {config} was not known after {_TIMEOUT_S} s; use --skip memory") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SetupError(f"measuring the memory of {config} failed ({reason[:200]}); use --skip memory")
    return Memory(**json.loads(done.stdout.splitlines()[-1]))


def report() -> None:
    """The other process: a request on stdin, a `Memory` as JSON on stdout."""
    request = json.loads(sys.stdin.read())
    print(json.dumps(asdict(_measure(**request))))


def kv_bytes(info: ModelInfo) -> int:
    """float32 keys and values of one stream that uses every position."""
    positions = info.num_prefix + info.max_text_tokens + 2 + 1 + info.max_audio_tokens
    return 2 * info.num_layers * positions * info.dim * 4


def _measure(choice: dict[str, Any], config: str, backend: str, cache_dir: str) -> Memory:
    asked = ModelChoice(**choice)
    for module in _MODULES.get(backend, ()):
        import_module(module)
    before = _status_mb("VmRSS")
    loaded = load_runtime(asked, num_slots=_NUM_SLOTS, cache_dir=Path(cache_dir))
    while loaded.runtime.warm():
        pass
    peak, after = _status_mb("VmHWM"), _status_mb("VmRSS")
    per_stream = _per_stream_mb(loaded.runtime)
    model = _model_bytes(asked, loaded) / _MB
    return Memory(
        config=config,
        before_mb=round(before, 1),
        loaded_mb=round(after, 1),
        peak_mb=round(peak, 1),
        model_mb=round(model, 1),
        peak_ratio=round(peak / model, 2),
        is_built=backend == "torch" and model_folder(asked.name) is None,
        num_slots=_NUM_SLOTS,
        per_stream_mb=round(per_stream, 1),
        per_stream_full_mb=round(kv_bytes(loaded.runtime.info) / _MB, 1),
    )


def _per_stream_mb(runtime: Runtime) -> float:
    """Growth per stream once the first one has spoken: what the first allocates is shared."""
    latents, embedding = runtime.condition([read_clip(DEFAULT_CLIP).pcm])
    voice = Conditioning("memory", latents, embedding)
    _say(runtime, voice, [0])
    gc.collect()
    one = _status_mb("VmRSS")
    _say(runtime, voice, list(range(1, _NUM_SLOTS)))
    gc.collect()
    return max(0.0, _status_mb("VmRSS") - one) / (_NUM_SLOTS - 1)


def _say(runtime: Runtime, voice: Conditioning, slots: list[int]) -> None:
    for slot in slots:
        runtime.prefill(slot, voice, np.full(40, 5, np.int64))
    rows = np.asarray(slots, np.int64)
    for _ in range(NUM_TOKENS):
        runtime.step(rows, np.zeros(rows.size, np.int64))
    for _ in slots:
        runtime.decode(Window.whole(np.zeros((runtime.info.dim, 64), np.float32)), voice)


def _model_bytes(choice: ModelChoice, loaded: LoadedRuntime) -> int:
    """Files of the bundle, the weight file of a checkpoint, or the tensors of random weights."""
    bundle = getattr(loaded.runtime, "bundle", None)
    if bundle is not None:
        return sum(entry.num_bytes for entry in bundle.manifest.files.values())
    folder = model_folder(choice.name)
    names = ("model.safetensors", "model.pth")
    if folder is not None:
        return next((folder / name).stat().st_size for name in names if (folder / name).is_file())
    tensors = {tensor.data_ptr(): tensor for tensor in loaded.xtts.state_dict().values()}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _status_mb(name: str) -> float:
    for line in _STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / _MB
    raise SetupError(f"{_STATUS} does not say {name}; use --skip memory")


__all__ = ["kv_bytes", "measure_memory", "report"]
