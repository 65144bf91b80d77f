"""After OpenVINO has come and gone a signal is still taken, and not a crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import faulthandler, signal, sys
from pathlib import Path
from xtts_rtc.model.onnx.vocoder import open_vocoder

faulthandler.enable()
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background ignores it
first, second = (open_vocoder(Path(sys.argv[1]), "openvino-fp32", num_threads=1) for _ in range(2))
for vocoder in (first, second):
    vocoder.warm(int(sys.argv[2]))
del vocoder, first  # the one that was compiled first goes first, as one that lost the trial does
del second
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signal stacks are looked after on Linux")
def test_ctrl_c_after_two_models_is_an_interrupt(tiny_bundles: dict[str, Path]) -> None:
    pytest.importorskip("openvino")
    command = [sys.executable, "-c", SCRIPT, str(tiny_bundles["int8-row"]), "64"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr[-2000:]
