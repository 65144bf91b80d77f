"""Options to an engine, and to who takes calls with it: where the options of `Settings` find their way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from xtts_rtc.api import Engine
from xtts_rtc.metrics import Metrics
from xtts_rtc.settings import Settings

if TYPE_CHECKING:
    from xtts_rtc.transports.webrtc import Calls, Peer

_LAST_WORDS_S = 2.0
"""What the lines may still send of speech that was made, once the server goes down."""


def engine_of(settings: Settings, *, metrics: Metrics | None = None) -> Engine:
    """The server that was named, or an engine in this process; the latter blocks while it loads, and counts in
    `metrics` if given.
    """
    server = settings.server
    if server.url:
        return Engine.connect(server.url, api_key=server.api_key.get_secret_value() if server.api_key else None)
    model, engine = settings.model, settings.engine
    return Engine.load(
        model=model.name,
        device=model.device,
        backend=model.backend,
        vocoder=model.vocoder,
        precision=model.precision,
        half=model.half,
        compile=model.compile,
        deepspeed=model.deepspeed,
        speakers_dir=settings.voices.folder,
        cache_dir=settings.voices.cache_dir,
        max_streams=engine.max_streams,
        max_queue_s=engine.max_queue_s,
        max_ahead_s=engine.max_ahead_s,
        idle_s=engine.idle_s,
        metrics=metrics,
    )


def phone_of(settings: Settings) -> Callable[[Engine], AbstractAsyncContextManager[object]] | None:
    """What answers phone calls with an engine while its block runs; None where no port is named."""
    phone, voices = settings.audiosocket, settings.voices
    if phone.port is None:
        return None
    from xtts_rtc.transports.audiosocket import Announcer, CallLimits, answering

    announcer = Announcer(
        greeting=phone.greeting,
        phrases=phone.phrases,
        voice=phone.voice or voices.voice,
        language=phone.language or voices.language,
        sampling=settings.sampling.params(),
        is_interruptible=phone.is_interruptible,
        hangs_up=phone.hangs_up,
        listen_s=phone.listen_s,
    )
    limits = CallLimits(max_calls=phone.max_calls, silent_s=phone.silent_s, longest_s=phone.longest_s)
    host, port = phone.host, phone.port
    return lambda engine: answering(engine, announcer, host=host, port=port, limits=limits, grace_s=_LAST_WORDS_S)


def calls_of(settings: Settings, on_call: Callable[[Peer], Awaitable[None]]) -> Calls:
    """WebRTC lines on which `on_call` talks, to be opened with ``async with``."""
    from xtts_rtc.transports.webrtc import Calls, IceOptions, IceServer

    webrtc = settings.webrtc
    servers = [IceServer(webrtc.stun_url)] if webrtc.stun_url else []
    if webrtc.turn_url and webrtc.turn_credential:
        servers.append(IceServer(webrtc.turn_url, webrtc.turn_username, webrtc.turn_credential.get_secret_value()))
    return Calls(
        on_call,
        max_calls=webrtc.max_calls,
        ice=IceOptions(addresses=webrtc.addresses or None, servers=tuple(servers)),
        connect_s=webrtc.connect_s,
        silence_s=webrtc.silent_s,
        max_call_s=webrtc.longest_s,
    )


__all__ = ["calls_of", "engine_of", "phone_of"]
