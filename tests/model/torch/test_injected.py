"""Our attention over DeepSpeed's blocks: a stand-in with the calls and the memory habits of DeepSpeed 0.19.8."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

from xtts_rtc.errors import MissingExtra, SetupError  # noqa: E402
from xtts_rtc.model.torch.batched_gpt import BatchedGpt  # noqa: E402
from xtts_rtc.model.torch.injected import injected_layers  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("inference")]


class Workspace:
    """One scratch memory for all results, as its CUDA context has: a result lives until the next call."""

    def __init__(self) -> None:
        self.sizes: tuple[object, ...] = ()
        self.memory = torch.zeros(0)

    def allocate_workspace(self, *sizes: Any) -> None:
        self.sizes = sizes
        width, _, rows = sizes[:3]
        self.memory = torch.zeros(10 * width * rows)

    def lend(self, result: torch.Tensor, offset: int = 0) -> torch.Tensor:
        lent = self.memory[offset : offset + result.numel()].view(result.shape)
        return lent.copy_(result)


class Block:
    """What `DeepSpeedGPTInference` offers, computed plainly."""

    def __init__(self, block: Any, workspace: Workspace, flaw: float) -> None:
        self.workspace, self._plain, self._flaw = workspace, block, flaw
        self.norm_w, self.norm_b = block.ln_1.weight, block.ln_1.bias
        self.attention = SimpleNamespace(
            qkv_func=self._qkv,
            vector_matmul_func=lambda input, weight: workspace.lend(input @ weight),
            attn_qkvw=block.attn.c_attn.weight,
            attn_qkvb=block.attn.c_attn.bias,
            attn_ow=block.attn.c_proj.weight,
            attn_ob=block.attn.c_proj.bias,
        )

    def _qkv(self, *, input: Any, weight: Any, bias: Any, gamma: Any, beta: Any) -> tuple[Any, Any]:
        assert input.dim() == 3
        normed = F.layer_norm(input, input.shape[-1:], gamma, beta)
        return self.workspace.lend(normed @ weight + bias), normed

    def mlp(self, input: Any, residual: Any, residual_norm: None, bias: Any) -> Any:
        block, summed = self._plain, input + residual + bias
        added = block.mlp(block.ln_2(summed)) - block.mlp.c_proj.bias
        self.workspace.lend(added, offset=input.numel())
        return residual.copy_(added * (1 + self._flaw) + summed + block.mlp.c_proj.bias - self._flaw * residual)


class DeepSpeed:
    """The module; `flaw` spoils what its kernels compute."""

    __version__ = "0.19.8"

    def __init__(self, flaw: float = 0.0, error: Exception | None = None) -> None:
        self.workspace, self._flaw, self._error = Workspace(), flaw, error
        self.options: dict[str, object] = {}

    def init_inference(self, *, model: Any, **options: object) -> Any:
        if self._error is not None:
            raise self._error
        self.options = options
        blocks = [Block(block, self.workspace, self._flaw) for block in model.h]
        return SimpleNamespace(module=SimpleNamespace(h=blocks))


@pytest.fixture
def deepspeed(monkeypatch: pytest.MonkeyPatch) -> DeepSpeed:
    module = DeepSpeed()
    monkeypatch.setitem(sys.modules, "deepspeed", module)  # type: ignore[arg-type]
    return module


def test_ragged_rows_over_injected_blocks_equal_the_plain_ones(tiny: Any, deepspeed: DeepSpeed) -> None:
    layers = injected_layers(tiny.gpt, torch.float32, max_rows=405)
    assert deepspeed.options["replace_with_kernel_inject"] is True
    assert deepspeed.workspace.sizes[:3] == (64, 4, 405)
    plain, injected = (BatchedGpt(tiny.gpt, num_slots=3, layers=given) for given in (None, layers))
    rng = torch.Generator().manual_seed(0)
    for slot, num_text in enumerate((5, 100)):
        latents, ids = torch.randn(32, 64, generator=rng) * 0.1, torch.randint(1, 60, (num_text,), generator=rng)
        pairs = zip(*(gpt.prefill(slot, str(slot), latents, ids) for gpt in (plain, injected)), strict=True)
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in pairs)
    for _ in range(10):
        tokens = torch.randint(0, 1024, (2,), generator=rng)
        pairs = zip(*(gpt.step([1, 0], tokens) for gpt in (plain, injected)), strict=True)
        assert all(torch.allclose(a, b, atol=2e-5) for a, b in pairs)


def test_the_model_itself_is_left_as_it_was(tiny: Any, deepspeed: DeepSpeed) -> None:
    before = {name: weight.clone() for name, weight in tiny.gpt.gpt.named_parameters()}
    injected_layers(tiny.gpt, torch.float32, max_rows=405)
    assert all(torch.equal(weight, before[name]) for name, weight in tiny.gpt.gpt.named_parameters())


def test_kernels_that_compute_something_else_are_refused(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", DeepSpeed(flaw=5.0))  # type: ignore[arg-type]
    with pytest.raises(SetupError, match=r"compute something else than the model \(cosine"):
        injected_layers(tiny.gpt, torch.float32, max_rows=405)


def test_what_deepspeed_cannot_do_is_named(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = DeepSpeed(error=OSError("CUDA_HOME does not exist, unable to compile CUDA op(s)"))
    monkeypatch.setitem(sys.modules, "deepspeed", failing)  # type: ignore[arg-type]
    with pytest.raises(SetupError, match=r"OSError: CUDA_HOME does not exist.*switch XTTS_DEEPSPEED off"):
        injected_layers(tiny.gpt, torch.float32, max_rows=405)


def test_without_the_package_the_extra_is_named(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    with pytest.raises(MissingExtra, match=r"xtts-rtc\[deepspeed\]"):
        injected_layers(tiny.gpt, torch.float32, max_rows=405)
