"""From flags to a plan, from a plan to a report; end to end on the tiny model against stock."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from xtts_rtc import cli
from xtts_rtc.bench.command import PARTS, Plan, candidates, plan_of
from xtts_rtc.bench.reference import open_reference, why_no_reference
from xtts_rtc.engine.runtimes import ModelChoice
from xtts_rtc.errors import ConfigError
from xtts_rtc.settings import load_settings


def plan(**changes: object) -> Plan:
    flags: dict[str, object] = {
        "settings": load_settings({"model": {"name": "random-tiny"}}), "runs": 5, "streams": "1,4", "rows": "auto",
        "against": None, "skip": None, "start_buffer_s": 0.25,
    }  # fmt: skip
    return plan_of(argparse.Namespace(**{**flags, **changes}))


def test_the_plan_is_what_the_flags_and_the_settings_say() -> None:
    found = plan(skip=["memory", "parity"], against="stock", rows="all")
    assert (found.counts, found.num_slots, found.with_stock, found.rows) == ((1, 4), 4, True, "all")
    assert found.skip == {"memory", "parity"}
    assert (found.listening.start_buffer_s, found.listening.max_ahead_s, found.listening.max_queue_s) == (0.25, 3, 2)


def test_the_plan_says_how_to_get_its_figures_again() -> None:
    words = plan(skip=["memory"], against="stock").command.split()
    assert words[:4] == ["xtts-rtc", "bench", "--model", "random-tiny"]
    assert {"--against", "stock", "1,4", "0.25", "memory"} <= set(words)


def test_a_model_in_a_folder_is_named_without_its_path() -> None:
    settings = load_settings({"model": {"name": "some/where/my-model"}})
    found = plan(settings=settings)
    assert found.model == "my-model" and "some/where" not in found.command


def test_there_is_always_room_for_the_newcomer() -> None:
    assert plan(streams="1").num_slots >= 3


def test_a_part_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(ConfigError, match=", ".join(PARTS)):
        plan(skip=["sleep"])


def test_all_rows_of_a_cpu_are_its_four_graphs_and_torch() -> None:
    choices = list(candidates(ModelChoice(name="m", vocoder="onnxruntime-fp32"), "cpu"))
    assert [(choice.backend, choice.precision) for choice in choices] == [
        ("onnx", "int8-static"), ("onnx", "int8-row"), ("onnx", "int8-block"), ("onnx", "fp32"), ("torch", "fp32"),
    ]  # fmt: skip
    assert {choice.name for choice in choices} == {"m"}
    assert {choice.vocoder for choice in choices[:4]} == {"onnxruntime-fp32"}


def test_a_gpus_rows_differ_in_its_options() -> None:
    choices = list(candidates(ModelChoice(device="cuda"), "cuda"))
    assert all(choice.backend == "torch" for choice in choices)
    assert len({(choice.half, choice.compile, choice.deepspeed) for choice in choices}) == 4


def test_a_bundle_has_no_reference_and_stock_cannot_run_on_it(tmp_path: Path) -> None:
    pytest.importorskip("TTS")
    choice = ModelChoice(name=str(tmp_path))
    assert "bundle" in (why_no_reference(choice) or "")
    with pytest.raises(ConfigError, match="stock cannot run here"):
        open_reference(choice, cache_dir=tmp_path, with_stock=True, with_truth=True)
    assert isinstance(open_reference(choice, cache_dir=tmp_path, with_stock=False, with_truth=True), str)


@pytest.mark.slow
def test_a_whole_benchmark_of_the_tiny_model_against_stock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("TTS")
    monkeypatch.setenv("XTTS_CACHE_DIR", str(tmp_path / "cache"))
    files = ["--json", str(tmp_path / "b.json"), "--docs", str(tmp_path / "docs")]
    flags = ["--model", "random-tiny", "--against", "stock", "--rows", "all", "--runs", "1", "--streams", "1,2"]
    assert cli.main(["bench", *flags, *files]) == 0
    report = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))
    labels = [(row["backend"], row["precision"].split(",")[0]) for row in report["rows"]]
    graphs = [("onnx", precision) for precision in ("fp32", "int8-block", "int8-row", "int8-static")]
    assert sorted(labels) == [*graphs, ("torch", "fp32")]
    assert report["ratio"]["total_per_audio_second"] > 1 and report["ratio"]["first_chunk"] > 1
    assert {row["audio_s"] for row in report["rows"]} == {report["rows"][0]["audio_s"]}
    assert abs(report["stock"]["audio_s"] - report["rows"][0]["audio_s"]) < 0.1
    assert [row["n"] for row in report["streams"]] == [1, 2]
    assert len(report["parities"]) == 4 and all(found["is_good"] for found in report["parities"])
    assert report["cancel_to_idle_ms"]["max_steps_after"] <= 1
    assert report["length_cost"]["ratio"] < 6  # linear is 4; one run on a busy machine
    assert len(report["memory"]) == 5 and all(row["peak_mb"] >= row["loaded_mb"] * 0.99 for row in report["memory"])
    page = (tmp_path / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert str(tmp_path) not in page and "published article" in page
    assert (tmp_path / "docs" / "benchmarks.png").stat().st_size > 10_000
    captured = capsys.readouterr()
    assert "against stock" in captured.out
    assert "loading" in captured.err


@pytest.mark.slow
def test_without_stock_and_parity_no_torch_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from xtts_rtc.bench import command

    monkeypatch.setenv("XTTS_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(command, "open_reference", None)  # whoever calls it fails
    skipped = [flag for part in PARTS for flag in ("--skip", part)]
    assert cli.main(["bench", "--model", "random-tiny", "--runs", "1", *skipped]) == 0
    assert "against stock" not in capsys.readouterr().out
