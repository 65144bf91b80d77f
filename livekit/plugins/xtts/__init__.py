"""XTTS v2 speech for LiveKit Agents: ``from livekit.plugins import xtts``. The work is in xtts_rtc."""

from importlib.metadata import version

from livekit.agents import Plugin

from xtts_rtc.transports.livekit_plugin import TTS, ChunkedStream, SynthesizeStream

__version__ = version("xtts-rtc")


class XttsPlugin(Plugin):
    """What LiveKit's own commands see of this plugin; its files come with the package."""

    def __init__(self) -> None:
        super().__init__(__name__, __version__, __package__ or __name__)


Plugin.register_plugin(XttsPlugin())

__all__ = ["TTS", "ChunkedStream", "SynthesizeStream", "XttsPlugin"]
