"""What a run can be picked up from after a kill, and how it went so far."""

from __future__ import annotations

import csv
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def save(path: Path, state: dict[Any, Any]) -> None:
    """Whole or not at all."""
    beside = path.with_suffix(".part")
    torch.save(state, beside)
    os.replace(beside, path)


def read(path: Path) -> dict[Any, Any] | None:
    """What `save` wrote, None if there is nothing."""
    return torch.load(path, weights_only=False, map_location="cpu") if path.is_file() else None


class Average:
    """An exponential average of parameters, the one that is used and judged."""

    def __init__(self, module: nn.Module, *, most: float) -> None:
        self._live = dict(module.named_parameters())
        self._most = most
        self.values = {name: parameter.detach().clone() for name, parameter in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        keep = min(self._most, (step + 1) / (step + 20))
        torch._foreach_lerp_(list(self.values.values()), [p.detach() for p in self._live.values()], 1 - keep)

    def load(self, values: dict[str, Tensor]) -> None:
        for name, tensor in values.items():
            self.values[name].copy_(tensor)


class Curves:
    """Means of what was measured, a line of CSV every `every` steps; one file a stage, appended to."""

    def __init__(self, path: Path, every: int) -> None:
        self._path, self._every = path, every
        self._sums: dict[str, float] = defaultdict(float)
        self._count, self._since = 0, time.monotonic()

    def add(self, step: int, values: dict[str, float]) -> str | None:
        """Returns the line for people when one was written."""
        for name, value in values.items():
            self._sums[name] += value
        self._count += 1
        if step % self._every:
            return None
        row = {name: total / self._count for name, total in self._sums.items()}
        row["s_per_step"] = (time.monotonic() - self._since) / self._count
        self.write(step, row, "train")
        self._sums.clear()
        self._count, self._since = 0, time.monotonic()
        return f"{step}: " + " ".join(f"{name} {value:.3f}" for name, value in row.items())

    def write(self, step: int, values: dict[str, float], kind: str) -> None:
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            for name, value in values.items():
                writer.writerow([step, kind, name, f"{value:.6g}"])


def learning_rate(step: int, *, peak: float, warmup: int, steps: int, decay: int) -> float:
    """Up, level, and down to a hundredth over the last `decay` steps: the end may be moved while it runs."""
    left = (steps - step) / max(1, decay)
    return peak * min(1.0, (step + 1) / warmup) * max(0.01, min(1.0, left))


__all__ = ["Average", "Curves", "learning_rate", "read", "save"]
