"""The thread on which voices are read and conditioned, so that nobody who speaks has to wait for it.

In: ids, clips. Out: conditioning, through a callback. Everything that changes the library happens here, one
thing after another; the model's conditioning graphs are others than those of the engine thread.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future

from xtts_rtc.errors import EngineUnavailable
from xtts_rtc.types import Conditioning
from xtts_rtc.voices.check import ClipReport, check_clip
from xtts_rtc.voices.clip import read_clip
from xtts_rtc.voices.library import VoiceLibrary
from xtts_rtc.voices.store import check_voice_id

_CLOSE_S = 10.0
_NICE = 19
"""The system's least pressing: a voice that is conditioned beside a stream on two cores made its steps take 83 ms
instead of 22, with this 26. It takes 2 s then instead of 0.7."""


class VoiceLoader:
    """The library behind a thread of its own. Every method may be called from any thread."""

    def __init__(self, library: VoiceLibrary) -> None:
        self.library = library
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # nothing may be queued behind the end
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="xtts-voices", daemon=True)
        self._thread.start()

    def known(self, voice_id: str) -> Conditioning | None:
        """At once: the voice if it is ready, else None. Raises InvalidVoiceId and VoiceNotFound."""
        return self.library.known(voice_id)

    def load(self, voice_id: str, on_loaded: Callable[[Conditioning | Exception], None]) -> None:
        """Make the voice ready, then call back on this thread, with what went wrong if something did."""
        if not self._put(lambda: on_loaded(self._outcome(voice_id))):
            on_loaded(EngineUnavailable("the engine is shutting down; connect to another"))

    def add(self, voice_id: str, clip: bytes, *, is_replacing: bool = False) -> ClipReport:
        """Check a clip and keep it as a voice that can speak; blocks for about a second of model time.

        Raises InvalidVoiceId, BadClip, VoiceTaken, StorageFailed, GenerationFailed or EngineUnavailable.
        """
        check_voice_id(voice_id)
        report = check_clip(read_clip(clip))
        self._wait_for(lambda: self.library.add(voice_id, clip, is_replacing=is_replacing))
        return report

    def remove(self, voice_id: str) -> None:
        """Delete a voice; who speaks with it goes on. Raises as `VoiceLibrary.remove`, and EngineUnavailable."""
        self._wait_for(lambda: self.library.remove(voice_id))

    def close(self) -> None:
        """Finish what was asked for before, and end the thread. Idempotent."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._work.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_S)

    def _put(self, work: Callable[[], None]) -> bool:
        with self._lock:
            if not self._is_closed:
                self._work.put(work)
            return not self._is_closed

    def _wait_for(self, change: Callable[[], None]) -> None:
        done: Future[None] = Future()

        if not self._put(lambda: _settle(done, change)):
            raise EngineUnavailable("the engine is shutting down; connect to another")
        done.result()

    def _outcome(self, voice_id: str) -> Conditioning | Exception:
        try:
            return self.library.get(voice_id)
        except Exception as error:
            return error

    def _run(self) -> None:
        if sys.platform == "linux":  # elsewhere a thread has no priority of its own
            with contextlib.suppress(OSError):  # a sandbox may forbid it; without this thread nobody would speak
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while (work := self._work.get()) is not None:
            work()


def _settle(done: Future[None], change: Callable[[], None]) -> None:
    try:
        change()
    except Exception as error:
        done.set_exception(error)
    else:
        done.set_result(None)


__all__ = ["VoiceLoader"]
