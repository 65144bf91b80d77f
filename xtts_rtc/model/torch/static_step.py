"""A decode step at one batch size and one length, on buffers that never move.

What a CUDA graph needs and an eager step does not mind, so both run through here: on a CPU, or with graphs
switched off, `play` is the work itself; with graphs it is the replay of its capture.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Work = Callable[[], None]
Recorder = Callable[[Work], Work]
"""Takes work on fixed buffers and returns what repeats it."""

_NUM_WARM_UPS = 3  # cuBLAS, cuDNN and Triton allocate and tune in their first calls, which a capture cannot hold


class StaticStep:
    """`work(inputs)` behind fixed buffers.

    inputs int64 of the given shape; `work` gives the outputs, always of one shape and dtype.
    """

    def __init__(self, work: Callable[[Tensor], Tensor], example: Tensor, record: Recorder) -> None:
        self._inputs = example.clone()
        self._outputs = torch.empty_like(work(self._inputs))
        self._play = record(self._fill(work))

    def __call__(self, inputs: Tensor) -> Tensor:
        """The outputs for `inputs`; they are overwritten by the next call. Raises ValueError for another shape."""
        if inputs.shape != self._inputs.shape or inputs.dtype != self._inputs.dtype:
            raise ValueError(
                f"this step is fixed to {_describe(self._inputs)} and was given {_describe(inputs)}; "
                "a captured graph cannot change its shape, pick the step by its batch size and length"
            )
        self._inputs.copy_(inputs, non_blocking=True)
        self._play()
        return self._outputs

    def _fill(self, work: Callable[[Tensor], Tensor]) -> Work:
        def fill() -> None:
            self._outputs.copy_(work(self._inputs))

        return fill


def play_eagerly(work: Work) -> Work:
    """No capture: the work is repeated by doing it."""
    return work


class GraphRecorder:
    """Captures work as CUDA graphs that share one memory pool. Needs CUDA; capture before streams speak.

    The graphs must be replayed one after another, as the engine's one thread does: they share their memory.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Work) -> Work:
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            for _ in range(_NUM_WARM_UPS):
                work()
        current.wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            work()
        replay: Work = graph.replay
        return replay


def _describe(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


__all__ = ["GraphRecorder", "Recorder", "StaticStep", "Work", "play_eagerly"]
