"""The voice that can be interrupted: streaming XTTS v2 speech for LiveKit and WebRTC.

The names below are loaded when they are first used: importing this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xtts_rtc.api import Engine
    from xtts_rtc.errors import XttsRtcError
    from xtts_rtc.types import SamplingParams, Speech, SpeechChunk

_HOMES = {
    "Engine": "xtts_rtc.api",
    "SamplingParams": "xtts_rtc.types",
    "Speech": "xtts_rtc.types",
    "SpeechChunk": "xtts_rtc.types",
    "XttsRtcError": "xtts_rtc.errors",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'xtts_rtc' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


__all__ = ["Engine", "SamplingParams", "Speech", "SpeechChunk", "XttsRtcError"]
