"""A WebRTC peer as ears and mouth of a LiveKit `AgentSession`: the place where aiortc and LiveKit Agents meet.

Written for livekit-agents 1.8.9: an output counts its segments, and reports where each of them ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from livekit.agents.voice import io
from livekit.agents.voice.transcription import TranscriptSynchronizer
from livekit.agents.voice.transcription._speaking_rate import SpeakingRateDetector

from livekit import rtc
from xtts_rtc.audio.decimate import FACTOR, Decimator
from xtts_rtc.transports.webrtc import Peer
from xtts_rtc.transports.webrtc.track import HZ

_MAX_WAITING_FRAMES = 250
"""Five seconds: a session that cannot keep up hears the newest."""

_PACE_S = 0.5


class PeerAudioInput(io.AudioInput):
    """The caller's voice at 16 kHz, what both the voice activity detector and the recogniser want."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(label="WebRTC")
        self.num_dropped = 0
        self._peer = peer
        self._decimator = Decimator()
        self._frames: asyncio.Queue[rtc.AudioFrame | None] = asyncio.Queue()

    async def pump(self) -> None:
        """Run beside the session, until the caller has gone."""
        async for pcm in self._peer.microphone():
            heard = self._decimator.push(pcm)
            if self._frames.qsize() >= _MAX_WAITING_FRAMES:
                self._frames.get_nowait()
                self.num_dropped += 1
            if len(heard):
                self._frames.put_nowait(rtc.AudioFrame(heard.tobytes(), HZ // FACTOR, 1, len(heard)))
        self._frames.put_nowait(None)

    async def __anext__(self) -> rtc.AudioFrame:
        frame = await self._frames.get()
        if frame is None:
            raise StopAsyncIteration
        return frame


class PeerAudioOutput(io.AudioOutput):
    """The agent's voice. Positions are samples that went out, so they are exact to the sample that was sent."""

    def __init__(self, peer: Peer) -> None:
        capabilities = io.AudioOutputCapabilities(pause=True)
        super().__init__(label="WebRTC", capabilities=capabilities, next_in_chain=None, sample_rate=HZ)
        self._playout = peer.playout
        self._playout.on_started = lambda: self.on_playback_started(created_at=time.time())
        self._playout.on_run = self._report_run
        self._playout.on_finished = self._report_end

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        self._playout.push(np.frombuffer(frame.data, np.int16).copy())

    def flush(self) -> None:
        super().flush()
        self._playout.end_segment()

    def clear_buffer(self) -> None:
        self._playout.clear()

    def pause(self) -> None:
        super().pause()
        self._playout.pause()

    def resume(self) -> None:
        super().resume()
        self._playout.resume()

    def _report_run(self, offset: int, samples: int) -> None:
        seconds = samples / HZ
        self.on_playback_progressed(started_at=time.time() - seconds, offset=offset / HZ, duration=seconds)

    def _report_end(self, samples: int, is_cut: bool) -> None:
        self.on_playback_finished(playback_position=samples / HZ, interrupted=is_cut)


class PeerTranscript(io.TextOutput):
    """What the agent says, word by word as it is heard."""

    def __init__(self, on_words: Callable[[str], Any]) -> None:
        super().__init__(label="WebRTC", next_in_chain=None)
        self._on_words = on_words

    async def capture_text(self, text: str) -> None:
        self._on_words(text)

    def flush(self) -> None:
        """Nothing: the end of a sentence comes with the conversation's item."""


def in_step(audio: io.AudioOutput, text: io.TextOutput | None) -> TranscriptSynchronizer:
    """Outputs in front of both: the text comes out as the audio is heard."""
    made = TranscriptSynchronizer(next_in_chain_audio=audio, next_in_chain_text=text)
    # It judges the pace of speech on the event loop, 79 FFTs for each tenth of a second: with the two seconds that
    # an engine gives at once that held up everybody's audio for 50 ms. Twice in a second will do.
    made._opts.speaking_rate_detector = SpeakingRateDetector(step_size=_PACE_S)
    return made


__all__ = ["PeerAudioInput", "PeerAudioOutput", "PeerTranscript", "in_step"]
