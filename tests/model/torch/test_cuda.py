"""The GPU runtime: what it refuses, what it reports, and that it equals the reference through the same code."""

from __future__ import annotations

import copy
import shutil
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.engine.fake_runtime import Listener  # noqa: E402
from xtts_rtc.engine.worker import XttsBackend  # noqa: E402
from xtts_rtc.errors import ConfigError, SetupError  # noqa: E402
from xtts_rtc.model.interface import Runtime  # noqa: E402
from xtts_rtc.model.torch import cuda  # noqa: E402
from xtts_rtc.model.torch.cuda import CudaRuntime, make_cuda_runtime  # noqa: E402
from xtts_rtc.model.torch.runtime import TorchRuntime  # noqa: E402
from xtts_rtc.model.window import Window  # noqa: E402
from xtts_rtc.types import Conditioning, Float32, SamplingParams, Segment, StreamRequest  # noqa: E402

pytestmark = pytest.mark.slow

VOICE = Conditioning(
    "voice",
    np.random.default_rng(0).normal(size=(32, 64)).astype(np.float32) * np.float32(0.1),
    np.random.default_rng(1).normal(size=512).astype(np.float32),
)


def drive(runtime: Runtime, num_steps: int = 12) -> tuple[Float32, Float32]:
    """Two rows of different lengths, the same tokens for every runtime: all latents and logits."""
    rng = np.random.default_rng(3)
    rows = [runtime.prefill(slot, VOICE, rng.integers(1, 60, num_text)) for slot, num_text in enumerate((70, 9))]
    rows += [
        (latents[row], logits[row])
        for latents, logits in (runtime.step(np.array([1, 0]), rng.integers(0, 1024, 2)) for _ in range(num_steps))
        for row in range(2)
    ]
    latents, logits = zip(*rows, strict=True)
    return np.stack(latents), np.stack(logits)


def assert_equal(runtime: Runtime, reference: Runtime, atol: float = 1e-5) -> None:
    for got, wanted in zip(drive(runtime), drive(reference), strict=True):
        np.testing.assert_allclose(got, wanted, atol=atol)


def least_cosine(a: Float32, b: Float32) -> float:
    return float(((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).min())


@pytest.fixture
def runtime(tiny: Any) -> CudaRuntime:
    return make_cuda_runtime(tiny, num_slots=3, device="cpu")


@pytest.fixture
def reference(tiny: Any) -> TorchRuntime:
    return TorchRuntime(tiny, num_slots=3)


def test_latents_logits_and_audio_equal_the_reference(runtime: CudaRuntime, reference: TorchRuntime) -> None:
    assert_equal(runtime, reference)
    window = Window(np.random.default_rng(2).normal(size=(64, 40)).astype(np.float32), 13, 27)
    np.testing.assert_allclose(runtime.decode(window, VOICE), reference.decode(window, VOICE), atol=1e-6)
    assert (runtime.info, runtime.num_slots) == (reference.info, reference.num_slots)


def test_results_are_not_overwritten_by_the_next_step(runtime: CudaRuntime) -> None:
    runtime.prefill(0, VOICE, np.arange(1, 9))
    latents, logits = runtime.step(np.array([0]), np.array([5]))
    kept = latents.copy(), logits.copy()
    runtime.step(np.array([0]), np.array([6]))
    assert np.array_equal(latents, kept[0])
    assert np.array_equal(logits, kept[1])


def test_a_voice_is_conditioned_as_by_the_reference(runtime: CudaRuntime, reference: TorchRuntime) -> None:
    clip = np.random.default_rng(4).normal(size=3 * 22_050).astype(np.float32) * np.float32(0.1)
    for got, wanted in zip(runtime.condition([clip]), reference.condition([clip]), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)


class Voices:
    def known(self, voice: str) -> Conditioning:
        return VOICE

    def get(self, voice: str) -> Conditioning:
        return VOICE


class Frontend:
    def resolve(self, language: str) -> str:
        return language

    def encode(self, text: str, language: str) -> list[int]:
        return [1 + ord(character) % 50 for character in text]

    def is_unreadable(self, ids: list[int]) -> bool:
        return False


def test_the_engine_says_the_same_with_it_for_three_streams_at_once(
    runtime: CudaRuntime, reference: TorchRuntime
) -> None:
    spoken = []
    for model in (runtime, reference):
        engine = XttsBackend(model, Frontend(), Voices())  # type: ignore[arg-type]
        try:
            listeners = []
            for seed in (0, 1, 6):
                listener = Listener()
                request = StreamRequest(sampling=SamplingParams(seed=seed), is_realtime=False)
                stream = engine.open(request, listener)
                text = "hello, this is a test." * (1 + seed % 3)
                engine.say(stream, Segment(0, text, text))
                engine.end(stream)
                engine.consumed(stream, 10**9)
                listeners.append(listener)
            assert all(listener.is_over.wait(60) for listener in listeners)
            spoken.append([listener.pcm for listener in listeners])
        finally:
            engine.close()
    for got, wanted in zip(*spoken, strict=True):
        assert got.shape == wanted.shape
        assert got.size > 0
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_it_says_what_it_is(runtime: CudaRuntime) -> None:
    assert runtime.precision == "fp32, vocoder fp32, eager"
    name = cuda._precision(torch.float16, deepspeed=False, compile=True, is_captured=True)
    assert name == "fp16, vocoder tf32, compile + cuda graphs"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"half": True}, "XTTS_HALF is on and the device is cpu"),
        ({"deepspeed": True}, "XTTS_DEEPSPEED is on and the device is cpu"),
        ({"device": "meta"}, "neither cuda nor cpu"),
    ],
)
def test_what_a_cpu_cannot_do_is_refused(tiny: Any, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_cuda_runtime(tiny, **{"num_slots": 1, "device": "cpu", **asked})


def test_cuda_without_a_gpu_is_refused(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="torch sees no CUDA"):
        make_cuda_runtime(tiny, num_slots=1, device="cuda:0", half=True)


def test_on_cuda_contradictions_are_refused_before_any_work(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")
    with pytest.raises(ConfigError, match="both replace the same layers: choose one"):
        make_cuda_runtime(tiny, num_slots=1, device="cuda", compile=True, deepspeed=True)
    with pytest.raises(ConfigError, match="Old GPU only imitates it; use float16"):
        make_cuda_runtime(tiny, num_slots=1, device="cuda", half=True, half_dtype="bfloat16")
    with pytest.raises(ConfigError, match="the weights are on cpu and the device is cuda"):
        make_cuda_runtime(tiny, num_slots=1, device="cuda")


@pytest.fixture
def quiet_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The compiler's progress bar and its pool of workers leave threads behind."""
    from torch._inductor import config

    monkeypatch.setattr("tqdm.tqdm.monitor_interval", 0)
    with config.patch(compile_threads=1):
        yield


@pytest.mark.usefixtures("quiet_compiler")
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of torch's compiler
def test_the_compiled_step_equals_the_reference_and_is_never_compiled_again(tiny: Any, reference: TorchRuntime) -> None:
    runtime = make_cuda_runtime(tiny, num_slots=2, device="cpu", compile=True, buckets=())
    assert runtime.precision == "fp32, vocoder fp32, compile"
    with torch.compiler.set_stance("fail_on_recompile"):
        assert_equal(runtime, reference)
        failures: list[BaseException] = []
        thread = threading.Thread(target=_catch, args=(lambda: drive(runtime), failures))  # as the engine's thread does
        thread.start()
        thread.join(60)
    assert failures == []


def _catch(work: Any, failures: list[BaseException]) -> None:
    try:
        work()
    except BaseException as error:
        failures.append(error)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_cannot_be_compiled_is_an_error_with_its_cause(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def uncompilable(*args: Any) -> Any:
        print("a break in the graph", args[1].sum().item())
        return args[1]

    monkeypatch.setattr(cuda, "step_layer", uncompilable)
    with pytest.raises(SetupError, match=r"XTTS_COMPILE is on, but torch\.compile failed here \(Unsupported"):
        make_cuda_runtime(tiny, num_slots=1, device="cpu", compile=True, buckets=())


@pytest.fixture(scope="module")
def tiny_on_cuda(tiny: Any) -> Any:
    return copy.deepcopy(tiny).to("cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("use_graphs", [False, True])
def test_on_cuda_float32_equals_the_reference(tiny_on_cuda: Any, reference: TorchRuntime, use_graphs: bool) -> None:
    runtime = make_cuda_runtime(tiny_on_cuda, num_slots=3, device="cuda", use_graphs=use_graphs)
    assert runtime.precision == f"fp32, vocoder fp32, {'cuda graphs' if use_graphs else 'eager'}"
    assert_equal(runtime, reference, atol=1e-3)
    window = Window(np.random.default_rng(2).normal(size=(64, 40)).astype(np.float32), 13, 27)
    np.testing.assert_allclose(runtime.decode(window, VOICE), reference.decode(window, VOICE), atol=1e-3)


@pytest.mark.gpu
def test_on_cuda_a_graph_replays_what_eager_steps_compute(tiny_on_cuda: Any) -> None:
    eager, captured = (
        make_cuda_runtime(tiny_on_cuda, num_slots=3, device="cuda", half=True, use_graphs=use_graphs)
        for use_graphs in (False, True)
    )
    assert captured.precision == "fp16, vocoder tf32, cuda graphs"
    wanted, got, again = drive(eager)[0], drive(captured)[0], drive(captured)[0]
    assert least_cosine(got, wanted) >= 0.9999  # not equal: cuBLAS may choose otherwise under capture
    assert np.array_equal(again, got)  # replays leave no trace


@pytest.mark.gpu
@pytest.mark.usefixtures("quiet_compiler")
@pytest.mark.parametrize("half_dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_on_cuda_half_stays_close_to_the_reference(
    tiny_on_cuda: Any, reference: TorchRuntime, half_dtype: Any, compile: bool
) -> None:
    runtime = make_cuda_runtime(
        tiny_on_cuda, num_slots=2, device="cuda", half=True, half_dtype=half_dtype, compile=compile, buckets=(128,)
    )
    assert least_cosine(drive(runtime)[0], drive(reference)[0]) >= 0.999


@pytest.mark.gpu
def test_on_cuda_deepspeed_equals_the_reference_or_says_why_not(tiny_on_cuda: Any, reference: TorchRuntime) -> None:
    pytest.importorskip("deepspeed")
    try:
        runtime = make_cuda_runtime(tiny_on_cuda, num_slots=2, device="cuda", half=True, deepspeed=True)
    except SetupError as error:
        assert "XTTS_DEEPSPEED" in error.message
        pytest.skip(error.message)
    assert runtime.precision == "fp16, vocoder tf32, deepspeed"
    assert least_cosine(drive(runtime)[0], drive(reference)[0]) >= 0.999
