"""What is known of the request that is being served, for logs and for admission.

Set by the middlewares of this room, once per request; a task that a request starts inherits both.
"""

from __future__ import annotations

from contextvars import ContextVar

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""The request's id; empty outside of a request."""
CALLER: ContextVar[str] = ContextVar("caller", default="")
"""The name of the key it came with, never the key; empty for a server without keys."""

__all__ = ["CALLER", "REQUEST_ID"]
