"""The report for eyes on a terminal."""

from __future__ import annotations

from xtts_rtc.bench.records import Cancels, ConfigParity, Memory, Newcomer, Report, Row, StreamsRow
from xtts_rtc.model.quality import MIN_COSINE, MIN_SNR_DB


def table(report: Report) -> str:
    """All that was measured, plain text."""
    lines = [_headline(report), "", *_rows(report)]
    for section in (_parities(report), _streams(report), _details(report), _memory(report)):
        lines += ["", *section] if section else []
    lines += ["", *(f"note: {note}" for note in report.notes)] if report.notes else []
    return "\n".join(lines)


def gaps_of(row: Row) -> str:
    """Whether the first chunk may be quoted."""
    if not row.runs_with_gaps:
        return "gap-free"
    return f"GAPS in {row.runs_with_gaps} of {row.runs} (up to {row.longest_gap_ms:.0f} ms)"


def held_of(row: StreamsRow) -> str:
    """Whether the machine holds so many."""
    if row.in_real_time:
        return "held"
    reasons = [f"{row.underruns} frames late"] if row.underruns else []
    reasons += [f"{row.refused} of {row.n * row.rounds} refused"] if row.refused else []
    return "NOT held: " + ", ".join(reasons)


def diverged_of(parity: ConfigParity) -> str:
    """When the same seed chose another token."""
    if parity.first_divergence is None:
        return f"not in {parity.num_steps} steps"
    return f"at step {parity.first_divergence} of {parity.num_steps}"


def newcomer_line(row: Newcomer) -> str:
    """One sentence."""
    if row.first_chunk_ms is None or row.ratio is None:
        return f"a newcomer while {row.others} speak is refused on this machine"
    refused = f"; refused {row.refused} times" if row.refused else ""
    return (
        f"a newcomer while {row.others} speak: first chunk {row.first_chunk_ms:.0f} ms, {row.ratio:.1f} times its"
        f" {row.alone_ms:.0f} ms alone; late frames of the others {row.underruns_of_others}, its own"
        f" {row.underruns}{refused}"
    )


def cancel_line(row: Cancels) -> str:
    """One sentence."""
    return (
        f"cancel to idle: median {row.p50:.1f} ms, most {row.max:.1f} ms over {row.runs} moments;"
        f" steps begun after the cancel: at most {row.max_steps_after}"
    )


def _headline(report: Report) -> str:
    machine = report.machine
    where = machine.gpu or machine.cpu
    features = ", ".join(flag for flag in machine.flags if flag.startswith(("avx512_vnni", "amx", "avx_vnni")))
    extra = f" ({features})" if features else ""
    line = f"{report.model} on {where}{extra}, {machine.cores} cores, {machine.memory_gb:.0f} GB"
    if report.is_disturbed:
        line += f"\nDISTURBED: other programs took {report.others_cpu:.0%} of the CPU meanwhile; measure again"
    return line


def _rows(report: Report) -> list[str]:
    measured = [(_full_name(row), row) for row in [*report.rows, *([report.stock] if report.stock else [])]]
    published = [(f"{row.config} (that author)", row) for row in report.published]
    width = max(len(name) for name, _ in [*measured, *published])
    head = f"{'first chunk':>12} {'total':>10} {'audio':>8} {'RTF':>6}  first chunk is"
    lines = [f"{'configuration':{width}} {head}"]
    for name, row in measured:
        lines.append(
            f"{name:{width}} {row.first_chunk_ms:9.0f} ms {row.total_ms:7.0f} ms {row.audio_s:6.2f} s"
            f" {row.rtf:6.3f}  {gaps_of(row)}"
        )
    lines += [f"{name:{width}} {that.first_chunk_ms:>9} ms {that.total_ms:>7} ms" for name, that in published]
    for row in report.rows:
        if row.ratio:
            lines.append(
                f"{row.label} against stock: first chunk {row.ratio.first_chunk:.1f} times earlier,"
                f" {row.ratio.total_per_audio_second:.1f} times less time per second of audio"
            )
    return lines


def _full_name(row: Row) -> str:
    return ", ".join((row.config, row.backend, row.precision))


def _parities(report: Report) -> list[str]:
    if not report.parities:
        return []
    lines = [f"against torch fp32 (wanted: cosine >= {MIN_COSINE}, SNR >= {MIN_SNR_DB:.0f} dB)"]
    for found in report.parities:
        lines.append(
            f"  {found.config}: {'pass' if found.is_good else 'FAIL'}; latent cosine {found.latent_cosine_mean:.5f}"
            f" (least {found.latent_cosine_min:.5f}), KL at most {found.logit_kl_max:.4f} nats,"
            f" vocoder {found.audio_snr_db:.0f} dB, same seed parts {diverged_of(found)}"
        )
    return lines


def _streams(report: Report) -> list[str]:
    lines = [
        f"{row.n} at once: first chunk {row.first_chunk_ms:.0f} ms (latest {row.first_chunk_max_ms:.0f}),"
        f" RTF of all {row.aggregate_rtf:.3f}, {held_of(row)} with a start buffer of {row.start_buffer_s:g} s"
        for row in report.streams
    ]
    return lines + ([newcomer_line(report.newcomer)] if report.newcomer else [])


def _details(report: Report) -> list[str]:
    lines = [cancel_line(report.cancel_to_idle_ms)] if report.cancel_to_idle_ms else []
    if report.decode_step_ms_by_batch:
        steps = ", ".join(f"{n}: {ms:.1f}" for n, ms in report.decode_step_ms_by_batch.items())
        lines.append(f"decode step in ms by batch size: {steps}")
    if cost := report.length_cost:
        lines.append(f"{cost.long_s:.1f} s of audio cost {cost.ratio:.2f} times what {cost.short_s:.1f} s cost")
    lines += [
        f"{row.label}: GPT {row.shares.gpt:.0%}, vocoder {row.shares.vocoder:.0%}, rest {row.shares.rest:.0%}"
        for row in report.rows
        if row.shares
    ]
    return lines


def _memory(report: Report) -> list[str]:
    return [f"memory of {row.config}: {memory_line(row)}" for row in report.memory]


def memory_line(row: Memory) -> str:
    """One sentence without its subject."""
    what = "built in code" if row.is_built else "of files"
    return (
        f"{row.loaded_mb:.0f} MB loaded, peak {row.peak_mb:.0f} MB ({row.peak_ratio:.1f} times the"
        f" {row.model_mb:.0f} MB {what}), {row.per_stream_mb:.0f} MB per stream"
        f" (at most {row.per_stream_full_mb:.0f})"
    )


__all__ = ["cancel_line", "diverged_of", "gaps_of", "held_of", "memory_line", "newcomer_line", "table"]
