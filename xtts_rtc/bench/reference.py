"""The yardstick: the same weights in torch fp32, whose numbers others are compared with, and stock coqui-tts."""

from __future__ import annotations

import gc
import logging
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from xtts_rtc.bench.records import ConfigParity
from xtts_rtc.bench.session import SENTENCE, Session
from xtts_rtc.bench.speed import Stock
from xtts_rtc.engine.conversion import DEFAULT_CLIP
from xtts_rtc.engine.runtimes import LoadedRuntime, ModelChoice, load_runtime, model_folder
from xtts_rtc.errors import ConfigError, MissingExtra
from xtts_rtc.model.interface import Runtime
from xtts_rtc.model.quality import Trace, compare_traces, is_good, trace
from xtts_rtc.types import Conditioning
from xtts_rtc.voices.clip import read_clip


class Reference:
    """`voice` is what all configurations speak with, `truth` what fp32 computes, `stock` coqui-tts' streaming."""

    def __init__(self, choice: ModelChoice, *, cache_dir: Path, with_stock: bool, with_truth: bool = True) -> None:
        plain = ModelChoice(name=choice.name, device=choice.device, backend="torch")
        loaded = load_runtime(plain, num_slots=1, cache_dir=cache_dir)
        self.voice = condition(loaded.runtime)
        ids = np.asarray(loaded.frontend.encode(SENTENCE, "en"), np.int64)
        self.text_ids = ids
        self.truth: Trace | None = trace(loaded.runtime, self.voice, ids) if with_truth else None
        self.stock: Stock | None = _stock(loaded) if with_stock else None
        del loaded
        gc.collect()

    def parity(self, session: Session) -> ConfigParity | None:
        """The session's model against fp32; None for fp32 in torch itself. No engine may run meanwhile."""
        if self.truth is None or (session.backend_name == "torch" and session.precision == "fp32"):
            return None
        assert session.loaded is not None
        found = trace(session.loaded.runtime, self.voice, self.text_ids, truth=self.truth)
        parity = compare_traces(self.truth, found)
        return ConfigParity(config=session.label, is_good=is_good(parity), **asdict(parity))


def why_no_reference(choice: ModelChoice) -> str | None:
    """What stands against loading the weights in torch; None if nothing does."""
    if find_spec("torch") is None or find_spec("TTS") is None:
        return "torch and coqui-tts are not installed; pip install 'xtts-rtc[torch]' brings them"
    folder = model_folder(choice.name)
    if folder is not None and not any((folder / name).is_file() for name in ("model.safetensors", "model.pth")):
        return "the model is a bundle, which holds no fp32 weights; give the checkpoint it was made from"
    return None


def open_reference(choice: ModelChoice, *, cache_dir: Path, with_stock: bool, with_truth: bool) -> Reference | str:
    """The reference, or why there is none. Raises MissingExtra or ConfigError if stock was asked for and cannot be."""
    reason = why_no_reference(choice)
    if reason is None:
        return Reference(choice, cache_dir=cache_dir, with_stock=with_stock, with_truth=with_truth)
    if with_stock:
        error = MissingExtra if "installed" in reason else ConfigError
        raise error(f"stock cannot run here: {reason}")
    return reason


def condition(runtime: Runtime) -> Conditioning:
    """The packaged clip as a voice."""
    latents, embedding = runtime.condition([read_clip(DEFAULT_CLIP).pcm])
    return Conditioning("bench", latents, embedding)


def _stock(loaded: LoadedRuntime) -> Stock:
    from xtts_rtc.reference import StockXtts

    # Once a run it says that max_new_tokens wins over max_length, which is what is wanted.
    logging.getLogger("transformers").setLevel(logging.ERROR)
    if loaded.frontend.reads_phonemes:
        return StockXtts(loaded.xtts, reading=loaded.frontend.reading)
    return StockXtts(loaded.xtts)


__all__ = ["Reference", "condition", "open_reference", "why_no_reference"]
