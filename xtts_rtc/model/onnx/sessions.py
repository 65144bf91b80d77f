"""Where every thread count and spin setting of the CPU runtime is set.

Importing sets nothing. OpenBLAS (numpy's matrix products) cannot be told after numpy is loaded, so nothing in
the decode loop uses it: with its threads beside onnxruntime's the loop was 3.6 times slower (2 cores).
"""

from __future__ import annotations

import os
from pathlib import Path

import onnxruntime as ort

from xtts_rtc.errors import CheckpointError


def num_threads_here() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_session(path: Path, *, num_threads: int) -> ort.InferenceSession:
    """An onnxruntime session on the CPU. Raises CheckpointError for a graph that cannot be loaded."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads spin within a run (a step has hundreds of small operators) but not after it, where they would
    # take the cores from the vocoder and the sampler.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises types of its own that share no public root
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} cannot be loaded by onnxruntime {ort.__version__}: {reason}") from None


__all__ = ["num_threads_here", "open_session"]
