"""Frames to samples: the vocoder graph on onnxruntime or OpenVINO, whichever is faster here.

Takes any number of frames and gives exactly what the plain graph gives for them (test_vocoder). Knows no
streams and no latents. Engine thread only.
"""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from xtts_rtc.errors import CheckpointError, ConfigError, MissingExtra
from xtts_rtc.model.interface import never
from xtts_rtc.model.onnx.sessions import open_session
from xtts_rtc.model.onnx.signal_stack import kept_signal_stack
from xtts_rtc.model.window import CONTEXT_FRAMES
from xtts_rtc.types import FRAME_SAMPLES, Float32

VOCODERS = ("onnxruntime-fp32", "openvino-bf16", "openvino-mixed", "openvino-fp32")
"""Mixed: bf16 in the second and third of four stages, where two thirds of the work are. The first stage and the
last lose most in bf16: 35 dB against fp32 in all, 43 dB without them (real latents, random full-size weights)."""
MIN_SNR_DB = 40.0
"""What a vocoder must reach against fp32 to be chosen."""
WORTH = 1.25
"""How many times faster a less exact vocoder must be: bf16 also starts slower (2.3 s of warming against 1.2 s)."""
PADDED_FRAMES = (32, 48, 64, 80, 104, 128, 160)
"""Lengths OpenVINO is given: one it has not seen costs it 0.3 s (32 frames) to 1 s (160). With 26 frames of
context they are the windows of a first chunk of up to 8 tokens, and of 5, 8, 12, 17, 23 and 30 tokens."""
MAX_FRAMES = PADDED_FRAMES[-1]
"""Longer input is decoded in pieces of this length, overlapping by the receptive field."""

_WARMING_ORDER = (64, 32, 160, 48, 104, 80, 128)
"""Enough to begin with, then what helps most; until all are warm the next longer one is used."""
_ASK_MS = 4
"""How often a running window asks whether anybody still wants it."""
_MENDING_FRAMES = (3, 5)
"""Lengths that no window has; each costs 10 ms, and 70 ms the first time."""
TRIAL_FRAMES = 64
_TRIALS = 3


class VocoderGraph(Protocol):
    """One compiled vocoder: up to `MAX_FRAMES` frames at a time."""

    def __call__(self, frames: Float32, speaker: Float32, is_unwanted: Callable[[], bool] = never) -> Float32:
        """frames [D, F], speaker [512] to pcm [F * 256]; anything once `is_unwanted` says so."""
        ...

    @property
    def max_frames(self) -> int:
        """The longest input it takes now; longer ones go in pieces."""
        ...

    def warm(self, width: int) -> bool:
        """Make one more length fast; `width` is D. False when all are."""
        ...


class OnnxVocoder:
    """fp32 on onnxruntime; any length is as good as any other."""

    def __init__(self, folder: Path, *, num_threads: int) -> None:
        self._session = open_session(folder / "vocoder.onnx", num_threads=num_threads)

    def __call__(self, frames: Float32, speaker: Float32, is_unwanted: Callable[[], bool] = never) -> Float32:
        feed = {"z": np.ascontiguousarray(frames[None]), "speaker": speaker.reshape(1, -1, 1)}
        return np.asarray(self._session.run(["pcm"], feed)[0][0, 0], np.float32)

    @property
    def max_frames(self) -> int:
        return MAX_FRAMES

    def warm(self, width: int) -> bool:
        return False


class OpenVinoVocoder:
    """On OpenVINO, lengths padded to `PADDED_FRAMES`; the padding is masked in every layer.

    precision: "f32", "bf16" (on a CPU without AMX the slower one) or "mixed".
    """

    def __init__(self, folder: Path, *, precision: str, num_threads: int) -> None:
        parts = dict.fromkeys(("vocoder_padded",), precision)
        if precision == "mixed":
            parts = {"vocoder_head": "f32", "vocoder_body": "bf16", "vocoder_tail": "f32"}
        self._requests = [_compile(folder / f"{name}.onnx", hint, num_threads) for name, hint in parts.items()]
        self._warmed: list[int] = []
        self._is_torn = False
        self._mending = list(_MENDING_FRAMES)

    @property
    def max_frames(self) -> int:
        return max(self._warmed, default=MAX_FRAMES)

    def __call__(self, frames: Float32, speaker: Float32, is_unwanted: Callable[[], bool] = never) -> Float32:
        width, length = frames.shape
        if self._is_torn:
            self._mend(width)
        x = np.zeros((1, width, padded_length(length, self._warmed)), np.float32)
        x[0, :, :length] = frames
        return self._run(x, speaker, length, is_unwanted)

    def _run(self, x: Float32, speaker: Float32, length: int, is_unwanted: Callable[[], bool]) -> Float32:
        self._is_torn = True  # until its end is reached
        given = {"speaker": speaker.reshape(1, -1, 1), "length": np.array([length], np.int64)}
        for index, request in enumerate(self._requests):
            request.start_async({"x" if index else "z": x, **given}, share_inputs=True)
            while not request.wait_for(_ASK_MS):
                if is_unwanted():
                    request.cancel()
                    break
            if is_unwanted():
                _let_end(request)
                return np.zeros(0, np.float32)
            x = request.get_output_tensor(0).data
        self._is_torn = False
        # The output tensor is the request's own memory: copy before the next call overwrites it.
        return np.array(x[0, 0, : length * FRAME_SAMPLES], np.float32)

    def _mend(self, width: int) -> None:
        """Make the graph whole again after an inference that was stopped half-way.

        OpenVINO 2026.4 then takes a node for unchanged whose input is as long as in its last whole inference,
        though its output was resized since: the next window fails, or is wrong without a word. A length that no
        node has seen last, hence two that take turns, makes every node look anew.
        """
        self._mending.reverse()
        length = self._mending[0]
        self._run(np.zeros((1, width, length), np.float32), np.zeros(512, np.float32), length, never)

    def warm(self, width: int) -> bool:
        cold = [length for length in _WARMING_ORDER if length not in self._warmed]
        if cold:
            self._warmed.append(cold[0])
            self(np.zeros((width, cold[0]), np.float32), np.zeros(512, np.float32))
        if len(cold) == 1:
            for _ in _MENDING_FRAMES:
                self._mend(width)
        return len(cold) > 1


def _let_end(request: Any) -> None:
    """A cancelled request ends with an exception that says so, or with its result if it was nearly done."""
    with contextlib.suppress(RuntimeError):
        request.wait()


def _compile(path: Path, precision: str, num_threads: int) -> Any:
    import openvino

    options = {
        "INFERENCE_NUM_THREADS": num_threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }
    try:
        with kept_signal_stack():
            return openvino.Core().compile_model(str(path), "CPU", options).create_infer_request()
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path} cannot be loaded by openvino: {reason}") from None


@dataclass(frozen=True, slots=True)
class Trial:
    """One vocoder tried at start: its name, seconds per second of audio, and SNR against fp32 in dB."""

    name: str
    rtf: float
    snr_db: float


def padded_length(num_frames: int, lengths: Sequence[int] = ()) -> int:
    """The smallest of `lengths` (by default `PADDED_FRAMES`) that holds so many frames."""
    return min(size for size in lengths or PADDED_FRAMES if size >= num_frames)


def decode_long(
    graph: Callable[[Float32, Float32], Float32], frames: Float32, speaker: Float32, max_frames: int = MAX_FRAMES
) -> Float32:
    """Any number of frames [D, F] through a graph that takes at most `max_frames`, to pcm [F * 256].

    Pieces overlap by the receptive field on both sides, and what is within it of a cut is dropped.
    """
    total = frames.shape[1]
    if total <= max_frames:
        return graph(frames, speaker)
    pieces, done = [], 0
    while done < total:
        left = max(0, done - CONTEXT_FRAMES)
        right = min(total, left + max_frames)
        stop = total if right == total else right - CONTEXT_FRAMES
        pcm = graph(frames[:, left:right], speaker)
        pieces.append(pcm[(done - left) * FRAME_SAMPLES : (stop - left) * FRAME_SAMPLES])
        done = stop
    return np.concatenate(pieces)


def open_vocoder(folder: Path, name: str, *, num_threads: int) -> VocoderGraph:
    """A vocoder by its name in `VOCODERS`. Raises MissingExtra or ConfigError."""
    if name not in VOCODERS:
        raise ConfigError(f"no vocoder is called {name!r}; there are auto, {', '.join(VOCODERS)}")
    if name == "onnxruntime-fp32":
        return OnnxVocoder(folder, num_threads=num_threads)
    if importlib.util.find_spec("openvino") is None:
        raise MissingExtra(f"the vocoder {name} needs openvino; install xtts-rtc[openvino] or choose onnxruntime-fp32")
    precision = {"openvino-bf16": "bf16", "openvino-mixed": "mixed", "openvino-fp32": "f32"}[name]
    return OpenVinoVocoder(folder, precision=precision, num_threads=num_threads)


def choose_vocoder(
    folder: Path,
    frames: Float32,
    speaker: Float32,
    *,
    num_threads: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[VocoderGraph, tuple[Trial, ...]]:
    """The fastest vocoder on this CPU of those within `MIN_SNR_DB` of fp32, and what the trial showed.

    frames [D, F], speaker [512]: what the model really says; on white noise bf16 looks 7 dB better than it is.
    """
    reference = open_vocoder(folder, VOCODERS[0], num_threads=num_threads)
    truth = reference(frames, speaker)
    graphs, trials = {VOCODERS[0]: reference}, []
    if importlib.util.find_spec("openvino") is not None:
        graphs |= {name: open_vocoder(folder, name, num_threads=num_threads) for name in VOCODERS[1:]}
    for name, graph in graphs.items():
        snr_db = signal_to_noise_db(truth, graph(frames, speaker))
        trials.append(Trial(name, _best_s(graph, frames, speaker, clock) / (truth.size / 24_000), snr_db))
    return graphs[best_of(trials)], tuple(trials)


def best_of(trials: Sequence[Trial]) -> str:
    """The fastest within `MIN_SNR_DB`; one further from fp32 only if it is `WORTH` times faster."""
    best: Trial | None = None
    for trial in sorted(trials, key=lambda trial: -trial.snr_db):
        if best is None or (trial.snr_db >= MIN_SNR_DB and trial.rtf * WORTH < best.rtf):
            best = trial
    assert best is not None
    return best.name


def signal_to_noise_db(truth: Float32, pcm: Float32) -> float:
    """How far `pcm` is from `truth`, in dB; 200 where they are equal."""
    noise = float(np.sum((truth.astype(np.float64) - pcm) ** 2))
    signal = float(np.sum(truth.astype(np.float64) ** 2))
    return 200.0 if noise == 0 else float(10 * np.log10(max(signal, 1e-30) / noise))


def _best_s(graph: VocoderGraph, frames: Float32, speaker: Float32, clock: Callable[[], float]) -> float:
    """The shortest of a few runs: what else the machine does can only add."""
    times = []
    for _ in range(_TRIALS):
        start = clock()
        graph(frames, speaker)
        times.append(clock() - start)
    return min(times)


__all__ = [
    "MAX_FRAMES",
    "MIN_SNR_DB",
    "PADDED_FRAMES",
    "TRIAL_FRAMES",
    "VOCODERS",
    "WORTH",
    "OnnxVocoder",
    "OpenVinoVocoder",
    "Trial",
    "VocoderGraph",
    "best_of",
    "choose_vocoder",
    "decode_long",
    "open_vocoder",
    "padded_length",
    "signal_to_noise_db",
]
