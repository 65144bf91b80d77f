"""One tiny random model for this folder; tests only read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def tiny() -> Any:
    """An `Xtts` with random weights: 2 layers, 64 wide."""
    from xtts_rtc.model.torch.checkpoint import load_model

    return load_model("random-tiny").xtts


@pytest.fixture
def inference() -> Iterator[None]:
    import torch

    with torch.inference_mode():
        yield
