"""A language model that says what it is told, at the pace of a real one, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from typing import Any

from livekit.agents import llm
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions

WORDS_PER_SECOND = 25.0


class ScriptedLLM(llm.LLM[str]):
    """Answers in order; the last one again and again."""

    def __init__(self, *answers: str) -> None:
        super().__init__()
        self.asked: list[str] = []
        self._answers = list(answers)

    def chat(self, *, chat_ctx: llm.ChatContext, tools: Any = None, **options: Any) -> llm.LLMStream:
        question = next((item.text_content for item in reversed(chat_ctx.items) if item.type == "message"), "") or ""
        # A turn's question is asked twice when the model begins before the turn is over.
        if not self.asked or self.asked[-1] != question:
            self.asked.append(question)
        answer = self._answers[min(len(self.asked), len(self._answers)) - 1]
        options_ = options.get("conn_options") or DEFAULT_API_CONNECT_OPTIONS
        return _Stream(self, answer, chat_ctx=chat_ctx, conn_options=options_)


class _Stream(llm.LLMStream):
    def __init__(
        self, model: ScriptedLLM, answer: str, *, chat_ctx: llm.ChatContext, conn_options: APIConnectOptions
    ) -> None:
        super().__init__(model, chat_ctx=chat_ctx, tools=[], conn_options=conn_options)
        self._answer = answer

    async def _run(self) -> None:
        for word in self._answer.split(" "):
            await asyncio.sleep(1 / WORDS_PER_SECOND)
            delta = llm.ChoiceDelta(role="assistant", content=word + " ")
            self._event_ch.send_nowait(llm.ChatChunk(id="scripted", delta=delta))
