"""Buffers that never move, and what is recorded on them."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from xtts_rtc.model.torch.static_step import GraphRecorder, StaticStep, Work, play_eagerly  # noqa: E402

pytestmark = pytest.mark.slow  # importing torch takes seconds


def double(inputs: torch.Tensor) -> torch.Tensor:
    return inputs.float() * 2


def test_outputs_follow_the_inputs_and_stay_in_one_buffer() -> None:
    step = StaticStep(double, torch.zeros(4, 2, dtype=torch.int64), play_eagerly)
    first = step(torch.full((4, 2), 3))
    assert first.eq(6).all()
    second = step(torch.full((4, 2), 5))
    assert second.data_ptr() == first.data_ptr()
    assert first.eq(10).all()


@pytest.mark.parametrize("wrong", [torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4, 2, dtype=torch.int32)])
def test_another_shape_or_dtype_is_refused_by_name(wrong: torch.Tensor) -> None:
    step = StaticStep(double, torch.zeros(4, 2, dtype=torch.int64), play_eagerly)
    with pytest.raises(ValueError, match=r"fixed to \[4, 2\] int64 and was given \[4, [23]\] int"):
        step(wrong)


def test_the_recorded_work_is_what_plays() -> None:
    played = []

    def record(work: Work) -> Work:
        def play() -> None:
            played.append(1)
            work()

        return play

    step = StaticStep(double, torch.zeros(1, 1, dtype=torch.int64), record)
    assert played == []
    assert step(torch.ones(1, 1, dtype=torch.int64)).item() == 2
    assert played == [1]


@pytest.mark.gpu
def test_a_captured_graph_gives_what_the_work_gives() -> None:
    device = torch.device("cuda")
    weight = torch.randn(64, 64, device=device)

    def work(inputs: torch.Tensor) -> torch.Tensor:
        return inputs.float() @ weight

    recorder = GraphRecorder(device)
    example = torch.zeros(8, 64, dtype=torch.int64, device=device)
    steps = [StaticStep(work, example[:rows], recorder) for rows in (8, 2)]
    for rows, step in zip((8, 2), steps, strict=True):
        for value in (1, 2):
            inputs = torch.full((rows, 64), value)
            torch.testing.assert_close(step(inputs), work(inputs.to(device)))
