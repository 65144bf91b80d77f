"""Windows to samples: the vocoder's graphs on onnxruntime or OpenVINO, whichever is faster here.

A window's context is needed by the first of four upsampling stages, where most of the receptive field is and a
quarter of the work; from there on only what the new samples depend on is computed. Knows no streams and no
latents. Engine thread only.
"""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from xtts_rtc.errors import CheckpointError, ConfigError, MissingExtra
from xtts_rtc.model.interface import never
from xtts_rtc.model.onnx.sessions import open_session
from xtts_rtc.model.onnx.signal_stack import kept_signal_stack
from xtts_rtc.model.window import CONTEXT_FRAMES, REST_CONTEXT_FRAMES, Window
from xtts_rtc.types import Float32

_RECIPES = {
    "openvino-bf16": (("head", "bf16"), ("trunk", "bf16"), ("post", "f32")),
    "openvino-tail32": (("head", "bf16"), ("body", "bf16"), ("tail", "f32")),
    "openvino-head32": (("head", "f32"), ("trunk", "bf16"), ("post", "f32")),
    "openvino-mixed": (("head", "f32"), ("body", "bf16"), ("tail", "f32")),
    "openvino-fp32": (("head", "f32"), ("body", "f32"), ("tail", "f32")),
}
VOCODERS = ("onnxruntime-fp32", *_RECIPES)
"""By name; the parts of vocoder_graph.PARTS and their number formats. On what models really say, bf16 in the
first stage keeps 32 dB of a small trained voice, bf16 in the last 40 dB of random full-size weights."""
MIN_SNR_DB = 40.0
"""What a vocoder must reach against fp32 to be chosen."""
WORTH = 1.15
"""How many times faster a less exact vocoder must be: bf16 also starts slower (2.3 s of warming against 1.2 s)."""
HEAD_FRAMES = (32, 40, 48, 64, 80, 104, 128, 160)
"""Lengths OpenVINO is given: one it has not seen costs it 0.3 s (32 frames) to 1 s (160). With 26 frames of
context they are the windows of a first chunk of up to 7 tokens, and of 3, 5, 8, 12, 17, 23 and 30 tokens. Longer
windows are decoded in pieces."""
REST_FRAMES = (18, 22, 28, 40, 58, 80, 106, 136)
"""The same windows behind the head."""

_WARMING_ORDER = (3, 0, 1, 7, 2, 5, 4, 6)
"""Enough to begin with, then what helps most; until all are warm the next longer one is used."""
_ASK_MS = 4
"""How often a running window asks whether anybody still wants it."""
_MENDING_FRAMES = (3, 5)
"""Lengths that no window has."""
_SCALES = {"head": 1, "trunk": 8, "body": 8, "tail": 128, "post": 256}
"""Values that a frame has where a part begins."""
TRIAL_FRAMES = 64
_TRIALS = 3


class Part(Protocol):
    """One piece of the generator."""

    def __call__(self, x: Float32, speaker: Float32, num_frames: int, is_unwanted: Callable[[], bool]) -> Float32:
        """x [1, C, F * k] to [1, C', F * k'], speaker [512]; valid until the next call. Empty once unwanted."""
        ...

    def mend(self) -> None:
        """Make it whole again after a call that was stopped half-way; the next call would do it."""
        ...


@dataclass(slots=True)
class Vocoder:
    """The parts in a row. `warmed` are indices of HEAD_FRAMES; None where any length is as good as any other."""

    parts: list[Part]
    warmed: list[int] | None = None

    def __call__(self, window: Window, speaker: Float32, is_unwanted: Callable[[], bool] = never) -> Float32:
        """The window's new samples [N], speaker [512]; none once `is_unwanted` says so."""
        pieces = list(_pieces(window, self._longest(HEAD_FRAMES), self._longest(REST_FRAMES)))
        pcm = [self._piece(piece, speaker, is_unwanted) for piece in pieces]
        return np.concatenate(pcm) if len(pcm) > 1 else pcm[0]

    def warm(self, width: int) -> bool:
        """Make one more length fast; `width` is D. False when all are."""
        cold = [index for index in _WARMING_ORDER if self.warmed is not None and index not in self.warmed]
        if cold and self.warmed is not None:
            self.warmed.append(cold[0])
            num_new, num_frames = REST_FRAMES[cold[0]] - 2 * REST_CONTEXT_FRAMES, HEAD_FRAMES[cold[0]]
            start = (num_frames - num_new) // 2
            window = Window(np.zeros((width, num_frames), np.float32), start, start + num_new)
            self._piece(window, np.zeros(512, np.float32), never)
        if len(cold) == 1:
            for part in self.parts * len(_MENDING_FRAMES):
                part.mend()
        return len(cold) > 1

    def _piece(self, window: Window, speaker: Float32, is_unwanted: Callable[[], bool]) -> Float32:
        num_frames = window.frames.shape[1]
        x, lengths = window.frames[None], self._lengths(HEAD_FRAMES)
        for index, part in enumerate(self.parts):
            if index == 1:  # behind the head: only what the new samples depend on
                first, stop = window.rest
                scale = x.shape[2] // _padded(num_frames, lengths)
                x, num_frames, lengths = x[:, :, first * scale : stop * scale], stop - first, self._lengths(REST_FRAMES)
            if index < 2:
                x = _pad(x, num_frames, _padded(num_frames, lengths))
            x = part(x, speaker, num_frames, is_unwanted)
            if x.size == 0:
                return np.zeros(0, np.float32)
        # The last part's memory is overwritten by its next call.
        return np.array(window.cut(x[0, 0]), np.float32)

    def _lengths(self, sizes: Sequence[int]) -> Sequence[int]:
        """Those that are warm; empty where the true length will do."""
        return () if self.warmed is None else [sizes[index] for index in self.warmed] or sizes

    def _longest(self, sizes: Sequence[int]) -> int:
        return max(self._lengths(sizes), default=sizes[-1])


def _padded(num_frames: int, lengths: Sequence[int]) -> int:
    return min((size for size in lengths if size >= num_frames), default=num_frames)


def _pad(x: Float32, num_frames: int, wanted: int) -> Float32:
    """x [1, C, num_frames * k], zeros behind it up to wanted * k."""
    if wanted == num_frames:
        return np.ascontiguousarray(x)
    padded = np.zeros((*x.shape[:2], x.shape[2] // num_frames * wanted), np.float32)
    padded[:, :, : x.shape[2]] = x
    return padded


def _pieces(window: Window, max_head: int, max_rest: int) -> Iterator[Window]:
    """The window in windows that the graphs can take, overlapping by the receptive field."""
    total, start = window.frames.shape[1], window.start
    while start < window.stop:
        left, first = max(0, start - CONTEXT_FRAMES), max(0, start - REST_CONTEXT_FRAMES)
        stop = window.stop
        if (
            min(total, stop + CONTEXT_FRAMES) > left + max_head
            or min(total, stop + REST_CONTEXT_FRAMES) > first + max_rest
        ):
            stop = min(left + max_head - CONTEXT_FRAMES, first + max_rest - REST_CONTEXT_FRAMES)
        yield Window(window.frames[:, left : min(total, stop + CONTEXT_FRAMES)], start - left, stop - left)
        start = stop


class _OnnxPart:
    """fp32 on onnxruntime."""

    def __init__(self, path: Path, num_threads: int) -> None:
        self._session = open_session(path, num_threads=num_threads)
        self._names = {item.name for item in self._session.get_inputs()}

    def __call__(self, x: Float32, speaker: Float32, num_frames: int, is_unwanted: Callable[[], bool]) -> Float32:
        if is_unwanted():
            return np.zeros(0, np.float32)
        feed = {"z": x, "x": x, "speaker": speaker.reshape(1, -1, 1), "length": np.array([num_frames], np.int64)}
        given = {name: value for name, value in feed.items() if name in self._names}
        return np.asarray(self._session.run(None, given)[0], np.float32)

    def mend(self) -> None:
        """Nothing is ever half done here."""


class _OpenVinoPart:
    """On OpenVINO; precision f32 or bf16 (on a CPU without AMX the slower one).

    An inference that was stopped half-way has to be mended before the next: OpenVINO 2026.4 takes a node for
    unchanged whose input is as long as in its last whole inference, though its output was resized since, and the
    next window fails, or is wrong without a word. A length that no node has seen last, hence two that take
    turns, makes every node look anew.
    """

    def __init__(self, path: Path, precision: str, scale: int, num_threads: int) -> None:
        self._request = _compile(path, precision, num_threads)
        inputs = [(name, item) for item in self._request.model_inputs for name in item.get_names()]
        self._names = {name for name, _ in inputs}  # an item has several: "length" is also the node that reads it
        self._channels = next(item.get_partial_shape()[1].get_length() for name, item in inputs if name in "xz")
        self._scale = scale
        self._is_torn = False
        self._mending = list(_MENDING_FRAMES)

    def __call__(self, x: Float32, speaker: Float32, num_frames: int, is_unwanted: Callable[[], bool]) -> Float32:
        if self._is_torn:
            self.mend()
        return self._run(x, speaker, num_frames, is_unwanted)

    def mend(self) -> None:
        self._mending.reverse()
        num_frames = self._mending[0]
        x = np.zeros((1, self._channels, num_frames * self._scale), np.float32)
        self._run(x, np.zeros(512, np.float32), num_frames, never)

    def _run(self, x: Float32, speaker: Float32, num_frames: int, is_unwanted: Callable[[], bool]) -> Float32:
        feed = {"z": x, "x": x, "speaker": speaker.reshape(1, -1, 1), "length": np.array([num_frames], np.int64)}
        given = {name: value for name, value in feed.items() if name in self._names}
        self._is_torn = True  # until its end is reached
        self._request.start_async(given, share_inputs=True)
        while not self._request.wait_for(_ASK_MS):
            if is_unwanted():
                self._request.cancel()
                _let_end(self._request)
                return np.zeros(0, np.float32)
        self._is_torn = False
        output: Float32 = self._request.get_output_tensor(0).data
        return np.zeros(0, np.float32) if is_unwanted() else output


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


@dataclass(slots=True)
class _Workshop:
    """Opens vocoders; a part that several have is loaded once."""

    folder: Path
    num_threads: int
    opened: dict[tuple[str, str], Part] = field(default_factory=dict)

    def open(self, name: str) -> Vocoder:
        if name == VOCODERS[0]:
            paths = [self.folder / f"vocoder_{part}.onnx" for part in ("head", "body", "tail")]
            return Vocoder([_OnnxPart(path, self.num_threads) for path in paths])
        return Vocoder([self._part(*which) for which in _RECIPES[name]], warmed=[])

    def _part(self, part: str, precision: str) -> Part:
        if (part, precision) not in self.opened:
            path = self.folder / f"vocoder_{part}.onnx"
            self.opened[part, precision] = _OpenVinoPart(path, precision, _SCALES[part], self.num_threads)
        return self.opened[part, precision]


def open_vocoder(folder: Path, name: str, *, num_threads: int) -> Vocoder:
    """A vocoder by its name in `VOCODERS`. Raises MissingExtra or ConfigError."""
    if name not in VOCODERS:
        raise ConfigError(f"no vocoder is called {name!r}; there are auto, {', '.join(VOCODERS)}")
    if name != VOCODERS[0] and importlib.util.find_spec("openvino") is None:
        raise MissingExtra(f"the vocoder {name} needs openvino; install xtts-rtc[openvino] or choose {VOCODERS[0]}")
    return _Workshop(folder, num_threads).open(name)


def choose_vocoder(
    folder: Path,
    frames: Float32,
    speaker: Float32,
    *,
    num_threads: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Vocoder, tuple[Trial, ...]]:
    """The fastest vocoder on this CPU of those within `MIN_SNR_DB` of fp32, and what the trial showed.

    frames [D, F], speaker [512]: what the model really says; on white noise bf16 looks 7 dB better than it is.
    """
    workshop, window = _Workshop(folder, num_threads), Window.whole(frames)
    names = VOCODERS if importlib.util.find_spec("openvino") is not None else VOCODERS[:1]
    vocoders = {name: workshop.open(name) for name in names}
    truth = vocoders[VOCODERS[0]](window, speaker)
    trials = []
    for name, vocoder in vocoders.items():
        snr_db = signal_to_noise_db(truth, vocoder(window, speaker))
        trials.append(Trial(name, _best_s(vocoder, window, speaker, clock) / (truth.size / 24_000), snr_db))
    return vocoders[best_of(trials)], tuple(trials)


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


def _best_s(vocoder: Vocoder, window: Window, speaker: Float32, clock: Callable[[], float]) -> float:
    """The shortest of a few runs: what else the machine does can only add."""
    times = []
    for _ in range(_TRIALS):
        start = clock()
        vocoder(window, speaker)
        times.append(clock() - start)
    return min(times)


__all__ = [
    "HEAD_FRAMES",
    "MIN_SNR_DB",
    "REST_FRAMES",
    "TRIAL_FRAMES",
    "VOCODERS",
    "WORTH",
    "Part",
    "Trial",
    "Vocoder",
    "best_of",
    "choose_vocoder",
    "open_vocoder",
    "signal_to_noise_db",
]
