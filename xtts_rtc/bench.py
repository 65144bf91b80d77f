"""What this machine does with a model: first chunk, total, real-time factor, streams held, cancel to idle.

Our engine and, with ``--against stock``, coqui-tts' own `inference_stream` run in turn in this process on the
same weights, the same voice and the same number of tokens. Figures are medians over the runs.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtts_rtc.api import default_cache_dir
from xtts_rtc.engine.loading import DEFAULT_CLIP
from xtts_rtc.engine.runtimes import LoadedRuntime, ModelChoice, load_runtime
from xtts_rtc.engine.worker import XttsBackend
from xtts_rtc.errors import XttsRtcError
from xtts_rtc.model.interface import Runtime
from xtts_rtc.types import (
    OUTPUT_HZ,
    AudioEvent,
    Conditioning,
    EndEvent,
    ErrorEvent,
    Event,
    Float32,
    SamplingParams,
    Segment,
    StreamRequest,
)
from xtts_rtc.voices.clip import read_clip

SENTENCE = "This is a test of the real-time text-to-speech synthesis system."
NUM_TOKENS = 100  # 4.6 s, about what the sentence takes
PUBLISHED = (
    ("published article, DeepSpeed on an A10G", "84", "728"),
    ("published article, standard", "~250", "~1100"),
    ("published article, CPU", ">1000", ">3000"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """Medians of one configuration. Times in milliseconds, audio in seconds."""

    config: str
    backend: str
    precision: str
    first_chunk_ms: float
    total_ms: float
    audio_s: float
    rtf: float
    underruns: float
    runs: int


@dataclass(frozen=True, slots=True)
class StreamsRow:
    """`n` listeners at once, each taking audio at the speed of sound."""

    n: int
    in_real_time: bool
    underruns: int
    aggregate_rtf: float
    first_chunk_ms: float


@dataclass(slots=True)
class _Listener:
    """Notes when each chunk came."""

    started: float = field(default_factory=time.perf_counter)
    chunks: list[tuple[float, int]] = field(default_factory=list)
    end: EndEvent | None = None
    error: XttsRtcError | None = None
    is_over: threading.Event = field(default_factory=threading.Event)

    def __call__(self, event: Event) -> None:
        if isinstance(event, AudioEvent):
            if event.pcm.size:
                self.chunks.append((time.perf_counter() - self.started, event.pcm.size))
            return
        self.end = event if isinstance(event, EndEvent) else None
        self.error = event.error if isinstance(event, ErrorEvent) else None
        self.is_over.set()

    def wait(self) -> EndEvent:
        self.is_over.wait()
        if self.end is None:
            raise self.error or RuntimeError("the stream ended without an event")
        return self.end

    def gap_s(self) -> float:
        """The longest wait of a listener who starts with the first chunk; 0 is gap-free."""
        late, plays_until = 0.0, None
        for at, samples in self.chunks:
            if plays_until is not None:
                late = max(late, at - plays_until)
            plays_until = max(at, plays_until or at) + samples / OUTPUT_HZ
        return late


class _FixedLength:
    """A runtime whose stop token comes after exactly `num_tokens`, so that both sides say the same amount."""

    def __init__(self, inner: Runtime, num_tokens: int) -> None:
        self._inner = inner
        self._num_tokens = num_tokens
        self._counts: dict[int, int] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def prefill(self, slot: int, voice: Conditioning, text_ids: NDArray[np.int64]) -> tuple[Float32, Float32]:
        latent, logits = self._inner.prefill(slot, voice, text_ids)
        self._counts[slot] = 1
        return latent, self._stop(logits[None].copy(), [slot])[0]

    def step(self, slots: NDArray[np.int64], tokens: NDArray[np.int64]) -> tuple[Float32, Float32]:
        latents, logits = self._inner.step(slots, tokens)
        for slot in slots.tolist():
            self._counts[slot] += 1
        return latents, self._stop(logits.copy(), slots.tolist())

    def _stop(self, logits: Float32, slots: list[int]) -> Float32:
        stop = self._inner.info.stop_audio_token
        for row, slot in enumerate(slots):
            logits[row, stop] = 1e5 if self._counts[slot] >= self._num_tokens else -1e5
        return logits


class _OneVoice:
    """The library of a bench: one voice under every name."""

    def __init__(self, voice: Conditioning) -> None:
        self._voice = voice

    def require(self, voice_id: str) -> None:
        pass

    def get(self, voice_id: str) -> Conditioning:
        return self._voice


class Bench:
    """One model, measured. num_streams is the most that will speak at once."""

    def __init__(self, choice: ModelChoice, *, num_streams: int, cache_dir: Path) -> None:
        self.loaded: LoadedRuntime = load_runtime(choice, num_slots=num_streams, cache_dir=cache_dir)
        latents, embedding = self.loaded.runtime.condition([read_clip(DEFAULT_CLIP).pcm])
        self.voice = Conditioning("bench", latents, embedding)
        runtime: Any = _FixedLength(self.loaded.runtime, NUM_TOKENS)
        voices: Any = _OneVoice(self.voice)
        self.backend = XttsBackend(runtime, self.loaded.frontend, voices, max_queue_s=3600, max_ahead_s=3600)
        self._settle()

    def close(self) -> None:
        self.backend.close()

    def speak(self, num_streams: int = 1) -> list[_Listener]:
        """Start `num_streams` utterances at once and wait for all."""
        listeners = [self._start() for _ in range(num_streams)]
        for listener in listeners:
            listener.wait()
        return listeners

    def cancel_to_idle_ms(self, runs: int) -> list[float]:
        """Cancel in mid-utterance, after the first audio and a little more."""
        found = []
        for index in range(runs):
            listener = _Listener()
            stream = self.backend.open(StreamRequest(), listener)
            self.backend.say(stream, Segment(0, SENTENCE, SENTENCE))
            while not listener.chunks:
                time.sleep(0.001)
            time.sleep(0.01 * index)
            self.backend.cancel(stream)
            found.append(listener.wait().metrics.cancel_to_idle_ms or 0.0)
        return found

    def _start(self) -> _Listener:
        listener = _Listener()
        stream = self.backend.open(StreamRequest(sampling=SamplingParams(seed=0)), listener)
        self.backend.consumed(stream, 10**9)
        self.backend.say(stream, Segment(0, SENTENCE, SENTENCE))
        self.backend.end(stream)
        return listener

    def _settle(self) -> None:
        done = threading.Event()
        self.backend.run_on_engine(done.set)
        done.wait()


def row_of(config: str, backend: str, precision: str, runs: list[_Listener]) -> Row:
    """Medians over the runs of one configuration."""
    audio = [sum(samples for _, samples in run.chunks) / OUTPUT_HZ for run in runs]
    totals = [run.chunks[-1][0] for run in runs]
    return Row(
        config=config,
        backend=backend,
        precision=precision,
        first_chunk_ms=_median_ms(run.chunks[0][0] for run in runs),
        total_ms=_median_ms(totals),
        audio_s=round(statistics.median(audio), 3),
        rtf=round(statistics.median(t / a for t, a in zip(totals, audio, strict=True)), 4),
        underruns=sum(run.gap_s() > 0 for run in runs) / len(runs),
        runs=len(runs),
    )


def stock_run(bench: Bench, stock: Any) -> _Listener:
    """coqui-tts' `inference_stream` with its own defaults for streaming, timed as a listener would."""
    listener = _Listener()
    sampling = SamplingParams(seed=0)
    for chunk in stock.stream(SENTENCE, "en", bench.voice, sampling, num_tokens=NUM_TOKENS):
        listener.chunks.append((time.perf_counter() - listener.started, chunk.size))
    return listener


def streams_row(bench: Bench, num_streams: int) -> StreamsRow:
    """`num_streams` at once: in real time if no listener ever waited."""
    runs = bench.speak(num_streams)
    audio = sum(samples for run in runs for _, samples in run.chunks) / OUTPUT_HZ
    total = max(run.chunks[-1][0] for run in runs)
    gaps = sum(run.gap_s() > 0 for run in runs)
    return StreamsRow(
        n=num_streams,
        in_real_time=gaps == 0,
        underruns=gaps,
        aggregate_rtf=round(total / audio, 4),
        first_chunk_ms=_median_ms(run.chunks[0][0] for run in runs),
    )


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    import os

    model = next(_cpu_models(), platform.processor())
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "python": platform.python_version()}


def _cpu_models() -> Iterator[str]:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                yield line.partition(":")[2].strip()


def measure(args: argparse.Namespace, say: Callable[[str], None]) -> dict[str, Any]:
    """Everything that was asked for, as the JSON that programs read."""
    counts = [int(n) for n in args.streams.split(",")]
    asked = args.settings.model
    model = asked.name
    choice = ModelChoice(name=model, device=asked.device, backend=asked.backend, vocoder=asked.vocoder)
    cache_dir = args.settings.voices.cache_dir or default_cache_dir()
    bench = Bench(choice, num_streams=max(counts), cache_dir=cache_dir)
    try:
        stock = _stock(bench, model) if args.against == "stock" else None
        ours, theirs = _in_turn(bench, stock, args.runs, say)
        report: dict[str, Any] = {"machine": machine(), "model": model, "sentence": SENTENCE}
        mine = row_of("xtts-rtc", bench.loaded.backend, bench.loaded.precision, ours)
        report["rows"] = [asdict(mine)]
        say("streams and cancel")
        report["streams"] = [asdict(streams_row(bench, n)) for n in counts]
        cancels = bench.cancel_to_idle_ms(5)
        report["cancel_to_idle_ms"] = {"p50": round(statistics.median(cancels), 2), "max": round(max(cancels), 2)}
        report["decode_step_ms"] = round(1e3 * bench.backend.costs.step(1), 3)
        if theirs:
            other = row_of("coqui-tts inference_stream", "stock", "fp32", theirs)
            report["stock"] = {k: v for k, v in asdict(other).items() if k in Row.__slots__}
            report["ratio"] = {
                "first_chunk": round(other.first_chunk_ms / mine.first_chunk_ms, 2),
                "total_per_audio_second": round(other.rtf / mine.rtf, 2),
            }
        return report
    finally:
        bench.close()


def _in_turn(
    bench: Bench, stock: Any, runs: int, say: Callable[[str], None]
) -> tuple[list[_Listener], list[_Listener]]:
    """The first round warms up and does not count."""
    ours: list[_Listener] = []
    theirs: list[_Listener] = []
    for index in range(runs + 1):
        say(f"run {index} of {runs}" if index else "warm-up")
        ours += bench.speak()
        theirs += [stock_run(bench, stock)] if stock is not None else []
    return ours[1:], theirs[1:]


def _stock(bench: Bench, model: str) -> Any:
    from xtts_rtc.reference import StockXtts

    xtts = bench.loaded.xtts
    if xtts is None:
        from xtts_rtc.engine.runtimes import model_folder
        from xtts_rtc.model.torch.checkpoint import load_model

        xtts = load_model(model_folder(model) or model).xtts
    return StockXtts(xtts)


def _median_ms(seconds: Iterable[float]) -> float:
    return round(1e3 * float(statistics.median(seconds)), 1)


def table(report: dict[str, Any]) -> str:
    """The report for eyes."""
    rows = [*report["rows"], *([report["stock"]] if "stock" in report else [])]
    lines = [f"{'configuration':44} {'first chunk':>12} {'total':>9} {'audio':>8} {'RTF':>7} {'with gaps':>10}"]
    lines += [
        f"{', '.join((r['config'], r['backend'], r['precision'])):44} {r['first_chunk_ms']:9.0f} ms"
        f" {r['total_ms']:6.0f} ms {r['audio_s']:6.2f} s {r['rtf']:7.3f} {r['underruns']:9.0%}"
        for r in rows
    ]
    lines += [f"{name + ' (that author)':44} {first:>9} ms {total:>6} ms" for name, first, total in PUBLISHED]
    if "ratio" in report:
        ratio = report["ratio"]
        lines.append(
            f"against stock: first chunk {ratio['first_chunk']:.1f} times earlier,"
            f" {ratio['total_per_audio_second']:.1f} times less time per second of audio"
        )
    for s in report["streams"]:
        held = "held" if s["in_real_time"] else f"{s['underruns']} with gaps"
        lines.append(
            f"{s['n']} at once: first chunk {s['first_chunk_ms']:.0f} ms, RTF {s['aggregate_rtf']:.3f}, {held}"
        )
    cancel = report["cancel_to_idle_ms"]
    lines.append(
        f"cancel to idle: median {cancel['p50']:.1f} ms, most {cancel['max']:.1f} ms;"
        f" one decode step: {report['decode_step_ms']:.1f} ms"
    )
    return "\n".join(lines)


def run(args: argparse.Namespace) -> int:
    """The command: progress on stderr, the table on stdout, JSON where `--json` says."""
    report = measure(args, lambda line: print(f"  {line}", file=sys.stderr, flush=True))
    print(f"{report['model']} on {report['machine']['cpu']}, {report['machine']['cores']} cores")
    print(table(report))
    if args.json_file:
        args.json_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


__all__ = ["Bench", "Row", "StreamsRow", "machine", "measure", "row_of", "run", "stock_run", "streams_row", "table"]
