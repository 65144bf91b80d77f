"""The server's log: one line per event, as text or as JSON, with the request's id and the key's name.

Nothing here is set up before `configure` is called, and only a program calls it.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from xtts_rtc.guard.context import CALLER, REQUEST_ID

_FIELDS = ("method", "path", "status", "duration_ms")
"""What a record may carry besides its message; anything else stays out of the log."""


class JsonLines(logging.Formatter):
    """One JSON object per line: time (UTC), level, logger, message, and request_id, key, trace where there are any."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if REQUEST_ID.get():
            line["request_id"] = REQUEST_ID.get()
        if CALLER.get():
            line["key"] = CALLER.get()
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


class TextLines(logging.Formatter):
    """The same for people; a message stays on its line, whatever a client put into it."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).strftime("%H:%M:%S.%f")[:-3]
        message = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in record.getMessage())
        duration_ms = getattr(record, "duration_ms", None)
        parts = [at, record.levelname, f"{record.name}: {message}"]
        parts += [f"{duration_ms:g} ms"] if duration_ms is not None else []
        parts += [f"key={CALLER.get()}"] if CALLER.get() else []
        parts += [f"request={REQUEST_ID.get()}"] if REQUEST_ID.get() else []
        line = " ".join(parts)
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(log_format: str, stream: TextIO | None = None) -> None:
    """Send this process' log to `stream` (standard error when None), as ``text`` or ``json``."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("uvicorn", "websockets"):
        logging.getLogger(name).setLevel(logging.WARNING)


__all__ = ["JsonLines", "TextLines", "configure"]
