"""What a listener hears next: queued audio to frames of one length, with cuts, pauses and exact positions.

In: int16 samples of one segment after another. Out: a frame whenever the transport asks for one; silence
when there is nothing. It knows no clock: one call of `frame` is one frame of time, and all positions are
counted in samples that were given out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from xtts_rtc.audio.fade import FADE_MS, fade_out
from xtts_rtc.audio.frames import Int16, to_float32, to_int16


@dataclass(slots=True)
class Segment:
    """What was pushed between two ends."""

    chunks: deque[Int16] = field(default_factory=deque)
    num_pending: int = 0
    num_played: int = 0
    run_start: int = 0
    is_started: bool = False
    is_ended: bool = False
    is_cut: bool = False

    @property
    def is_over(self) -> bool:
        return self.is_ended and not self.num_pending

    def take(self, num_samples: int) -> Int16:
        """Up to so many samples; they count as played."""
        parts = []
        wanted = min(num_samples, self.num_pending)
        while wanted:
            head = self.chunks.popleft()
            if len(head) > wanted:
                self.chunks.appendleft(head[wanted:])
                head = head[:wanted]
            parts.append(head)
            wanted -= len(head)
            self.num_pending -= len(head)
            self.num_played += len(head)
        return np.concatenate([np.zeros(0, np.int16), *parts])

    def drop(self) -> None:
        self.chunks.clear()
        self.num_pending = 0
        self.is_cut = True


class Playout:
    """Frames of `frame_samples` int16 at `hz`.

    A run begins when `lead_samples` of it are there (at least a frame), when its segment is whole, or when it
    has waited for `max_wait_frames`: what makes the audio gives the first bit earlier than it can go on.
    `on_started()` when the first sample of a segment goes out; `on_run(offset, samples)` when a stretch that
    was played without a break is over; `on_finished(samples, is_cut)` when a segment is over, with the
    number of its samples that were given out. The last two come one frame later, when the sound has ended.
    Every segment is finished exactly once, at the latest by `close`.
    """

    def __init__(
        self,
        hz: int,
        frame_samples: int,
        *,
        lead_samples: int = 0,
        max_wait_frames: int = 0,
        on_started: Callable[[], None] = lambda: None,
        on_run: Callable[[int, int], None] = lambda offset, samples: None,
        on_finished: Callable[[int, bool], None] = lambda samples, is_cut: None,
    ) -> None:
        self.frame_samples = frame_samples
        self.num_underruns = 0
        self.on_started, self.on_run, self.on_finished = on_started, on_run, on_finished
        self._hz = hz
        self._lead = max(lead_samples, frame_samples)
        self._max_wait = max_wait_frames
        self._num_waited = 0
        self._fade = round(hz * FADE_MS / 1000)
        self._segments: deque[Segment] = deque()
        self._reports: deque[Callable[[], None]] = deque()
        self._tail = np.zeros(0, np.int16)
        self._is_paused = False
        self._is_sounding = False
        self._rises = False

    @property
    def queued_samples(self) -> int:
        """Samples that wait."""
        return sum(segment.num_pending for segment in self._segments)

    @property
    def is_paused(self) -> bool:
        return self._is_paused

    def push(self, pcm: Int16) -> None:
        """pcm [S] int16 to the open segment, or to a new one. After a `clear` the rest of its segment is dropped."""
        if not self._segments or self._segments[-1].is_ended:
            self._segments.append(Segment())
        segment = self._segments[-1]
        if not segment.is_cut and len(pcm):
            segment.chunks.append(pcm)
            segment.num_pending += len(pcm)

    def end_segment(self) -> None:
        """What was pushed is whole; the next push begins another segment."""
        if self._segments and not self._segments[-1].is_ended:
            self._segments[-1].is_ended = True
            self._retire()

    def clear(self) -> None:
        """Drop what waits. What sounds is faded out in the next frame, from its first sample on."""
        if self._is_sounding and self._segments:
            self._tail = self._falling(self._segments[0].take(self._fade))
        for segment in self._segments:
            segment.drop()
        self._break_run()
        self._retire()

    def pause(self) -> None:
        """Silence from the next frame on, after a fade; nothing is dropped."""
        self._is_paused = True

    def resume(self) -> None:
        """Go on where the pause began."""
        self._is_paused = False

    def frame(self) -> Int16:
        """The next [frame_samples]."""
        while self._reports:
            self._reports.popleft()()
        out = np.zeros(self.frame_samples, np.int16)
        filled = self._lay(out, 0, self._tail)
        self._tail = np.zeros(0, np.int16)
        if not self._is_paused:
            self._fill(out, filled)
        elif self._is_sounding and self._segments:
            self._lay(out, filled, self._falling(self._segments[0].take(self._fade)))
            self._break_run()
            self._retire()
        return out

    def close(self) -> None:
        """No frame is asked for any more: finish everything as cut."""
        self._break_run()
        self.clear()
        self.end_segment()
        while self._reports:
            self._reports.popleft()()

    def _fill(self, out: Int16, filled: int) -> None:
        while self._segments and filled < len(out):
            segment = self._segments[0]
            if not self._may_go_on(segment, len(out) - filled):
                break
            if not segment.is_started and segment.num_pending:
                segment.is_started = True
                self.on_started()
            part = self._rising(segment.take(len(out) - filled))
            filled = self._lay(out, filled, part)
            self._is_sounding = self._is_sounding or bool(len(part))
            if not segment.is_over:
                break
            self._retire()
        if self._is_sounding and self._segments and filled < len(out):
            self._run_dry(out, filled)

    def _may_go_on(self, segment: Segment, wanted: int) -> bool:
        if segment.is_ended or self._is_sounding:
            return segment.is_ended or segment.num_pending > 0
        self._num_waited += segment.num_pending >= wanted
        is_ready = segment.num_pending >= self._lead or self._num_waited > self._max_wait
        if is_ready and segment.num_pending >= wanted:
            self._num_waited = 0
            return True
        return False

    def _run_dry(self, out: Int16, filled: int) -> None:
        """The open segment has no more: what is in the frame ends in a fade."""
        self.num_underruns += 1
        size = min(self._fade, filled)
        out[filled - size : filled] = self._falling(out[filled - size : filled])
        self._break_run()

    def _break_run(self) -> None:
        if self._is_sounding and self._segments:
            self._report_run(self._segments[0])
            self._rises = True
        self._is_sounding = False

    def _report_run(self, segment: Segment) -> None:
        offset, size = segment.run_start, segment.num_played - segment.run_start
        segment.run_start = segment.num_played
        if size:
            self._reports.append(lambda: self.on_run(offset, size))

    def _retire(self) -> None:
        while self._segments and self._segments[0].is_over:
            segment = self._segments.popleft()
            self._report_run(segment)
            self._reports.append(lambda segment=segment: self.on_finished(segment.num_played, segment.is_cut))  # type: ignore[misc]
        self._is_sounding = self._is_sounding and bool(self._segments) and self._segments[0].num_pending > 0
        self._rises = self._rises and bool(self._segments)

    def _lay(self, out: Int16, at: int, part: Int16) -> int:
        out[at : at + len(part)] = part
        return at + len(part)

    def _falling(self, pcm: Int16) -> Int16:
        return to_int16(fade_out(to_float32(pcm), self._hz))

    def _rising(self, pcm: Int16) -> Int16:
        if not self._rises or not len(pcm):
            return pcm
        self._rises = False
        size = min(self._fade, len(pcm))
        return np.concatenate([self._falling(pcm[:size][::-1])[::-1], pcm[size:]])


__all__ = ["Playout", "Segment"]
