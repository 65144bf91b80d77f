"""The same report as JSON, table, page and picture."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from xtts_rtc.bench.document import document
from xtts_rtc.bench.machine import OthersCpu, describe_machine
from xtts_rtc.bench.records import (
    Cancels,
    ConfigParity,
    LengthCost,
    Memory,
    Newcomer,
    Ratio,
    Report,
    Row,
    Shares,
    StreamsRow,
)
from xtts_rtc.bench.table import table

CONTRACT = {"machine", "model", "sentence", "rows", "streams", "cancel_to_idle_ms", "decode_step_ms", "stock", "ratio"}
ROW = {"config", "backend", "precision", "first_chunk_ms", "total_ms", "audio_s", "rtf", "runs"}


def row_with(**changes: object) -> Row:
    values: dict[str, object] = {
        "config": "xtts-rtc", "backend": "onnx", "precision": "int8-row, vocoder openvino-bf16",
        "first_chunk_ms": 251.0, "total_ms": 2800.0, "audio_s": 4.64, "rtf": 0.6, "runs": 5, "runs_with_gaps": 0,
        "longest_gap_ms": 0.0, "shares": Shares(gpt=0.75, vocoder=0.2, rest=0.05),
        "ratio": Ratio(first_chunk=11.2, total_per_audio_second=6.1),
    }  # fmt: skip
    return Row(**{**values, **changes})  # type: ignore[arg-type]


def full_report() -> Report:
    parity = ConfigParity(
        config="onnx int8-row", is_good=False, num_steps=96, latent_cosine_mean=0.9981, latent_cosine_min=0.99,
        logit_kl_max=0.2, audio_snr_db=47.0, first_divergence=31,
    )  # fmt: skip
    return Report(
        machine=describe_machine("cpu"), model="random-full", sentence="Hello.", date="2026-01-02", version="1.2.3",
        command="xtts-rtc bench --model random-full",
        rows=[row_with(), row_with(precision="fp32", runs_with_gaps=2, longest_gap_ms=63.0, ratio=None)],
        streams=[
            StreamsRow(n=1, in_real_time=True, underruns=0, refused=0, aggregate_rtf=0.6, first_chunk_ms=250.0,
                       first_chunk_max_ms=260.0, start_buffer_s=0.4, rounds=3),
            StreamsRow(n=4, in_real_time=False, underruns=7, refused=1, aggregate_rtf=1.1, first_chunk_ms=450.0,
                       first_chunk_max_ms=560.0, start_buffer_s=0.4, rounds=3),
        ],
        newcomer=Newcomer(others=2, first_chunk_ms=400.0, alone_ms=250.0, ratio=1.6, underruns_of_others=0,
                          underruns=0, refused=0, rounds=3),
        cancel_to_idle_ms=Cancels(p50=10.5, max=22.0, max_steps_after=1, runs=8),
        decode_step_ms=19.7, decode_step_ms_by_batch={1: 19.7, 2: 21.4, 4: 26.0},
        length_cost=LengthCost(short_s=5.0, long_s=20.0, ratio=4.05),
        memory=[Memory(config="onnx int8-row", before_mb=60, loaded_mb=900, peak_mb=1000, model_mb=700,
                       peak_ratio=1.43, is_built=False, num_slots=3, per_stream_mb=35, per_stream_full_mb=257)],
        stock=row_with(config="coqui-tts inference_stream", backend="stock", precision="fp32", first_chunk_ms=2811.0,
                       total_ms=17000.0, runs_with_gaps=5, longest_gap_ms=900.0, shares=None, ratio=None),
        ratio=Ratio(first_chunk=11.2, total_per_audio_second=6.1), parity=parity, parities=[parity],
        notes=["no row for torch fp32: not installed"],
    )  # fmt: skip


def test_the_json_has_the_keys_of_the_contract() -> None:
    report = json.loads(full_report().to_json())
    assert CONTRACT | {"parity"} <= report.keys()
    assert all(row.keys() >= ROW for row in report["rows"])
    assert report["streams"][0].keys() >= {"n", "in_real_time", "underruns", "aggregate_rtf"}
    assert report["cancel_to_idle_ms"].keys() >= {"p50", "max"}
    assert report["stock"].keys() >= {"first_chunk_ms", "total_ms", "audio_s", "rtf"}
    assert report["ratio"].keys() == {"first_chunk", "total_per_audio_second"}
    assert report["parity"].keys() >= {"config", "latent_cosine_min", "logit_kl_max", "audio_snr_db"}


def test_what_was_not_measured_is_absent_from_the_json() -> None:
    bare = Report(machine=describe_machine("cpu"), model="m", sentence="s", date="d", version="v", command="c")
    assert not {"stock", "ratio", "parity", "newcomer", "decode_step_ms"} & json.loads(bare.to_json()).keys()


@pytest.mark.parametrize("write", [table, lambda report: document(report, "benchmarks.png")], ids=["table", "page"])
def test_nothing_is_left_out_and_nothing_is_glossed_over(write: object) -> None:
    text = write(full_report())  # type: ignore[operator]
    for figure in ("251", "2800", "2811", "17000", "11.2", "6.1", "0.99810", "0.99000", "47 dB", "at step 31 of 96",
                   "400 ms", "1.6 times", "10.5", "at most 1", "4.05", "21.4", "257"):  # fmt: skip
        assert figure in text, figure
    assert "GAPS in 2 of 5 (up to 63 ms)" in text and "gap-free" in text
    assert "NOT held: 7 frames late, 1 of 12 refused" in text
    assert "fail" in text.lower() and "no row for torch fp32: not installed" in text


def test_the_published_figures_are_marked_as_their_authors() -> None:
    lines = table(full_report()).splitlines()
    assert [line for line in lines if " 84 ms" in line and "728 ms" in line and "that author" in line]
    page = document(full_report(), "x.png")
    assert "~1100 ms" in page and ">3000 ms" in page and "not measured here" in page


def test_tables_of_the_page_have_as_many_cells_as_heads() -> None:
    page = document(full_report(), "x.png")
    tables = [block.splitlines() for block in page.split("\n\n") if block.startswith("|")]
    assert len(tables) == 6
    assert all(len({line.count("|") for line in lines}) == 1 for lines in tables)


def test_the_machine_is_named_without_its_paths() -> None:
    machine = describe_machine("cpu")
    assert machine.cpu and machine.cores >= 1 and machine.memory_gb > 0
    assert machine.gpu is None and "numpy" in machine.packages


def test_a_disturbed_machine_is_said_to_be_one() -> None:
    report = full_report()
    report.others_cpu = 0.31
    assert "31% of the CPU" in table(report) and "disturbed" in document(report, "x.png")
    report.others_cpu = 0.01
    assert "DISTURBED" not in table(report) and "disturbed" not in document(report, "x.png")


def test_what_this_process_computes_is_not_counted_as_that_of_others() -> None:
    others = OthersCpu()
    start = time.process_time()
    while time.process_time() - start < 0.05:
        pass
    share = others.share()
    assert share is None or 0 <= share <= 1


@pytest.mark.slow  # matplotlib takes a second to import
def test_the_chart_is_a_picture_also_of_one_row(tmp_path: Path) -> None:
    from xtts_rtc.bench.chart import draw

    report = full_report()
    draw(report, tmp_path / "all.png")
    report.rows, report.stock, report.decode_step_ms_by_batch = report.rows[:1], None, {}
    draw(report, tmp_path / "one.png")
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("all.png", "one.png"))
