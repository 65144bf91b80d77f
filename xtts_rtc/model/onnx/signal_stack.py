"""Keeps a native library from leaving a signal stack behind that it frees later.

OpenVINO 2026.4 gives the thread that compiles a model a stack for signal handlers (20,144 bytes), and takes it back
when the model goes. With two models the one that goes first leaves the thread a freed stack: the next Ctrl-C is a
segmentation fault (test_signal_stack). A thread needs no such stack, so what it had before is put back at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from typing import Any


class _Stack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("num_bytes", ctypes.c_size_t))


@contextlib.contextmanager
def kept_signal_stack() -> Iterator[None]:
    """This thread has the same signal stack afterwards as before. Does nothing but on Linux."""
    if not sys.platform.startswith("linux"):
        yield
        return
    libc: Any = ctypes.CDLL(None)
    before = _Stack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)


__all__ = ["kept_signal_stack"]
