"""`xtts-rtc bench`: what to measure, in which order, and where the report goes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from importlib import metadata
from pathlib import Path

from xtts_rtc.api import default_cache_dir
from xtts_rtc.bench.machine import OthersCpu, describe_machine
from xtts_rtc.bench.memory import measure_memory
from xtts_rtc.bench.realtime import Listening, cancels, newcomer_row, streams_rows
from xtts_rtc.bench.records import Report, Row
from xtts_rtc.bench.reference import Reference, condition, open_reference
from xtts_rtc.bench.session import SENTENCE, Session
from xtts_rtc.bench.speed import Runs, Say, alternate, length_cost, ratio_of, row_of, shares_of, step_times_ms
from xtts_rtc.bench.table import table
from xtts_rtc.engine.runtimes import ModelChoice, load_runtime, model_folder
from xtts_rtc.errors import ConfigError, SetupError

PARTS = ("streams", "newcomer", "cancel", "length", "steps", "parity", "memory")
"""What `--skip` can leave out."""
OTHERS = 2
_MIN_SLOTS = 4  # step times are worth knowing up to here, and the newcomer needs three


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that was asked for. `rows`: auto (the configuration asked for) or all that run here."""

    choice: ModelChoice
    cache_dir: Path
    runs: int = 5
    counts: tuple[int, ...] = (1,)
    rows: str = "auto"
    with_stock: bool = False
    skip: frozenset[str] = frozenset()
    listening: Listening = field(default_factory=Listening)

    @property
    def num_slots(self) -> int:
        return max(*self.counts, _MIN_SLOTS)

    @property
    def model(self) -> str:
        """Its name, or its folder's."""
        return self.choice.name if model_folder(self.choice.name) is None else Path(self.choice.name).name

    @property
    def command(self) -> str:
        """What to type for these figures."""
        words = ["xtts-rtc bench", f"--model {self.model}"]
        words += ["--against stock"] if self.with_stock else []
        words += [f"--rows {self.rows}", f"--runs {self.runs}", f"--streams {','.join(map(str, self.counts))}"]
        words += [f"--start-buffer {self.listening.start_buffer_s:g}"]
        return " ".join([*words, *(f"--skip {part}" for part in sorted(self.skip))])


def plan_of(args: argparse.Namespace) -> Plan:
    """Flags and settings, joined."""
    model, engine = args.settings.model, args.settings.engine
    if unknown := sorted(set(args.skip or ()) - set(PARTS)):
        raise ConfigError(f"--skip {unknown[0]}: there are {', '.join(PARTS)}")
    names = ("name", "device", "backend", "precision", "vocoder", "half", "compile", "deepspeed")
    return Plan(
        choice=ModelChoice(**{name: getattr(model, name) for name in names}),
        cache_dir=args.settings.voices.cache_dir or default_cache_dir(),
        runs=args.runs,
        counts=tuple(int(n) for n in args.streams.split(",")),
        rows=args.rows,
        with_stock=args.against == "stock",
        skip=frozenset(args.skip or ()),
        listening=Listening(
            start_buffer_s=args.start_buffer_s,
            max_ahead_s=engine.max_ahead_s,
            max_queue_s=engine.max_queue_s,
            rounds=min(args.runs, 3),
        ),
    )


def measure(plan: Plan, say: Say) -> Report:
    """Everything that was asked for, one configuration loaded at a time."""
    report = Report(
        machine=describe_machine(plan.choice.device),
        model=plan.model,
        sentence=SENTENCE,
        date=date.today().isoformat(),
        version=metadata.version("xtts-rtc"),
        command=plan.command,
    )
    others = OthersCpu()
    reference = _reference(plan, report, say)
    stock_runs = Runs()
    waiting = [plan.choice]
    for number, choice in enumerate(waiting):  # grows while it is walked: the first one tells what runs here
        if number and _is_known(choice, report.rows):
            continue
        try:
            device = _measure_row(plan, choice, reference, stock_runs, report, say)
        except SetupError as error:
            if not number:
                raise
            report.notes.append(f"no row for {choice.backend} {choice.precision}: {error.message}")
            continue
        if not number and plan.rows == "all":
            waiting += candidates(replace(plan.choice, vocoder=_vocoder(report.rows[0])), device)
    if stock_runs.stock:
        report.stock = row_of("coqui-tts inference_stream", "stock", "fp32", stock_runs.stock)
    report.others_cpu = others.share()
    report.ratio = report.rows[0].ratio
    report.parity = report.parities[0] if report.parities else None
    return report


def candidates(choice: ModelChoice, device: str) -> Iterator[ModelChoice]:
    """What can be tried on a device besides the configuration that was asked for."""
    if device == "cpu":
        for precision in ("int8-static", "int8-row", "int8-block", "fp32"):
            yield replace(choice, backend="onnx", precision=precision)
        yield replace(choice, backend="torch", precision="fp32", vocoder="auto")
        return
    plain = replace(choice, backend="torch", half=False, compile=False, deepspeed=False, precision="fp32")
    yield plain
    yield replace(plain, half=True)
    yield replace(plain, half=True, compile=True)
    yield replace(plain, half=True, deepspeed=True)


def _is_known(choice: ModelChoice, rows: list[Row]) -> bool:
    """Whether a row stands for the choice already; with options of CUDA only its label could tell."""
    if choice.half or choice.compile or choice.deepspeed:
        return False
    return any(row.backend == choice.backend and row.precision.split(",")[0] == choice.precision for row in rows)


def _vocoder(row: Row) -> str:
    """The one that was chosen, by its name, so that no other is tried again."""
    return row.precision.rpartition("vocoder ")[2] if row.backend == "onnx" else "auto"


def _reference(plan: Plan, report: Report, say: Say) -> Reference | None:
    with_truth = "parity" not in plan.skip
    if not (with_truth or plan.with_stock):
        return None
    say("the reference: torch fp32")
    found = open_reference(plan.choice, cache_dir=plan.cache_dir, with_stock=plan.with_stock, with_truth=with_truth)
    if isinstance(found, Reference):
        return found
    report.notes.append(f"no parity figures: {found}")
    return None


def _measure_row(
    plan: Plan, choice: ModelChoice, reference: Reference | None, stock: Runs, report: Report, say: Say
) -> str:
    """Add what one configuration gives to the report; everything if it is the first. Returns its device."""
    is_first = not report.rows
    say(f"loading {choice.backend} {choice.precision}")
    loaded = load_runtime(choice, num_slots=plan.num_slots, cache_dir=plan.cache_dir)
    device = "cpu" if loaded.xtts is None else str(loaded.xtts.device.type)
    voice = condition(loaded.runtime) if reference is None else reference.voice
    with Session(loaded, voice) as session:
        del loaded
        if any(row.label == session.label for row in report.rows):
            return device
        if reference is not None and (parity := reference.parity(session)):
            report.parities.append(parity)
        runs = alternate(session, reference.stock if reference else None, plan.runs, say)
        stock.stock += runs.stock
        report.rows.append(_row(session, runs))
        if is_first:
            _measure_details(plan, session, report, say)
        label, backend = session.label, session.backend_name
    if "memory" not in plan.skip and device == "cpu":
        say(f"{label}: memory, in a process of its own")
        exact = replace(choice, backend=backend, vocoder=_vocoder(report.rows[-1]))
        memory = measure_memory(exact, label, backend=backend, cache_dir=plan.cache_dir)
        report.memory += [memory] if memory else []
    return device


def _row(session: Session, runs: Runs) -> Row:
    row = row_of("xtts-rtc", session.backend_name, session.precision, runs.ours, shares=shares_of(runs))
    if not runs.stock:
        return row
    return replace(row, ratio=ratio_of(row_of("stock", "stock", "fp32", runs.stock), row))


def _measure_details(plan: Plan, session: Session, report: Report, say: Say) -> None:
    """What is only measured for the first configuration."""
    parts = [part for part in PARTS if part not in plan.skip]
    if "steps" in parts:
        say("decode steps by batch size")
        sizes = sorted({n for n in (1, 2, 3, 4, 6, 8, 12, 16, plan.num_slots) if n <= plan.num_slots})
        report.decode_step_ms_by_batch = step_times_ms(session.runtime, session.voice, sizes)
        report.decode_step_ms = report.decode_step_ms_by_batch[1]
    if "cancel" in parts:
        say("cancel")
        report.cancel_to_idle_ms = cancels(session)
    if "length" in parts:
        say("cost of length")
        report.length_cost = length_cost(session, runs=min(plan.runs, 3))
    if "streams" in parts:
        say(f"{', '.join(map(str, plan.counts))} streams in real time")
        report.streams = streams_rows(session, plan.counts, plan.listening)
    if "newcomer" in parts:
        say(f"a newcomer while {OTHERS} speak")
        report.newcomer = newcomer_row(session, OTHERS, plan.listening)


def run(args: argparse.Namespace) -> int:
    """The command: progress on stderr, the table on stdout, files where the flags say."""
    if args.chart or args.docs:
        from xtts_rtc.bench.chart import draw, need_matplotlib

        need_matplotlib()  # before minutes of measuring
    report = measure(plan_of(args), lambda line: print(f"  {line}", file=sys.stderr, flush=True))
    print(table(report))
    if args.json_file:
        args.json_file.write_text(report.to_json(), encoding="utf-8")
    if args.chart:
        draw(report, args.chart)
    if args.docs:
        from xtts_rtc.bench.document import document

        args.docs.mkdir(parents=True, exist_ok=True)
        draw(report, args.docs / "benchmarks.png")
        (args.docs / "benchmarks.md").write_text(document(report, "benchmarks.png"), encoding="utf-8")
    return 0


__all__ = ["OTHERS", "PARTS", "Plan", "candidates", "measure", "plan_of", "run"]
