"""The records that travel between rooms, and the two seams.

Shapes are written with these letters everywhere: B streams, T text ids, N audio tokens, D model width,
F vocoder frames, S samples. Arrays are numpy; nothing here knows torch, asyncio or a transport.

`Backend` is what makes sound from segments (the XTTS engine, a test tone). `Speech` is one utterance as
a transport sees it, made by the local pipeline or by the remote client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from xtts_rtc.errors import InvalidParameter, XttsRtcError

MODEL_HZ = 22_050
"""Rate of the clips that a model is conditioned with, and of the audio that a token of the published model stands for
(`ModelInfo.token_hz` for a model's own)."""
OUTPUT_HZ = 24_000
"""Rate of the vocoder's output."""
TOKEN_SAMPLES = 1_024
"""Samples that one audio token stands for: 46.4 ms of the published model."""
FRAME_SAMPLES = 256
"""Samples at `OUTPUT_HZ` that one vocoder frame becomes."""
TOKENS_PER_SECOND = MODEL_HZ / TOKEN_SAMPLES
"""Of the published model."""
MAX_UTTERANCE_CHARS = 100_000
"""Text that one `Speech` takes in all; about two hours of speech."""

LANGUAGES = (
    "en", "es", "fr", "de", "it", "pt", "pl", "tr", "ru", "nl", "cs", "ar", "zh-cn", "hu", "ko", "ja", "hi",
)  # fmt: skip

Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How the next audio token is chosen; the defaults are the published ones.

    temperature (0, 2], repetition_penalty [1, 20], top_k [1, 1026] (1 is greedy), top_p (0, 1],
    speed [0.5, 2] stretches the latents, seed [0, 2**63) or None for a fresh one.
    Raises InvalidParameter for a value outside.
    """

    temperature: float = 0.75
    repetition_penalty: float = 5.0
    top_k: int = 50
    top_p: float = 0.85
    speed: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        self._need("temperature", 0 < self.temperature <= 2, "over 0 and at most 2")
        self._need("repetition_penalty", 1 <= self.repetition_penalty <= 20, "from 1 to 20")
        self._need("top_k", isinstance(self.top_k, int) and 1 <= self.top_k <= 1026, "a whole number from 1 to 1026")
        self._need("top_p", 0 < self.top_p <= 1, "over 0 and at most 1")
        self._need("speed", 0.5 <= self.speed <= 2, "from 0.5 to 2")
        self._need("seed", self.seed is None or 0 <= self.seed < 2**63, "from 0 to 2**63 - 1, or absent")

    def _need(self, name: str, is_fine: bool, wanted: str) -> None:
        if not is_fine:
            raise InvalidParameter(f"{name} is {getattr(self, name)!r}; it must be {wanted}")


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """What the model knows of a voice.

    gpt_latents [32, D] float32, speaker_embedding [512] float32 (unit length). `key` is the content hash
    of what it was computed from: equal keys mean equal arrays, so prefix KV may be kept per key.
    """

    key: str
    gpt_latents: Float32
    speaker_embedding: Float32


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of text that is spoken in one go.

    `text` is the caller's text verbatim: the texts of all segments joined are the input, character for
    character. `spoken` is what the model is given; empty when the piece says nothing (a short silence).
    """

    index: int
    text: str
    spoken: str


@dataclass(frozen=True, slots=True, eq=False)
class SpeechChunk:
    """Audio for the listener.

    pcm [S] float32 in -1..1 at `sample_rate`; `segment` is the index of the segment it belongs to and
    `text` that segment's verbatim text, given with the segment's first chunk and empty after it;
    `is_final` marks the utterance's last chunk.
    """

    pcm: Float32
    sample_rate: int
    segment: int
    text: str
    is_final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRequest:
    """One utterance as a backend sees it, before its text.

    `is_realtime`: somebody listens at the speed of sound, so the backend may rest when it is far enough
    ahead of the clock; False (a file) means as fast as the reader takes it.
    """

    voice: str = "default"
    language: str = "en"
    sampling: SamplingParams = field(default_factory=SamplingParams)
    is_realtime: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamMetrics:
    """What one stream cost. Times in seconds from `open`, but `cancel_to_idle_ms` from the cancel."""

    queue_s: float = 0.0
    first_audio_s: float | None = None
    total_s: float = 0.0
    audio_s: float = 0.0
    num_tokens: int = 0
    num_segments: int = 0
    num_underruns: int = 0
    cancel_to_idle_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """What an engine can take now. `max_streams` is 0 when it is not known; `reason` says why it is not ready."""

    is_ready: bool
    num_streams: int = 0
    max_streams: int = 0
    reason: str = ""

    @property
    def load(self) -> float:
        """0 idle to 1 full; 1 when it is not ready."""
        if not self.is_ready:
            return 1.0
        return min(1.0, self.num_streams / self.max_streams) if self.max_streams else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class AudioEvent:
    """pcm [S] float32 at `OUTPUT_HZ`, in order; `is_segment_end` with a segment's last (S may be 0 then)."""

    pcm: Float32
    segment: int
    is_segment_end: bool


@dataclass(frozen=True, slots=True)
class EndEvent:
    """The stream is over: all was said, or it was cancelled. Nothing follows; its resources are free."""

    metrics: StreamMetrics
    is_cancelled: bool


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """The stream is over because it failed. Nothing follows; its resources are free."""

    error: XttsRtcError


Event = AudioEvent | EndEvent | ErrorEvent


class Backend(Protocol):
    """Makes sound from segments, for many streams at once.

    Every method may be called from any thread and returns at once. Events of a stream come in order, on a
    thread of the backend's own, and end with exactly one EndEvent or ErrorEvent, also when the backend
    itself dies. Calls that name a stream which is over are ignored.
    """

    def open(self, request: StreamRequest, on_event: Callable[[Event], None]) -> int:
        """Ask for a stream and return its id; it may wait for a slot.

        Raises VoiceNotFound, InvalidVoiceId, UnknownLanguage or EngineUnavailable before any work.
        """
        ...

    def say(self, stream: int, segment: Segment) -> None:
        """Append a segment."""
        ...

    def end(self, stream: int) -> None:
        """No segment follows."""
        ...

    def consumed(self, stream: int, samples: int) -> None:
        """The reader took so many more samples (at `OUTPUT_HZ`); unread audio makes a stream rest."""
        ...

    def cancel(self, stream: int) -> None:
        """Stop within one decode step. Idempotent."""
        ...

    def close(self) -> None:
        """Fail what still runs with EngineUnavailable and free everything. Blocks shortly; idempotent."""
        ...


class Speech(Protocol):
    """One utterance: text goes in as it is written, audio comes out in order, in one voice.

    Made and used on one event loop. Iteration ends after the chunk with `is_final`, raises the stream's
    error, or just ends after a cancel. Leaving ``async with`` cancels what is not yet said.
    """

    @property
    def metrics(self) -> StreamMetrics | None:
        """Figures of the finished stream; None while it runs or after an error."""
        ...

    @property
    def is_idle(self) -> bool:
        """The backend is done with it, whatever of its audio is still unread."""
        ...

    def push_text(self, text: str) -> None:
        """Add text, cut anywhere. Raises InvalidText over the utterance's limit; ignored after cancel."""
        ...

    def flush(self) -> None:
        """Speak what is there without waiting for the rest of the sentence."""
        ...

    def end_input(self) -> None:
        """No text follows. Idempotent."""
        ...

    def cancel(self) -> None:
        """Stop; no chunk is handed out after this returns. Idempotent."""
        ...

    async def aclose(self) -> None:
        """Cancel if it still runs, and return when the backend is idle for this stream. Idempotent."""
        ...

    def __aiter__(self) -> AsyncIterator[SpeechChunk]: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


__all__ = [
    "FRAME_SAMPLES",
    "LANGUAGES",
    "MAX_UTTERANCE_CHARS",
    "MODEL_HZ",
    "OUTPUT_HZ",
    "TOKENS_PER_SECOND",
    "TOKEN_SAMPLES",
    "AudioEvent",
    "Backend",
    "Conditioning",
    "EndEvent",
    "EngineStatus",
    "ErrorEvent",
    "Event",
    "Float32",
    "SamplingParams",
    "Segment",
    "Speech",
    "SpeechChunk",
    "StreamMetrics",
    "StreamRequest",
]
