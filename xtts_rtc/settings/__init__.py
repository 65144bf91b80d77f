"""Every option by name: command line over environment (and `.env`) over YAML over default.

In: nested values from a command line, the process environment, a file of `configs/`. Out: one frozen
`Settings`. It reads and checks options and does no work with them. Only `app`, `composition` and what stands
above them see `Settings`; everything else takes keyword arguments, or a section.

A YAML file has one section per room, as the classes of `sections`; relative paths in it start at the working
directory. An unknown key or variable fails and names the nearest one.
"""

from __future__ import annotations

from xtts_rtc.settings.loading import Settings, Values, load_settings, require_possible
from xtts_rtc.settings.sections import (
    AgentSettings,
    AudioSocketSettings,
    EngineSettings,
    ModelSettings,
    SamplingSettings,
    ServerSettings,
    VoiceSettings,
    WebRtcSettings,
)
from xtts_rtc.settings.variables import VARIABLES

__all__ = [
    "VARIABLES",
    "AgentSettings",
    "AudioSocketSettings",
    "EngineSettings",
    "ModelSettings",
    "SamplingSettings",
    "ServerSettings",
    "Settings",
    "Values",
    "VoiceSettings",
    "WebRtcSettings",
    "load_settings",
    "require_possible",
]
