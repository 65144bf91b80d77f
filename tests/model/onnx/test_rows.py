from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xtts_rtc.model.onnx.rows import PATIENCE_ROWS, RowMap, allocate


def test_the_lowest_free_row_is_taken() -> None:
    rows = RowMap(3)
    assert [rows.take(slot) for slot in (2, 0, 1)] == [0, 1, 2]
    rows.free(0)
    assert rows.take(0) == 1


def test_rows_are_left_alone_until_they_have_cost_more_than_a_move() -> None:
    rows = RowMap(3)
    for slot in range(3):
        rows.take(slot)
    rows.free(1)
    quiet = [rows.arrange([0, 2]) for _ in range(PATIENCE_ROWS)]
    assert not any(quiet)
    assert rows.arrange([0, 2]) == [(2, 1)]
    assert rows.row_of(2) == 1


def test_steps_without_idle_rows_reset_the_count() -> None:
    rows = RowMap(3)
    for slot in range(3):
        rows.take(slot)
    for _ in range(3 * PATIENCE_ROWS):
        assert rows.arrange([0, 2]) == []
        assert rows.arrange([0, 1, 2]) == []


@given(st.data())
def test_moves_told_are_moves_made(data: st.DataObject) -> None:
    """Whatever joins, leaves and steps, the memory that follows `arrange` stays with its slot."""
    size = data.draw(st.integers(2, 6))
    rows, memory = RowMap(size), [-1] * size
    for _ in range(data.draw(st.integers(1, 60))):
        live = [slot for slot in range(size) if slot in rows._slot_at]
        action = data.draw(st.sampled_from(["take", "free", "step", "step", "step"]))
        if action == "take":
            slot = data.draw(st.integers(0, size - 1))
            memory[rows.take(slot)] = slot
        elif action == "free" and live:
            rows.free(data.draw(st.sampled_from(live)))
        elif action == "step" and live:
            chosen = data.draw(st.lists(st.sampled_from(live), min_size=1, unique=True))
            for source, target in rows.arrange(chosen):
                memory[source], memory[target] = memory[target], memory[source]
            assert [memory[rows.row_of(slot)] for slot in live] == live


def test_memory_is_zero_and_writable() -> None:
    memory = allocate((2, 3, 5), np.dtype(np.float32))
    assert memory.shape == (2, 3, 5) and not memory.any()
    memory[1, 2, 4] = 1
    assert memory.sum() == np.float32(1)
