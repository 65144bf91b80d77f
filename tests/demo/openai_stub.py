"""An OpenAI-compatible server on 127.0.0.1 that answers every question with the same words, one by one."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from xtts_rtc.app import listen


class OpenAIStub:
    """`asked` holds the last message of every request."""

    def __init__(self, answer: str, *, words_per_second: float = 25.0) -> None:
        self.asked: list[str] = []
        self._answer = answer
        self._pause_s = 1 / words_per_second

    @contextlib.asynccontextmanager
    async def serving(self, port: int = 0) -> AsyncIterator[str]:
        """The value for OPENAI_BASE_URL."""
        listener = listen("127.0.0.1", port)
        app = Starlette(routes=[Route("/v1/chat/completions", self._complete, methods=["POST"])])
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        server.capture_signals = _no_signals  # type: ignore[method-assign, assignment]
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started:
                await asyncio.sleep(0.005)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            await running
            listener.close()

    async def _complete(self, request: Request) -> StreamingResponse:
        self.asked.append((await request.json())["messages"][-1]["content"])
        return StreamingResponse(self._words(), media_type="text/event-stream")

    async def _words(self) -> AsyncIterator[str]:
        for word in self._answer.split():
            yield _event({"role": "assistant", "content": word + " "}, None)
            await asyncio.sleep(self._pause_s)
        yield _event({}, "stop") + "data: [DONE]\n\n"


def _event(delta: dict[str, Any], reason: str | None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    body = {"id": "stub", "object": "chat.completion.chunk", "created": 0, "model": "stub", "choices": [choice]}
    return f"data: {json.dumps(body)}\n\n"


@contextlib.contextmanager
def _no_signals() -> Iterator[None]:
    yield
