"""The report as a picture: against stock, steps by batch size, and where the time goes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xtts_rtc.bench.records import Report, Row
from xtts_rtc.errors import MissingExtra
from xtts_rtc.types import TOKENS_PER_SECOND

# Okabe and Ito's colours: told apart with any kind of colour vision, and in grey.
_OURS, _STOCK, _REST = "#0072B2", "#D55E00", "#B8B8B8"
_LIGHT, _INK, _QUIET = "#56B4E9", "#222222", "#666666"
_BAR = 0.36


def need_matplotlib() -> None:
    """Raises MissingExtra when there is nothing to draw with."""
    if find_spec("matplotlib") is None:
        raise MissingExtra("matplotlib is not installed, and a chart needs it; pip install matplotlib")


def draw(report: Report, path: Path) -> None:
    """Write the chart; the format is the one `path` ends with."""
    need_matplotlib()
    from matplotlib.figure import Figure

    rows = [*report.rows, *([report.stock] if report.stock else [])]
    has_steps = len(report.decode_step_ms_by_batch) > 1
    widths = [1.5, 1.0, 1.15] if has_steps else [1.5, 1.15]
    figure = Figure(figsize=(14.5 if has_steps else 11, 2.9 + 0.62 * len(rows)), dpi=110, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    axes = figure.subplots(1, len(widths), width_ratios=widths)
    _draw_times(axes[0], rows)
    if has_steps:
        _draw_steps(axes[1], report)
    _draw_shares(axes[-1], report.rows)
    where = report.machine.gpu or report.machine.cpu
    figure.suptitle(
        f"{report.model} on {where}, {report.machine.cores} cores", x=0.01, ha="left", fontsize=13, color=_INK
    )
    figure.savefig(path)


def _draw_times(axis: Any, rows: list[Row]) -> None:
    """Bars from 1 ms would say nothing about ratios, so the times are dots on a logarithmic line."""
    from matplotlib.ticker import LogLocator, NullLocator

    for place, row in enumerate(rows):
        colour = _STOCK if row.backend == "stock" else _OURS
        axis.plot([row.first_chunk_ms, row.total_ms], [place, place], color=colour, linewidth=2, alpha=0.35, zorder=2)
        axis.scatter(row.first_chunk_ms, place, s=70, color=colour, zorder=3)
        axis.scatter(row.total_ms, place, s=70, facecolor="white", edgecolor=colour, linewidth=2, zorder=3)
        mark = "*" if row.runs_with_gaps else ""
        axis.annotate(_time(row.first_chunk_ms) + mark, (row.first_chunk_ms, place), **_above(colour))
        axis.annotate(_time(row.total_ms), (row.total_ms, place), **_above(colour))
    axis.set_xscale("log")
    times = [time for row in rows for time in (row.first_chunk_ms, row.total_ms)]
    axis.set_xlim(min(times) / 1.6, max(times) * 1.6)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(lambda value, _: _time(value))
    axis.set_yticks(range(len(rows)), [_name(row) for row in rows])
    axis.set_ylim(len(rows) - 0.5, -0.6)
    audio = rows[0].audio_s
    has_gaps = any(row.runs_with_gaps for row in rows)
    note = "\n* a listener without a buffer would have to wait afterwards" if has_gaps else ""
    _dress(axis, f"First chunk (●) and total (○) for {audio:.1f} s of speech{note}", grid="x")


def _draw_steps(axis: Any, report: Report) -> None:
    sizes, times = list(report.decode_step_ms_by_batch), list(report.decode_step_ms_by_batch.values())
    per_token_ms = 1e3 / TOKENS_PER_SECOND
    axis.plot(sizes, times, color=_OURS, linewidth=2, marker="o", markersize=7)
    for size, ms in zip(sizes, times, strict=True):
        axis.annotate(f"{ms:.3g}", (size, ms), **_above(_OURS))
    top = max(*times, per_token_ms) if max(times) > 0.4 * per_token_ms else max(times)
    if top >= per_token_ms:
        axis.axhline(per_token_ms, color=_QUIET, linewidth=1, linestyle=(0, (4, 3)))
        axis.annotate(
            f"a token is {per_token_ms:.0f} ms of speech", (sizes[-1], per_token_ms), xytext=(0, 4),
            textcoords="offset points", ha="right", fontsize=8.5, color=_QUIET,
        )  # fmt: skip
    axis.set_ylim(0, 1.22 * top)
    axis.set_xlim(sizes[0] - 0.4, sizes[-1] + 0.4)
    axis.set_xticks(sizes)
    axis.set_xlabel("streams in one step", color=_QUIET, fontsize=9.5)
    _dress(axis, "A decode step, ms", grid="y")


def _draw_shares(axis: Any, rows: list[Row]) -> None:
    shown = [row for row in rows if row.shares]
    for place, row in enumerate(shown):
        assert row.shares is not None
        left = 0.0
        parts = ((row.shares.gpt, _OURS), (row.shares.vocoder, _LIGHT), (row.shares.rest, _REST))
        for share, colour in parts:
            axis.barh(place, share, 0.5, left=left, color=colour, edgecolor="white", linewidth=2)
            if share >= 0.09:
                ink = "white" if colour == _OURS else _INK
                axis.text(left + share / 2, place, f"{share:.0%}", ha="center", va="center", color=ink, fontsize=9)
            left += share
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axis.set_yticks(range(len(shown)), [_name(row) for row in shown])
    axis.set_ylim(max(len(shown), 2) - 0.5, -0.6)
    handles = [_patch(colour, name) for name, colour in (("GPT", _OURS), ("vocoder", _LIGHT), ("rest", _REST))]
    axis.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=3, frameon=False, fontsize=9)
    _dress(axis, "Where the time of one stream goes", grid="")


def _patch(colour: str, label: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(facecolor=colour, label=label)


def _dress(axis: Any, title: str, *, grid: str) -> None:
    axis.set_title(title, loc="left", fontsize=10.5, color=_INK, pad=10)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.spines["bottom"].set_color("#999999")
    axis.tick_params(colors=_QUIET, length=0, labelsize=9)
    axis.tick_params(axis="y", labelcolor=_INK)
    if grid:
        axis.grid(axis=grid, color="#E4E4E4", linewidth=0.8)
        axis.set_axisbelow(True)


def _above(colour: str) -> dict[str, Any]:
    return {"xytext": (0, 8), "textcoords": "offset points", "ha": "center", "fontsize": 9, "color": colour}


def _name(row: Row) -> str:
    if row.backend == "stock":
        return "stock coqui-tts\nfp32"
    precision, _, vocoder = row.precision.partition(", ")
    return f"{row.backend} {precision}" + (f"\n{vocoder}" if vocoder else "")


def _time(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1e3:.3g} s"


__all__ = ["draw", "need_matplotlib"]
