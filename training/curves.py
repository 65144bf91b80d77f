"""The curves of every stage so far as one PNG each.

python -m training.curves
"""

from __future__ import annotations

import csv
from collections import defaultdict
from pathlib import Path

from training.config import load

Points = dict[str, dict[str, list[tuple[int, float]]]]


def read(path: Path) -> Points:
    """By name and kind ("train", "held out"): step and value. A step that was done again counts once."""
    found: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    with path.open(newline="", encoding="utf-8") as file:
        for step, kind, name, value in csv.reader(file):
            found[name][kind][int(step)] = float(value)
    return {name: {kind: sorted(at.items()) for kind, at in kinds.items()} for name, kinds in found.items()}


def draw(path: Path) -> Path:
    """FILE.csv to FILE.png."""
    from matplotlib.figure import Figure

    points = read(path)
    columns = 4
    rows = -(-len(points) // columns)
    figure = Figure(figsize=(4 * columns, 2.8 * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in panels[len(points) :]:
        unused.set_axis_off()
    for panel, (name, kinds) in zip(panels, points.items(), strict=False):
        for kind, line in kinds.items():
            panel.plot(*zip(*line, strict=True), label=kind, marker="." if len(line) < 30 else "")
        panel.set_title(name, fontsize=10)
        panel.legend(fontsize=8)
        panel.grid(alpha=0.3)
    out = path.with_suffix(".png")
    figure.savefig(out, dpi=80)
    return out


if __name__ == "__main__":
    for table in sorted(load().folder.glob("*.csv")):
        print(draw(table))
