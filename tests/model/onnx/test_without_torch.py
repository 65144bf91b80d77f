"""Cloning a voice and speaking where torch and coqui-tts cannot be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

SCRIPT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchaudio", "TTS", "transformers", *sys.argv[4:]):
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
from pathlib import Path
import numpy as np
import soundfile
from xtts_rtc.model.onnx.runtime import OnnxRuntime
from xtts_rtc.model.window import LatentWindow
from xtts_rtc.types import MODEL_HZ, Conditioning

runtime = OnnxRuntime(Path(sys.argv[1]), num_slots=2, num_threads=1, vocoder=sys.argv[3])
pcm, rate = soundfile.read(sys.argv[2], dtype="float32")
import soxr
latents, embedding = runtime.condition([soxr.resample(pcm, rate, MODEL_HZ).astype(np.float32)])
voice = Conditioning("clip", latents, embedding)
window = LatentWindow()
latent, logits = runtime.prefill(1, voice, np.arange(3, 20))
for _ in range(12):
    window.append(latent)
    rows, row_logits = runtime.step(np.array([1]), np.array([int(logits[:1024].argmax())]))
    latent, logits = rows[0], row_logits[0]
cut = window.take(is_end=True)
audio = runtime.decode(cut, voice)
assert not {"torch", "torchaudio", "TTS", "transformers", "onnx"} & set(sys.modules)
print(audio.size, float(np.abs(audio).max()), float(np.linalg.norm(embedding)))
"""


def run(*arguments: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return [float(value) for value in done.stdout.split()]


@pytest.mark.slow
def test_a_voice_is_cloned_and_speaks_with_torch_and_coqui_blocked(tmp_path: Path) -> None:
    """The bundle is written without them, too; `onnx` is needed for that and not for running."""
    folder = ROOT / "xtts_rtc" / "assets" / "embedded"
    writing = f"""
import sys
for name in ("torch", "torchaudio", "TTS"):
    sys.modules[name] = None
from pathlib import Path
from xtts_rtc.model.convert import convert
convert(Path({str(folder)!r}), Path(sys.argv[1]))
"""
    bundle = str(tmp_path / "bundle")
    subprocess.run([sys.executable, "-c", writing, bundle], cwd=ROOT, check=True, timeout=120)
    size, peak, norm = run(bundle, str(folder / "default.wav"), "onnxruntime-fp32", "onnx", "openvino")
    assert size == int(12 * 4 * 24_000 / 22_050) * 256
    assert 0.001 < peak <= 1
    assert norm == pytest.approx(1, abs=1e-5)
