"""Asterisk's AudioSocket: a phone call as a TCP connection, answered with speech.

`answering` listens, `Call` is what a handler holds on to, `Announcer` is the handler that needs no agent.
Written against `Engine` and `Speech` alone.
"""

from xtts_rtc.transports.audiosocket.announcer import Announcer
from xtts_rtc.transports.audiosocket.call import Call, CallerQuiet, CallerSpoke, CallEvent, Digit
from xtts_rtc.transports.audiosocket.mouth import Playback
from xtts_rtc.transports.audiosocket.server import AudioSocketServer, CallHandler, CallLimits, answering

__all__ = [
    "Announcer",
    "AudioSocketServer",
    "Call",
    "CallEvent",
    "CallHandler",
    "CallLimits",
    "CallerQuiet",
    "CallerSpoke",
    "Digit",
    "Playback",
    "answering",
]
