"""Options to an engine: the one place where every option of `Settings` finds its way."""

from __future__ import annotations

from xtts_rtc.api import Engine
from xtts_rtc.metrics import Metrics
from xtts_rtc.settings import Settings


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


__all__ = ["engine_of"]
