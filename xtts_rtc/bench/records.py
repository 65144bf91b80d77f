"""What a benchmark found, as records, and as the JSON that programs read.

Times are in milliseconds and medians over the runs unless a name says otherwise; audio is in seconds.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from xtts_rtc.model.quality import Parity


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One row of the article's table; the figures are its author's."""

    config: str
    first_chunk_ms: str
    total_ms: str


PUBLISHED = (
    Published(config="published article, DeepSpeed on an A10G", first_chunk_ms="84", total_ms="728"),
    Published(config="published article, standard", first_chunk_ms="~250", total_ms="~1100"),
    Published(config="published article, CPU", first_chunk_ms=">1000", total_ms=">3000"),
)


QUIET = 0.03
"""Share of the CPU that others may take; 2 % of two cores is what an idle system does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Stock over ours: how many times earlier the first chunk is, and less time a second of audio takes."""

    first_chunk: float
    total_per_audio_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Where the time of one utterance goes, each 0 to 1; `rest` is sampling, interpolation and waiting."""

    gpt: float
    vocoder: float
    rest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One configuration, one stream.

    `runs_with_gaps` of the `runs` would have let a listener wait who starts at the first chunk, without a
    buffer; the longest wait was `longest_gap_ms`. `ratio` is against the stock runs in between.
    """

    config: str
    backend: str
    precision: str
    first_chunk_ms: float
    total_ms: float
    audio_s: float
    rtf: float
    runs: int
    runs_with_gaps: int
    longest_gap_ms: float
    shares: Shares | None = None
    ratio: Ratio | None = None

    @property
    def label(self) -> str:
        """Names it in tables."""
        return f"{self.backend} {self.precision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsRow:
    """`n` paced listeners at once, in `rounds` rounds.

    `underruns` counts frames of 20 ms that were not there when they were due, `refused` the streams that
    admission turned away; the machine holds `n` when both are 0. `aggregate_rtf` is the time to make all
    their audio without pacing, per second of it.
    """

    n: int
    in_real_time: bool
    underruns: int
    refused: int
    aggregate_rtf: float
    first_chunk_ms: float
    first_chunk_max_ms: float
    start_buffer_s: float
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """First audio of a stream that comes while `others` speak, against its time alone."""

    others: int
    first_chunk_ms: float | None
    alone_ms: float
    ratio: float | None
    underruns_of_others: int
    underruns: int
    refused: int
    rounds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancels:
    """From a cancel to the engine being idle, at `runs` moments of an utterance; the steps begun after it."""

    p50: float
    max: float
    max_steps_after: int
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthCost:
    """Time in the model for a long utterance over that for one a quarter as long; linear is 4."""

    short_s: float
    long_s: float
    ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Resident size of a process of its own, in MB (10**6 bytes).

    `before_mb` with everything imported and no model; `loaded_mb` with `num_slots` slots; `peak_mb` the most
    while loading; `model_mb` the size of the model's files, or of its tensors where it is `built` in code;
    `per_stream_mb` what one more stream takes that speaks the sentence; `per_stream_full_mb` KV memory of a
    stream that uses every position, computed for float32.
    """

    config: str
    before_mb: float
    loaded_mb: float
    peak_mb: float
    model_mb: float
    peak_ratio: float
    is_built: bool
    num_slots: int
    per_stream_mb: float
    per_stream_full_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigParity(Parity):
    """`Parity` of one configuration."""

    config: str
    is_good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the figures were taken on. `load_before` is the 1-minute load before the start."""

    cpu: str
    cores: int
    flags: tuple[str, ...]
    memory_gb: float
    gpu: str | None
    system: str
    python: str
    packages: dict[str, str]
    load_before: float | None


@dataclass(slots=True, kw_only=True)
class Report:
    """Everything that was measured; None or empty for what was not.

    `others_cpu` is what other processes took of the machine's cores meanwhile, 0 to 1.
    """

    @property
    def is_disturbed(self) -> bool:
        """Others took so much of the machine that the figures are not its own."""
        return self.others_cpu is not None and self.others_cpu > QUIET

    machine: Machine
    model: str
    sentence: str
    date: str
    version: str
    command: str
    rows: list[Row] = field(default_factory=list)
    streams: list[StreamsRow] = field(default_factory=list)
    newcomer: Newcomer | None = None
    cancel_to_idle_ms: Cancels | None = None
    decode_step_ms: float | None = None
    decode_step_ms_by_batch: dict[int, float] = field(default_factory=dict)
    length_cost: LengthCost | None = None
    memory: list[Memory] = field(default_factory=list)
    stock: Row | None = None
    ratio: Ratio | None = None
    parity: ConfigParity | None = None
    parities: list[ConfigParity] = field(default_factory=list)
    others_cpu: float | None = None
    notes: list[str] = field(default_factory=list)
    published: tuple[Published, ...] = PUBLISHED

    def to_json(self) -> str:
        """Strict JSON; what was not measured is absent."""
        values = {name: value for name, value in asdict(self).items() if value is not None}
        return json.dumps(values, indent=2, allow_nan=False) + "\n"


__all__ = [
    "PUBLISHED",
    "QUIET",
    "Cancels",
    "ConfigParity",
    "LengthCost",
    "Machine",
    "Memory",
    "Newcomer",
    "Published",
    "Ratio",
    "Report",
    "Row",
    "Shares",
    "StreamsRow",
]
