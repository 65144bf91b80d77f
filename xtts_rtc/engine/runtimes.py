"""From the name of a model to weights that are ready to run. The only place that chooses a runtime."""

from __future__ import annotations

import hashlib
import logging
import platform
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xtts_rtc.engine.conversion import DEFAULT_CLIP, EMBEDDED, Progress, converted, frontend_of, need
from xtts_rtc.errors import CheckpointError, ConfigError
from xtts_rtc.model.interface import Runtime
from xtts_rtc.text.segmenter import Segmenter
from xtts_rtc.text.tokenizer import TextFrontend
from xtts_rtc.types import Conditioning
from xtts_rtc.voices.clip import read_clip

logger = logging.getLogger(__name__)

BACKENDS = ("auto", "onnx", "torch")
RANDOM_MODELS = ("random-tiny", "random-full")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChoice:
    """What is asked for.

    name: embedded, random-tiny, random-full, or a folder (a checkpoint or a bundle). device: auto, cpu, cuda,
    cuda:N. backend: auto, onnx, torch. precision of a bundle that has to be made: see `convert`. vocoder of
    the onnx backend: auto or one of its names. half, compile, deepspeed: CUDA only.
    """

    name: str = "embedded"
    device: str = "auto"
    backend: str = "auto"
    precision: str = "int8"
    vocoder: str = "auto"
    half: bool = False
    compile: bool = False
    deepspeed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedRuntime:
    """A runtime and what belongs to its weights.

    `backend` and `precision` name it in tables. `conditioning_key` names the weights that voices depend on;
    `speakers` are the checkpoint's own voices; `max_segment_tokens` is how much text it speaks well at a time,
    None for all it takes; `xtts` is the coqui-tts model where the runtime stands on one.
    """

    runtime: Runtime
    frontend: TextFrontend
    backend: str
    precision: str
    conditioning_key: str
    speakers: dict[str, Conditioning] = field(default_factory=dict)
    max_segment_tokens: int | None = None
    xtts: Any = None

    def segmenter(self, language: str) -> Segmenter:
        """A segmenter for one utterance, with this model's limits. Raises UnknownLanguage."""
        code, most = self.frontend.resolve(language), self.runtime.info.max_text_tokens
        return Segmenter(
            code,
            count_tokens=partial(self.frontend.count, language=code),
            max_tokens=most if self.max_segment_tokens is None else min(most, self.max_segment_tokens),
            max_chars=self.frontend.char_limit(code),
        )


def load_runtime(
    choice: ModelChoice, *, num_slots: int, cache_dir: Path, progress: Progress = lambda share, what: None
) -> LoadedRuntime:
    """The weights on their device, with KV memory for `num_slots` rows; blocking.

    A checkpoint that runs on the onnx backend is converted once and kept in `cache_dir`. Raises
    CheckpointError, MissingExtra or ConfigError; what is asked for and not possible is never left out silently.
    """
    folder = model_folder(choice.name)
    if folder is not None and not folder.is_dir():
        raise CheckpointError(
            f"no model is called {choice.name!r}, and there is no such folder; the model is embedded,"
            f" {', '.join(RANDOM_MODELS)} or a folder with config.json, vocab.json and the weights"
        )
    if choice.backend not in BACKENDS:
        raise ConfigError(f"no backend is called {choice.backend!r}; there are {', '.join(BACKENDS)}")
    device = _device(choice.device)
    backend = _backend(choice, device)
    if backend == "torch":
        return _load_torch(choice, device, num_slots)
    for option in ("half", "compile", "deepspeed"):
        if getattr(choice, option):
            raise ConfigError(
                f"XTTS_{option.upper()} is on, and the onnx backend on the {device} has no such thing:"
                " switch it off, or take a GPU and backend torch"
            )
    return _load_onnx(choice, num_slots, cache_dir, progress)


def model_folder(name: str) -> Path | None:
    """The folder a model's name stands for; None for random weights, which need none."""
    if name in RANDOM_MODELS:
        return None
    return EMBEDDED if name == "embedded" else Path(name)


def _backend(choice: ModelChoice, device: str) -> str:
    if choice.backend == "onnx" and device != "cpu":
        raise ConfigError(f"the onnx backend computes on the CPU and device is {device}; take backend torch there")
    if choice.backend != "auto":
        return choice.backend
    return "onnx" if device == "cpu" and find_spec("onnxruntime") else "torch"


def _load_onnx(choice: ModelChoice, num_slots: int, cache_dir: Path, progress: Progress) -> LoadedRuntime:
    runtime_module = need("xtts_rtc.model.onnx.runtime", "cpu")
    bundle_module = need("xtts_rtc.model.onnx.bundle", "cpu")
    folder = model_folder(choice.name)
    is_ready = folder is not None and bundle_module.is_bundle(folder)
    path = folder if is_ready else converted(choice.name, folder, cache_dir, choice.precision, progress)
    # What was made here was checked when it was made; a foreign bundle's checksums are compared at every start.
    bundle = bundle_module.open_bundle(path, is_checked=is_ready)
    note = cache_dir / "vocoders" / f"{_machine_key(bundle)}.txt"
    vocoder = _remembered(note) if choice.vocoder == "auto" else choice.vocoder
    clip = read_clip(DEFAULT_CLIP).pcm if vocoder == "auto" else None
    runtime = runtime_module.OnnxRuntime(bundle, num_slots=num_slots, vocoder=vocoder, trial_clip=clip)
    if choice.vocoder == "auto" and vocoder == "auto":
        _remember(note, runtime.vocoder_name)
    return LoadedRuntime(
        runtime=runtime,
        frontend=frontend_of(bundle.vocabulary(), bundle.pronunciation()),
        backend="onnx",
        precision=f"{bundle.manifest.operator}, kv {bundle.manifest.kv}, vocoder {runtime.vocoder_name}",
        conditioning_key=bundle.manifest.conditioning_key,
        speakers=bundle.speakers(),
        max_segment_tokens=bundle.manifest.max_segment_tokens,
    )


def _machine_key(bundle: Any) -> str:
    """Names this CPU, the packages that could run a vocoder, and the vocoder's weights."""
    packages = [(name, version(name)) for name in ("onnxruntime", "openvino") if find_spec(name)]
    weights = bundle.manifest.files["vocoder.data"].sha256
    return hashlib.sha256(repr((_cpu_model(), packages, weights)).encode()).hexdigest()[:16]


def _cpu_model() -> str:
    """The CPU's name and what it can do; two machines that agree in it time alike."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(next((line for line in lines if line.startswith(key)), "") for key in ("model name", "flags"))


def _remembered(note: Path) -> str:
    """The vocoder that was fastest here before; auto (find out) without a note."""
    try:
        name = note.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return "auto"
    vocoders: tuple[str, ...] = need("xtts_rtc.model.onnx.vocoder", "cpu").VOCODERS
    return name if name in vocoders else "auto"


def _remember(note: Path, name: str) -> None:
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(name + "\n", encoding="utf-8")
    except OSError as error:
        logger.warning("the choice of the vocoder could not be kept in %s: %s", note.parent, error)


def _load_torch(choice: ModelChoice, device: str, num_slots: int) -> LoadedRuntime:
    checkpoint = need("xtts_rtc.model.torch.checkpoint", "torch")
    loaded = checkpoint.load_model(model_folder(choice.name) or choice.name, device=device)
    runtime, precision = _torch_runtime(choice, device, loaded.xtts, num_slots)
    return LoadedRuntime(
        runtime=runtime,
        frontend=frontend_of(loaded.vocab, loaded.pronunciation),
        backend="torch",
        precision=precision,
        conditioning_key=loaded.conditioning_key,
        speakers=loaded.speakers,
        max_segment_tokens=loaded.max_segment_tokens,
        xtts=loaded.xtts,
    )


def _torch_runtime(choice: ModelChoice, device: str, xtts: Any, num_slots: int) -> tuple[Runtime, str]:
    if device == "cpu" and not (choice.half or choice.compile or choice.deepspeed):
        reference: Runtime = need("xtts_rtc.model.torch.runtime", "torch").TorchRuntime(xtts, num_slots=num_slots)
        return reference, "fp32"
    made = need("xtts_rtc.model.torch.cuda", "torch").make_cuda_runtime(
        xtts,
        num_slots=num_slots,
        device=device,
        half=choice.half,
        compile=choice.compile,
        deepspeed=choice.deepspeed,
    )
    return made, made.precision


def _device(device: str) -> str:
    if device == "cpu":
        return device
    if device == "auto" and not _has_nvidia_driver():
        return "cpu"  # without importing torch: that alone takes seconds
    if device == "auto":
        return "cuda" if find_spec("torch") and import_module("torch").cuda.is_available() else "cpu"
    if not need("torch", "torch").cuda.is_available():
        raise ConfigError(f"device {device!r} was asked for, but torch sees no CUDA; use cpu or auto")
    return device


def _has_nvidia_driver() -> bool:
    return any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/dxg"))


__all__ = [
    "BACKENDS",
    "RANDOM_MODELS",
    "LoadedRuntime",
    "ModelChoice",
    "load_runtime",
    "model_folder",
]
