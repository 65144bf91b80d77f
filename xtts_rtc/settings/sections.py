"""The options by section, one class for each: names, defaults, ranges. An option is said here and nowhere else."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    Strict,
    StringConstraints,
    model_validator,
)

from xtts_rtc.types import LANGUAGES, SamplingParams

FolderPath = Annotated[Path, Strict(False)]
_Origin = Annotated[str, StringConstraints(pattern=r"^(\*|https?://[^/\s,]+)$")]


def _split(value: object) -> object:
    """A variable or a flag holds a list as text with commas."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return tuple(value) if isinstance(value, list) else value


def _as_keys(value: object) -> object:
    """YAML reads the keys of a phone as numbers."""
    return {str(key): text for key, text in value.items()} if isinstance(value, dict) else value


Origins = Annotated[tuple[_Origin, ...], BeforeValidator(_split)]


def _as_address(text: str) -> str:
    return str(ipaddress.ip_address(text))  # its error says what was wrong


Addresses = Annotated[tuple[Annotated[str, AfterValidator(_as_address)], ...], BeforeValidator(_split)]
_Key = Annotated[str, StringConstraints(pattern=r"^[0-9A-D*#]$")]
Phrases = Annotated[dict[_Key, Annotated[str, StringConstraints(min_length=1)]], BeforeValidator(_as_keys)]


class Section(BaseModel):
    """What all sections have in common: frozen, strict, and no key that is not one."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", hide_input_in_errors=True)


class ModelSettings(Section):
    """Which weights, where, and how fast."""

    name: str = Field(default="embedded", min_length=1)
    """embedded, random-tiny, random-full, or a folder with a published checkpoint."""
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$", description="auto, cpu, cuda or cuda:N"
    )
    backend: Literal["auto", "onnx", "torch"] = "auto"
    """Which runtime computes; auto takes onnx on a CPU where it is installed, else torch."""
    precision: Literal["int8", "int8-static", "int8-row", "int8-block", "fp32"] = "int8"
    """Of a checkpoint that the onnx backend converts; int8 takes the operator that passes the quality gate."""
    vocoder: Literal["auto", "onnxruntime-fp32", "openvino-bf16", "openvino-mixed", "openvino-fp32"] = "auto"
    """Of the onnx backend; auto times those that are installed."""
    half: bool = False
    compile: bool = False
    deepspeed: bool = False
    license_agreed: bool = False
    """The Coqui Public Model License (non-commercial) of the published weights was read and accepted."""


class EngineSettings(Section):
    """How many speak at once, and how far ahead of their listeners."""

    max_streams: int = Field(default=4, ge=1, le=1024)
    max_ahead_s: float = Field(default=3.0, gt=0, le=60, allow_inf_nan=False)
    """A stream with so much audio unheard rests; a barge-in wastes at most this much."""
    max_queue_s: float = Field(default=2.0, ge=0, le=300, allow_inf_nan=False)
    """How long a request may wait for a slot before it fails as full."""
    idle_s: float = Field(default=60.0, gt=0, le=3600, allow_inf_nan=False)
    """An utterance that gets no text, or whose audio nobody takes, ends after so many seconds."""


class VoiceSettings(Section):
    """Where the clips are and who speaks when nobody is named."""

    folder: FolderPath = Path("speakers")
    cache_dir: FolderPath | None = None
    """None: the user's cache folder."""
    voice: str = Field(
        default="default", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="1 to 64 of A-Z, a-z, 0-9, _ and -"
    )
    language: Literal[LANGUAGES] = "en"  # type: ignore[valid-type]  # a tuple of literals, one list for all


_PUBLISHED = SamplingParams()


class SamplingSettings(Section):
    """What a request that names nothing gets; the ranges are those of `SamplingParams`."""

    temperature: float = _PUBLISHED.temperature
    repetition_penalty: float = _PUBLISHED.repetition_penalty
    top_k: int = _PUBLISHED.top_k
    top_p: float = _PUBLISHED.top_p
    speed: float = _PUBLISHED.speed
    seed: int | None = _PUBLISHED.seed

    def params(self) -> SamplingParams:
        """The same as the engine takes it."""
        return SamplingParams(**self.model_dump())

    @model_validator(mode="after")
    def _check_ranges(self) -> Self:
        self.params()
        return self


class ServerSettings(Section):
    """Where `serve` listens, and which server a thin client speaks through."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8020, ge=0, le=65535)
    """0 takes a free one."""
    url: str | None = Field(
        default=None, pattern=r"^(ws|http)s?://\S+$", description="http(s):// or ws(s):// and a host"
    )
    """A remote engine instead of one in this process."""
    api_key: SecretStr | None = None
    """Asked of clients by `serve`, and sent by a client; None asks for nothing."""
    api_keys_file: FolderPath | None = None
    """Further keys with names, a line NAME:KEY for each; the names appear in the log."""
    max_streams_per_key: int | None = Field(default=None, ge=1, le=1024)
    """Utterances at once for one key; None: as many as there are."""
    grace_s: float = Field(default=30.0, ge=0, le=3600, allow_inf_nan=False)
    """Seconds that running speech gets to end after SIGTERM."""
    header_s: float = Field(default=10.0, gt=0, le=600, allow_inf_nan=False)
    body_s: float = Field(default=60.0, gt=0, le=3600, allow_inf_nan=False)
    """Seconds in which a request's header, and its body, must have come."""
    max_header_bytes: int = Field(default=16_384, ge=1024, le=2**20)
    max_body_bytes: int = Field(default=2_097_152, ge=1024, le=2**30)
    max_upload_bytes: int = Field(default=20_000_000, ge=1024, le=50_000_000)
    """Of a voice clip."""
    max_connections: int = Field(default=1000, ge=1, le=100_000)
    cors_origins: Origins = Field(default=(), description="a list of origins such as https://example.org, or *")
    """Web pages of other origins that may ask, as https://example.org; * is all of them."""
    log_format: Literal["text", "json"] = "text"
    output_dir: FolderPath | None = Path("output")
    """Where /tts keeps a file for who asks for JSON."""


class AudioSocketSettings(Section):
    """How `serve` answers the phone calls of an Asterisk; None stands for what `voices` says."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int | None = Field(default=None, ge=0, le=65535)
    """None: no calls."""
    greeting: str = Field(default="Hello. You can interrupt me at any time.", min_length=1)
    phrases: Phrases = Field(default={}, description="texts by key: 0-9, A-D, * or #")
    voice: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$", description="1 to 64 of A-Z a-z 0-9 _ -")
    language: Literal[LANGUAGES] | None = None  # type: ignore[valid-type]
    is_interruptible: bool = True
    hangs_up: bool = True
    listen_s: float = Field(default=5.0, gt=0, le=3600, allow_inf_nan=False)
    max_calls: int = Field(default=16, ge=1, le=1024)
    silent_s: float = Field(default=60.0, gt=0, le=86_400, allow_inf_nan=False)
    longest_s: float = Field(default=3600.0, gt=0, le=86_400, allow_inf_nan=False)


class AgentSettings(Section):
    """Who answers in a call or a room, the same for `demo` and agent.py: words, language model, manners.

    Voice and language are those of `voices`.
    """

    instructions: str = Field(
        default=(
            "You are a friendly voice assistant on the phone. Answer in one or two short, plain sentences. "
            "No lists, no emoji, no markup."
        ),
        min_length=1,
        max_length=20_000,
    )
    greeting: str = Field(default="Hello! Ask me anything, and stop me whenever you like.", max_length=2_000)
    """Empty: the caller speaks first."""
    llm_url: str | None = Field(default=None, pattern=r"^https?://\S+$", description="http(s):// and a host")
    """Of an OpenAI-compatible server. Neither url nor key: the small model that comes inside a package."""
    llm_key: SecretStr | None = None
    llm_model: str = Field(default="gpt-4.1-mini", min_length=1)
    """Of that server; the small one has one model."""
    is_interruptible: bool = True
    interrupt_after_s: float = Field(default=0.12, ge=0.05, le=5, allow_inf_nan=False)
    """The caller's voice must last so long before the agent holds its tongue."""
    resume_after_s: float = Field(default=1.0, ge=0.1, le=10, allow_inf_nan=False)
    """It goes on when nothing was said within so many seconds."""
    pause_s: float = Field(default=0.3, ge=0.05, le=5, allow_inf_nan=False)
    """Silence that ends the caller's utterance."""
    answer_after_s: float = Field(default=0.4, ge=0, le=10, allow_inf_nan=False)
    answer_latest_s: float = Field(default=2.0, ge=0, le=30, allow_inf_nan=False)
    """How long after an utterance its answer begins, when it sounds complete and when it does not."""

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.answer_latest_s < self.answer_after_s:
            raise ValueError(f"answer_latest_s must be at least answer_after_s, which is {self.answer_after_s:g}")
        return self


class WebRtcSettings(Section):
    """Where `demo` serves its page, and who may call from there, from where and for how long."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8021, ge=0, le=65535)
    """0 takes a free one; so does the default, and nothing else, when it is taken."""
    tls_cert: FolderPath | None = None
    tls_key: FolderPath | None = None
    """PEM files for https: browsers give a microphone to https and to localhost, to nobody else."""
    max_calls: int = Field(default=4, ge=1, le=256)
    connect_s: float = Field(default=10.0, gt=0, le=120, allow_inf_nan=False)
    """Who is not connected so long after the answer is dropped."""
    silent_s: float = Field(default=10.0, gt=0, le=600, allow_inf_nan=False)
    """And so is one from whom no packet has come for so long,"""
    idle_s: float = Field(default=300.0, gt=0, le=86_400, allow_inf_nan=False)
    """one with whom nobody has spoken, neither of the two,"""
    longest_s: float = Field(default=3600.0, gt=0, le=86_400, allow_inf_nan=False)
    """and one who has called for so long."""
    addresses: Addresses = ()
    """Of this machine, to be called at; none: all of them, and 127.0.0.1 for callers on it."""
    stun_url: str | None = Field(default=None, pattern=r"^stun:[^\s:?/]+(:\d{1,5})?$", description="as stun:host:port")
    turn_url: str | None = Field(
        default=None,
        pattern=r"^(turn:[^\s:?/]+(:\d{1,5})?(\?transport=(udp|tcp))?|turns:[^\s:?/]+(:\d{1,5})?(\?transport=tcp)?)$",
        description="as turn:host:port?transport=udp, or turns: over tcp",
    )
    """One each, which is what aiortc takes."""
    turn_username: str | None = None
    turn_credential: SecretStr | None = None

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        if self.turn_url and not (self.turn_username and self.turn_credential):
            raise ValueError("turn_url wants turn_username and turn_credential (XTTS_TURN_CREDENTIAL) as well")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key are files that belong together; give both")
        return self


SECTIONS: Mapping[str, type[Section]] = {
    "model": ModelSettings,
    "engine": EngineSettings,
    "voices": VoiceSettings,
    "sampling": SamplingSettings,
    "server": ServerSettings,
    "audiosocket": AudioSocketSettings,
    "agent": AgentSettings,
    "webrtc": WebRtcSettings,
}

__all__ = [
    "SECTIONS",
    "Addresses",
    "AgentSettings",
    "AudioSocketSettings",
    "EngineSettings",
    "FolderPath",
    "ModelSettings",
    "Origins",
    "Phrases",
    "SamplingSettings",
    "Section",
    "ServerSettings",
    "VoiceSettings",
    "WebRtcSettings",
]
