"""The report as a page of Markdown: `docs/benchmarks.md` is written by this and by nobody else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from xtts_rtc.bench.records import Report
from xtts_rtc.bench.table import cancel_line, diverged_of, gaps_of, held_of, newcomer_line
from xtts_rtc.model.quality import MIN_COSINE, MIN_SNR_DB


def document(report: Report, chart: str) -> str:
    """The page; `chart` is the picture's name beside it."""
    parts = [
        _opening(report, chart),
        _times(report),
        _parities(report),
        _streams(report),
        _steps(report),
        _memory(report),
        _machine(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(report: Report, chart: str) -> str:
    kinds = {"random-full": "random numbers in the published sizes", "random-tiny": "random numbers in tiny sizes"}
    model = f"The model is `{report.model}`."
    if report.model in kinds:
        model = (
            f"The weights are {kinds[report.model]}. Which operator and vocoder are exact enough for a model, and so"
            " its speed, is found out on its own weights."
        )
    return (
        f"# Benchmarks\n\nWritten by `xtts-rtc bench` {report.version} on {report.date}; do not edit. {model}"
        " Every side says the same number of tokens for the"
        f' sentence "{report.sentence}", in the same process, in turn. Figures are medians.\n\n'
        f"Again on your machine:\n\n```\n{report.command} --docs docs\n```\n\n![chart]({chart})"
    )


def _times(report: Report) -> str:
    rows = []
    for row in report.rows:
        against = f"{row.ratio.first_chunk:.1f} / {row.ratio.total_per_audio_second:.1f}" if row.ratio else ""
        rows.append(
            (row.config, row.backend, row.precision, f"{row.first_chunk_ms:.0f} ms", f"{row.total_ms:.0f} ms",
             f"{row.rtf:.3f}", gaps_of(row), against)
        )  # fmt: skip
    if stock := report.stock:
        rows.append(
            (stock.config, "torch", stock.precision, f"{stock.first_chunk_ms:.0f} ms", f"{stock.total_ms:.0f} ms",
             f"{stock.rtf:.3f}", gaps_of(stock), "1 / 1")
        )  # fmt: skip
    for that in report.published:
        rows.append((f"*{that.config}*", "", "", f"*{that.first_chunk_ms} ms*", f"*{that.total_ms} ms*", "", "", ""))
    head = ("configuration", "backend", "precision", "first chunk", "total", "RTF", "first chunk is", "times stock")
    return (
        f"## One stream\n\n{_markdown(head, rows)}\n\n"
        "RTF is the time per second of audio. *First chunk is* gap-free when a listener who starts with it, without a"
        " buffer, never waits. *Times stock* is how many times earlier the first chunk is, and how many times less"
        " time a second of audio takes. The rows in italics are the figures of the published article's author, on that"
        " author's machines; they were not measured here."
    )


def _parities(report: Report) -> str:
    if not report.parities:
        return ""
    rows = [
        (found.config, f"{found.latent_cosine_mean:.5f}", f"{found.latent_cosine_min:.5f}",
         f"{found.logit_kl_max:.4f}", f"{found.audio_snr_db:.0f} dB", diverged_of(found),
         "pass" if found.is_good else "**fail**")
        for found in report.parities
    ]  # fmt: skip
    head = ("configuration", "latent cosine", "least", "KL at most, nats", "vocoder SNR", "same seed parts", "gate")
    return (
        f"## Against torch fp32 on the same weights\n\n{_markdown(head, rows)}\n\n"
        f"Teacher-forced. The gate wants a mean cosine of at least {MIN_COSINE} and {MIN_SNR_DB:.0f} dB."
    )


def _streams(report: Report) -> str:
    if not (report.streams or report.newcomer or report.cancel_to_idle_ms):
        return ""
    rows = [
        (str(row.n), held_of(row), f"{row.first_chunk_ms:.0f} ms", f"{row.first_chunk_max_ms:.0f} ms",
         f"{row.aggregate_rtf:.3f}")
        for row in report.streams
    ]  # fmt: skip
    lines = ["## Streams in real time"]
    if rows:
        first = report.streams[0]
        lines.append(_markdown(("at once", "held", "first chunk", "latest", "RTF of all together"), rows))
        lines.append(
            f"Each listener begins {first.start_buffer_s:g} s after its first chunk and takes a frame of 20 ms by the"
            f" clock; a frame that is not there is late. {first.rounds} rounds each. RTF of all together is the time to"
            " make their audio unpaced, per second of it."
        )
    sentences = [newcomer_line(report.newcomer)] if report.newcomer else []
    sentences += [cancel_line(report.cancel_to_idle_ms)] if report.cancel_to_idle_ms else []
    lines += [f"- {sentence[0].upper()}{sentence[1:]}." for sentence in sentences]
    return "\n\n".join(lines[:3]) + ("\n\n" + "\n".join(lines[3:]) if lines[3:] else "")


def _steps(report: Report) -> str:
    lines = []
    if report.decode_step_ms_by_batch:
        lines.append(
            _markdown(
                ("streams in a decode step", *map(str, report.decode_step_ms_by_batch)),
                [("ms", *(f"{ms:.1f}" for ms in report.decode_step_ms_by_batch.values()))],
            )
        )
    shares = [
        (row.label, f"{row.shares.gpt:.0%}", f"{row.shares.vocoder:.0%}", f"{row.shares.rest:.0%}")
        for row in report.rows
        if row.shares
    ]
    if shares:
        lines.append(_markdown(("configuration", "GPT", "vocoder", "rest"), shares))
    if cost := report.length_cost:
        lines.append(
            f"{cost.long_s:.1f} s of audio cost {cost.ratio:.2f} times what {cost.short_s:.1f} s cost (time in the"
            " model; linear is 4)."
        )
    return "\n\n".join(["## Where the time goes", *lines]) if lines else ""


def _memory(report: Report) -> str:
    if not report.memory:
        return ""
    rows = [
        (row.config, f"{row.loaded_mb:.0f}", f"{row.peak_mb:.0f}",
         f"{row.model_mb:.0f} ({'built in code' if row.is_built else 'files'})", f"{row.peak_ratio:.2f}",
         f"{row.per_stream_mb:.0f}", f"{row.per_stream_full_mb:.0f}",
         f"{row.loaded_mb + 8 * row.per_stream_full_mb:.0f}")
        for row in report.memory
    ]  # fmt: skip
    head = ("configuration", "loaded", "peak", "model", "peak / model", "per stream", "at most", "8 long streams")
    return (
        f"## Memory, MB\n\n{_markdown(head, rows)}\n\n"
        f"Resident size of a process that holds the model alone, with {report.memory[0].num_slots} slots."
        " *Per stream* was measured on the sentence; *at most* is"
        " the KV memory of a stream that uses every position, in float32."
    )


def _machine(report: Report) -> str:
    machine = report.machine
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    lines = [
        f"- {machine.cpu}, {machine.cores} cores, {machine.memory_gb:.1f} GB, {machine.system}"
        + (f", {machine.gpu}" if machine.gpu else ""),
        f"- instructions: {', '.join(machine.flags) or 'not known'}",
        f"- Python {machine.python}, {packages}",
    ]
    if report.others_cpu is not None:
        warning = " (**disturbed: measure again**)" if report.is_disturbed else ""
        lines.append(f"- other programs took {report.others_cpu:.1%} of the CPU meanwhile{warning}")
    lines += [f"- {note}" for note in report.notes]
    return "## The machine\n\n" + "\n".join(lines)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


__all__ = ["document"]
