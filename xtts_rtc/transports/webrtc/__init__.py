"""A voice over a plain WebRTC peer connection: no room server, no account, one HTTP request to call.

`peer` is one connection, `track` its sound, `calls` who may call and for how long, `routes` the HTTP.
"""

from __future__ import annotations

from xtts_rtc.transports.webrtc.calls import Calls
from xtts_rtc.transports.webrtc.peer import IceOptions, IceServer, Peer
from xtts_rtc.transports.webrtc.routes import call_routes

__all__ = ["Calls", "IceOptions", "IceServer", "Peer", "call_routes"]
