"""Which row of KV memory a slot lives in, and when moving rows is worth its cost."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

PATIENCE_ROWS = 8
"""Idle rows computed before rows are moved. A move costs about as much as that many idle rows do: 61 KB a
position at full size in int8, 6 MB for a row of 100, against 1 ms an idle row."""


def allocate(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Zeroed memory whose pages become real only where it is written.

    numpy asks for huge pages, which would make a whole row resident (255 MB at full size) for its first
    position; this memory asks for small ones.
    """
    num_bytes = int(np.prod(shape)) * dtype.itemsize
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
        return np.zeros(shape, dtype)
    memory = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return np.frombuffer(memory, dtype).reshape(shape)


class RowMap:
    """Slots to rows, both 0 to num_slots - 1. The caller moves the memory that `arrange` tells it to."""

    def __init__(self, num_slots: int) -> None:
        self._slot_at: list[int | None] = [None] * num_slots
        self._waste = 0

    def row_of(self, slot: int) -> int:
        """The row of a slot that has one."""
        return self._slot_at.index(slot)

    def slot_at(self, row: int) -> int | None:
        """The slot in a row, or None for a free row."""
        return self._slot_at[row]

    def take(self, slot: int) -> int:
        """The slot's row, the lowest free one if it has none."""
        if slot not in self._slot_at:
            self._slot_at[self._slot_at.index(None)] = slot
        return self._slot_at.index(slot)

    def free(self, slot: int) -> None:
        """The slot's row is free; nothing happens if it has none."""
        if slot in self._slot_at:
            self._slot_at[self._slot_at.index(slot)] = None

    def arrange(self, slots: list[int]) -> list[tuple[int, int]]:
        """Count what a step of `slots` wastes; when it has become too much, the rows to exchange, in order.

        Every pair is (source, target): the memory of the two rows is exchanged (the map already is).
        """
        rows = {self.row_of(slot) for slot in slots}
        idle = max(rows) + 1 - min(rows) - len(rows)
        self._waste = self._waste + idle if idle else 0
        if self._waste <= PATIENCE_ROWS:
            return []
        self._waste = 0
        moves = []
        while max(rows) + 1 - min(rows) > len(rows):
            source = max(rows)
            target = next(row for row in range(min(rows), source) if row not in rows)
            self._slot_at[target], self._slot_at[source] = self._slot_at[source], self._slot_at[target]
            rows = rows - {source} | {target}
            moves.append((source, target))
        return moves


__all__ = ["PATIENCE_ROWS", "RowMap", "allocate"]
