"""`Runtime` for a GPU: batched decode steps, half weights, CUDA graphs, `torch.compile`, DeepSpeed's kernels.

Everything but graph capture, the side stream and DeepSpeed runs on a CPU through the same code, in float32. What
is asked for and cannot be done here raises at construction; nothing is left out silently. `precision` says what
came of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from xtts_rtc.errors import ConfigError, SetupError
from xtts_rtc.model.interface import never
from xtts_rtc.model.torch.batched_gpt import BUCKETS, BatchedGpt
from xtts_rtc.model.torch.injected import injected_layers
from xtts_rtc.model.torch.layers import step_layer
from xtts_rtc.model.torch.runtime import TorchSteps, condition
from xtts_rtc.model.torch.static_step import GraphRecorder, play_eagerly
from xtts_rtc.model.torch.streamed_vocoder import StreamedVocoder, convolutions
from xtts_rtc.model.window import Window
from xtts_rtc.types import Conditioning, Float32

HalfDtype = Literal["float16", "bfloat16"]

_SHORT = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


class CudaRuntime(TorchSteps):
    """An `Xtts` of coqui-tts 0.28.0 with its GPT batched; made by `make_cuda_runtime`.

    `precision` names number formats and ways of running, for tables: "fp16, vocoder tf32, cuda graphs".
    """

    def __init__(self, xtts: Any, gpt: BatchedGpt, vocoder: StreamedVocoder, *, num_slots: int, precision: str) -> None:
        super().__init__(xtts, gpt, num_slots=num_slots)
        self._vocoder, self.precision = vocoder, precision

    @property
    def kv_bytes(self) -> int:
        """Device memory of the slots' keys and values."""
        return self._gpt.kv_bytes

    @torch.inference_mode()
    def decode(self, window: Window, voice: Conditioning, is_unwanted: Callable[[], bool] = never) -> Float32:
        speaker = torch.from_numpy(voice.speaker_embedding)
        return window.cut(self._vocoder.launch(torch.from_numpy(window.frames), speaker, window.rest).wait())

    @torch.inference_mode()
    def condition(self, clips: list[Float32]) -> tuple[Float32, Float32]:
        with convolutions(allow_tf32=False):  # once per voice, and kept: worth being exact
            return condition(self._xtts, clips)


def make_cuda_runtime(
    xtts: Any,
    *,
    num_slots: int,
    device: str | torch.device,
    half: bool = False,
    compile: bool = False,
    deepspeed: bool = False,
    use_graphs: bool = True,
    half_dtype: HalfDtype = "float16",
    buckets: Sequence[int] = BUCKETS,
) -> CudaRuntime:
    """xtts: `TTS.tts.models.xtts.Xtts`, eval mode, already on `device`; only read.

    half: GPT linears, attention and KV memory in `half_dtype` and the vocoder in TF32; norms, residual stream,
    latents and logits stay float32. compile: `torch.compile` of a block, once per shape. deepspeed: its kernels
    in place of the block's linears, without compile and without graphs. use_graphs: a CUDA graph per batch size
    and length; a CPU never captures. Builds all of that before it returns.

    Raises ConfigError for what cannot be combined or not be done on `device`, MissingExtra without DeepSpeed's
    package, SetupError when compiling, capturing or injecting fails, with the cause.
    """
    device = torch.device(device)
    _need_possible(xtts, device, half=half, half_dtype=half_dtype, compile=compile, deepspeed=deepspeed)
    dtype: torch.dtype = getattr(torch, half_dtype) if half else torch.float32
    is_captured = use_graphs and device.type == "cuda" and not deepspeed
    num_shapes = (num_slots.bit_length() + 1) * (len(buckets) + 1)
    with torch.inference_mode():
        gpt = BatchedGpt(
            xtts.gpt,
            num_slots=num_slots,
            dtype=dtype,
            buckets=buckets,
            layers=injected_layers(xtts.gpt, dtype, max_rows=_max_rows(xtts.gpt, num_slots)) if deepspeed else None,
            step_layer=_compiled(num_shapes) if compile else step_layer,
            record=GraphRecorder(device) if is_captured else play_eagerly,
        )
        vocoder = StreamedVocoder(xtts.hifigan_decoder, allow_tf32=half)
        if compile or is_captured:
            _prepare(gpt, compile=compile, is_captured=is_captured)
    precision = _precision(dtype, deepspeed=deepspeed, compile=compile, is_captured=is_captured)
    return CudaRuntime(xtts, gpt, vocoder, num_slots=num_slots, precision=precision)


def _precision(dtype: torch.dtype, *, deepspeed: bool, compile: bool, is_captured: bool) -> str:
    ways = {"deepspeed": deepspeed, "compile": compile, "cuda graphs": is_captured}
    how = " + ".join(name for name, is_on in ways.items() if is_on) or "eager"
    return f"{_SHORT[dtype]}, vocoder {'fp32' if dtype is torch.float32 else 'tf32'}, {how}"


def _need_possible(
    xtts: Any, device: torch.device, *, half: bool, half_dtype: HalfDtype, compile: bool, deepspeed: bool
) -> None:
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {str(device)!r} was asked for, but torch sees no CUDA; use cpu or auto")
    if device.type not in ("cuda", "cpu"):
        raise ConfigError(f"device {str(device)!r} is neither cuda nor cpu; other accelerators are not supported")
    if half and device.type == "cpu":
        # torch computes half on a CPU, but without matching instructions it is slower than float32.
        raise ConfigError("XTTS_HALF is on and the device is cpu; half is for CUDA: switch it off, or use a GPU")
    if half and half_dtype == "bfloat16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        name = torch.cuda.get_device_name(device)
        raise ConfigError(f"bfloat16 was asked for, but {name} only imitates it; use float16")
    if deepspeed and device.type == "cpu":
        raise ConfigError("XTTS_DEEPSPEED is on and the device is cpu; its kernels need CUDA: switch it off")
    if deepspeed and compile:
        raise ConfigError("XTTS_DEEPSPEED and XTTS_COMPILE are both on; both replace the same layers: choose one")
    here = xtts.gpt.mel_head.weight.device
    if here.type != device.type or device.index not in (None, here.index):
        raise ConfigError(f"the weights are on {here} and the device is {device}; load them with that device")


def _max_rows(gpt: Any, num_slots: int) -> int:
    """The most rows one call of a layer has: a whole prefill, or a step of all slots."""
    num_text: int = gpt.max_text_tokens
    return max(num_text + 1, num_slots)


def _compiled(num_shapes: int) -> Any:
    """`step_layer` compiled once per shape. No mode with graphs of its own: those are `GraphRecorder`'s.

    `fullgraph` makes what cannot be compiled an error, and the limit holds for every shape there is: past it
    torch would go on uncompiled without a word.
    """
    options: dict[str, Any] = {
        "fullgraph": True,
        "dynamic": False,
        "recompile_limit": num_shapes + 1,
    }  # not in its stubs
    return torch.compile(step_layer, **options)


def _prepare(gpt: BatchedGpt, *, compile: bool, is_captured: bool) -> None:
    try:
        gpt.prepare()
    except torch.OutOfMemoryError as error:
        raise SetupError(f"the GPU's memory is full ({error}); lower max_streams or set XTTS_HALF") from error
    except Exception as error:  # dynamo, inductor, Triton, the C++ compiler and the driver each raise their own
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        what = "XTTS_COMPILE is on, but torch.compile" if compile else "CUDA graphs are on, but the capture"
        remedy = "switch XTTS_COMPILE off" if compile else "make the runtime with use_graphs=False"
        both = " and the capture of its result" if compile and is_captured else ""
        raise SetupError(f"{what}{both} failed here ({reason}); install what it names, or {remedy}") from error


__all__ = ["CudaRuntime", "HalfDtype", "make_cuda_runtime"]
