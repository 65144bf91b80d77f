"""configs/grafana-dashboard.json asks for what /metrics has, and leaves nothing of it out."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.scrape import parse
from xtts_rtc.errors import EngineFull
from xtts_rtc.metrics import Metrics
from xtts_rtc.types import EngineStatus

PATH = Path(__file__).parent.parent / "configs" / "grafana-dashboard.json"
FUNCTIONS = {"histogram_quantile", "rate", "sum", "by"}
GRID_COLUMNS = 24


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="module")
def exported() -> dict[str, set[str]]:
    """Every exported name with its labels."""
    metrics = Metrics()
    metrics.refused(EngineFull("full"))
    metrics.refused_message(EngineFull("full"))
    metrics.request("/tts", 200)
    names: dict[str, set[str]] = {}
    for sample in parse(metrics.exposition(EngineStatus(is_ready=True))[0].decode()):
        name, _, labels = sample.partition("{")
        names.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    return names


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]


def names_in(query: str) -> set[str]:
    """The metrics that a query reads: words outside of selectors, ranges, groupings and numbers."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|by \([^)]*\)", " ", query)
    return set(re.findall(r"[a-z_][a-z_0-9]*", bare)) - FUNCTIONS


def test_every_query_reads_exported_names_with_their_labels(
    dashboard: dict[str, Any], exported: dict[str, set[str]]
) -> None:
    added_by_prometheus = {"job", "instance"}
    for query in queries(dashboard):
        names = names_in(query)
        assert names and names <= set(exported), query
        used = set(re.findall(r"(\w+)=", query))
        used |= {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
        for name in names:
            assert used - added_by_prometheus <= exported[name], query


def test_every_metric_of_ours_has_a_panel(dashboard: dict[str, Any], exported: dict[str, set[str]]) -> None:
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported if name.startswith("xtts_")}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for query in queries(dashboard) for name in names_in(query)}
    assert families - shown == set()


def test_counters_are_only_read_as_rates(dashboard: dict[str, Any]) -> None:
    for query in queries(dashboard):
        counters = len(re.findall(r"_(?:total|bucket|sum|count)\{", query))
        assert counters == len(
            re.findall(r"rate\(\w+_(?:total|bucket|sum|count)\{[^}]*\}\[\$__rate_interval\]\)", query)
        )
        assert query.count("(") == query.count(")") and query.count("{") == query.count("}")


def test_every_panel_has_a_unit_a_text_a_place_and_the_chosen_data_source(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= GRID_COLUMNS
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, f"{panel['title']} covers another panel"
        taken |= cells
    for panel in panels(dashboard):
        assert panel["fieldConfig"]["defaults"]["unit"] and panel["description"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}


def test_it_can_be_imported_anywhere(dashboard: dict[str, Any]) -> None:
    assert dashboard["schemaVersion"] >= 36 and "id" not in dashboard
    variables = {variable["name"]: variable["type"] for variable in dashboard["templating"]["list"]}
    assert variables == {"datasource": "datasource", "job": "query"}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
