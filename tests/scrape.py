"""`/metrics` as Prometheus reads it."""

from __future__ import annotations

import asyncio
import urllib.request

from prometheus_client.parser import text_string_to_metric_families


async def scrape(url: str) -> dict[str, float]:
    """Every sample of a server's `/metrics`, as ``name{label="value"}`` with the labels in order."""
    return parse(await asyncio.to_thread(_fetch, f"{url}/metrics"))


def parse(text: str) -> dict[str, float]:
    """The same of a text."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {sample.name + _labels(sample.labels): sample.value for sample in samples}


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{labels[name]}"' for name in sorted(labels)) + "}" if labels else ""


def _fetch(url: str) -> str:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
        return bytes(answer.read()).decode()
