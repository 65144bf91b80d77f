"""A checkpoint to the bundle that the CPU runs: once, and kept. What int8 is tried with comes from here."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xtts_rtc.errors import CheckpointError, MissingExtra, UnknownLanguage
from xtts_rtc.text.pronunciation import Pronunciation
from xtts_rtc.text.tokenizer import TextFrontend
from xtts_rtc.types import Float32
from xtts_rtc.voices.clip import read_clip

logger = logging.getLogger(__name__)

EMBEDDED = Path(__file__).parent.parent / "assets" / "embedded"
DEFAULT_CLIP = EMBEDDED / "default.wav"
_RANDOM_WEIGHTS = 2  # counts changes of model/torch/random_model.py, so that an old bundle is not taken for it
_GATE = 2  # of what int8 is tried with; an old bundle may have been chosen by less
_SENTENCES = (
    "Please hold the line while I look that up for you, it will only take a moment.",
    "Good morning! How can I help you today?",
    "Your order of forty two dollars and fifty cents was shipped on Tuesday, and should be there by Friday.",
    "I am sorry, I did not catch that. Could you spell your name for me, please?",
    "Professor Harrington studies glaciers and volcanoes near the coast of Iceland.",
    "The zebra jumped over the judge's fence, which was rather unusual.",
)

Progress = Callable[[float, str], None]
"""Called with the share done (0 to 1) and what comes next."""


def convert_checkpoint(folder: Path, out: Path, *, precision: str, progress: Progress) -> Any:
    """`convert` of model/convert.py, which says what it raises; int8 is tried in real speech."""
    return need("xtts_rtc.model.convert", "cpu").convert(
        folder, out, precision=precision, progress=progress, speech=_speech
    )


def converted(name: str, folder: Path | None, cache_dir: Path, precision: str, progress: Progress) -> Path:
    """The bundle of a checkpoint or of random weights, made the first time it is asked for."""
    bundle_module = need("xtts_rtc.model.onnx.bundle", "cpu")
    mark = f"{name} {_RANDOM_WEIGHTS}" if folder is None else _fingerprint(folder)
    key = hashlib.sha256(f"{bundle_module.FORMAT}:{_GATE}:{precision}:{mark}".encode()).hexdigest()[:16]
    path = cache_dir / "bundles" / f"{Path(name).name}-{key}"
    if _is_whole(bundle_module, path):
        return path
    convert_module = need("xtts_rtc.model.convert", "cpu")
    logger.info("converting %s for the CPU, once; it is kept in %s", name, path)
    if folder is not None:
        convert_module.convert(folder, path, precision=precision, progress=progress, speech=_speech)
    else:
        checkpoint = need("xtts_rtc.model.torch.checkpoint", "torch")
        loaded = checkpoint.load_model(name)
        convert_module.convert_loaded(loaded, name, path, precision=precision, progress=progress, speech=_speech)
    return path


def _is_whole(bundle_module: Any, path: Path) -> bool:
    """Whether the bundle was made before and still has all its files; what is ours is not worth an error."""
    if not bundle_module.is_bundle(path):
        return False
    try:
        bundle_module.open_bundle(path, is_checked=False)
    except CheckpointError as error:
        logger.warning("%s; it is made anew", error.message)
        return False
    return True


def _fingerprint(folder: Path) -> str:
    """Changes when a file of the checkpoint does."""
    names = (
        "config.json", "vocab.json", "pronunciation.xz", "model.safetensors", "model.pth", "speakers_xtts.pth",
        "manifest.json",
    )  # fmt: skip
    found = [(name, (folder / name).stat()) for name in names if (folder / name).is_file()]
    return repr([(name, stat.st_size, stat.st_mtime_ns) for name, stat in found])


def _speech(vocabulary: str, pronunciation: bytes | None) -> tuple[Float32, list[NDArray[np.int64]]]:
    """The packaged clip and sentences as a model reads them; no sentences for one without English."""
    frontend = frontend_of(vocabulary, pronunciation)
    try:
        texts = [np.asarray(frontend.encode(text, "en"), np.int64) for text in _SENTENCES]
    except UnknownLanguage:
        texts = []
    return read_clip(DEFAULT_CLIP).pcm, texts


def frontend_of(vocabulary: str, pronunciation: bytes | None) -> TextFrontend:
    """How a model reads: the text of its vocab.json, the bytes of its pronunciation.xz. Raises CheckpointError."""
    tokenizer = need("tokenizers", "cpu").Tokenizer
    try:
        read = tokenizer.from_str(vocabulary)
    except Exception as error:  # what tokenizers raises has no class of its own
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"the model's vocabulary cannot be read ({reason}); copy vocab.json again") from None
    return TextFrontend(read, None if pronunciation is None else Pronunciation.read(pronunciation))


def need(module: str, extra: str) -> Any:
    """A module that an extra brings. Raises MissingExtra."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{error.name} is not installed; pip install 'xtts-rtc[{extra}]' brings it") from None


__all__ = ["DEFAULT_CLIP", "EMBEDDED", "Progress", "convert_checkpoint", "converted", "frontend_of", "need"]
