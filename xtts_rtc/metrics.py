"""What an engine and its server count, and how Prometheus reads it.

In: one call per fact, from the thread where it happens. Out: the text of `/metrics`. The numbers are our own, so
counting needs no package and costs a microsecond; prometheus_client is imported when the text is asked for. Each
engine has a `Metrics` of its own: two in one process do not mix.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from xtts_rtc.errors import MissingExtra, XttsRtcError
from xtts_rtc.types import EngineStatus, StreamMetrics

if TYPE_CHECKING:
    from prometheus_client.metrics_core import HistogramMetricFamily, Metric

FIRST_AUDIO_S = (0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0)
STEP_S = (0.001, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.25)
BATCH_ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
QUEUE_WAIT_S = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
CANCEL_TO_IDLE_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0)


class _Histogram:
    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._total += value

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str] = ()) -> None:
        limits = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        family.add_metric(labels, list(zip(limits, accumulate(self._counts), strict=True)), self._total)


class Metrics:
    """The figures of one engine and of the server around it. Any thread may call anything."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first_audio = {"listener": _Histogram(FIRST_AUDIO_S), "file": _Histogram(FIRST_AUDIO_S)}
        self._step = _Histogram(STEP_S)
        self._batch = _Histogram(BATCH_ROWS)
        self._queue_wait = _Histogram(QUEUE_WAIT_S)
        self._cancel_to_idle = _Histogram(CANCEL_TO_IDLE_S)
        self._audio_s = 0.0
        self._num_underruns = 0
        self._utterances: Counter[tuple[str, ...]] = Counter({("done",): 0, ("cancelled",): 0, ("failed",): 0})
        self._errors: Counter[tuple[str, ...]] = Counter()
        self._refused_messages: Counter[tuple[str, ...]] = Counter()
        self._requests: Counter[tuple[str, ...]] = Counter()

    def step(self, rows: int, seconds: float) -> None:
        """One decode step of so many streams."""
        with self._lock:
            self._step.observe(seconds)
            self._batch.observe(rows)

    def first_audio(self, seconds: float, *, is_realtime: bool) -> None:
        """From the first words of an utterance that can be spoken to its first samples."""
        with self._lock:
            self._first_audio["listener" if is_realtime else "file"].observe(seconds)

    def audio(self, seconds: float) -> None:
        """So much was handed to a reader."""
        with self._lock:
            self._audio_s += seconds

    def ended(self, figures: StreamMetrics | None, error: XttsRtcError | None, *, is_cancelled: bool) -> None:
        """An utterance is over, and nothing runs for it any more."""
        with self._lock:
            self._utterances["failed" if error else "cancelled" if is_cancelled else "done",] += 1
            if error is not None:
                self._errors[error.code,] += 1
            if figures is not None:
                self._queue_wait.observe(figures.queue_s)
                self._num_underruns += figures.num_underruns
                if figures.cancel_to_idle_ms is not None:
                    self._cancel_to_idle.observe(figures.cancel_to_idle_ms / 1000)

    def refused(self, error: XttsRtcError) -> None:
        """An utterance could not even be opened."""
        with self._lock:
            self._errors[error.code,] += 1

    def refused_message(self, error: XttsRtcError) -> None:
        """A WebSocket message was answered with an error."""
        with self._lock:
            self._refused_messages[error.code,] += 1

    def request(self, route: str, status: int) -> None:
        """An HTTP request was answered; `route` is the pattern, never what a client sent. 101: a WebSocket."""
        with self._lock:
            self._requests[route, str(status)] += 1

    def exposition(self, status: EngineStatus, accept: str = "") -> tuple[bytes, str]:
        """The text and its content type, in the format that an Accept header asks for. Raises MissingExtra."""
        try:
            from prometheus_client import CollectorRegistry, ProcessCollector
            from prometheus_client.exposition import choose_encoder
        except ImportError:
            raise MissingExtra("the metrics need prometheus-client: pip install 'xtts-rtc[server]'") from None
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Snapshot(self, status))
        ProcessCollector(registry=registry)
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    def families(self) -> list[Metric]:
        """All figures but those of an `EngineStatus`, as prometheus_client writes them."""
        from prometheus_client.metrics_core import CounterMetricFamily

        with self._lock:
            return [
                _histogram(
                    "xtts_first_audio_seconds",
                    "From the first words that can be spoken to the first samples",
                    self._first_audio,
                ),
                _histogram("xtts_step_seconds", "One decode step of all rows", self._step),
                _histogram("xtts_batch_rows", "Streams that share a decode step", self._batch),
                _histogram("xtts_queue_wait_seconds", "From the request to a slot", self._queue_wait),
                _histogram("xtts_cancel_to_idle_seconds", "From a cancel to a free slot", self._cancel_to_idle),
                CounterMetricFamily("xtts_audio_seconds", "Audio handed to readers", value=self._audio_s),
                CounterMetricFamily("xtts_underruns", "Chunks that came too late", value=self._num_underruns),
                _counter("xtts_utterances", "Utterances that are over", self._utterances, "outcome"),
                _counter("xtts_errors", "Utterances that failed or were refused", self._errors, "code"),
                _counter("xtts_refused_messages", "WebSocket messages refused", self._refused_messages, "code"),
                _counter("xtts_requests", "HTTP requests answered", self._requests, "route", "status"),
            ]


class _Snapshot:
    """What prometheus_client calls a collector, for one reading."""

    def __init__(self, metrics: Metrics, status: EngineStatus) -> None:
        self._metrics = metrics
        self._status = status

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import GaugeMetricFamily

        status = self._status
        yield GaugeMetricFamily("xtts_streams", "Utterances that speak or wait", value=status.num_streams)
        yield GaugeMetricFamily("xtts_streams_max", "Utterances that may speak at once", value=status.max_streams)
        yield GaugeMetricFamily("xtts_ready", "1 when another utterance would be taken", value=status.is_ready)
        yield from self._metrics.families()


def _histogram(name: str, text: str, values: _Histogram | dict[str, _Histogram]) -> Metric:
    from prometheus_client.metrics_core import HistogramMetricFamily

    family = HistogramMetricFamily(name, text, labels=["pace"] if isinstance(values, dict) else [])
    for label, value in values.items() if isinstance(values, dict) else [("", values)]:
        value.add_to(family, [label] if label else [])
    return family


def _counter(name: str, text: str, values: Counter[tuple[str, ...]], *labels: str) -> Metric:
    from prometheus_client.metrics_core import CounterMetricFamily

    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


__all__ = ["BATCH_ROWS", "CANCEL_TO_IDLE_S", "FIRST_AUDIO_S", "QUEUE_WAIT_S", "STEP_S", "Metrics"]
