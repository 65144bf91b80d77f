"""Who is on the line: at most so many callers, and none who is not there any more.

In: offers. Out: answers, and one run of `on_call` per caller, which ends when `peer.closed` is set. It knows no
HTTP and not what a call is about.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

from xtts_rtc.errors import EngineUnavailable
from xtts_rtc.transports.webrtc.peer import IceOptions, Peer

_END_S = 5.0
"""What `on_call` has to come to an end, before it is cancelled."""
_NOT_OPEN = "no calls are taken yet; call again in a moment"
_CLOSING = "the server is closing; call again later"

_log = logging.getLogger(__name__)


class LinesBusy(EngineUnavailable):
    """All lines are taken; try again in a while."""

    code = "lines_busy"


class Calls:
    """``async with Calls(on_call) as calls``; calls are refused before the block, and leaving it hangs up on everybody.

    A caller is dropped who is not connected `connect_s` seconds after the answer, from whom no packet has
    come for `silence_s` (a page that was closed, a network that went), or who has talked for `max_call_s`.
    """

    def __init__(
        self,
        on_call: Callable[[Peer], Awaitable[None]],
        *,
        max_calls: int = 4,
        ice: IceOptions | None = None,
        connect_s: float = 10.0,
        silence_s: float = 10.0,
        max_call_s: float = 3600.0,
    ) -> None:
        self.max_calls = max_calls
        self._on_call = on_call
        self._ice = ice or IceOptions()
        self._connect_s, self._silence_s, self._max_call_s = connect_s, silence_s, max_call_s
        self._peers: dict[str, Peer] = {}
        self._closed_for = _NOT_OPEN
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._closed_for = ""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed_for = _CLOSING
        for peer in self._peers.values():
            peer.closed.set()
        if isinstance(error, Exception):
            kind = error = trace = None  # it goes on as it is: the group would wrap it in another
        await self._group.__aexit__(kind, error, trace)

    @property
    def num_calls(self) -> int:
        """Lines taken, those included that are not connected yet."""
        return len(self._peers)

    def peer(self, call: str) -> Peer:
        """Who is on this line. Raises KeyError."""
        return self._peers[call]

    async def answer(self, offer: str, options: Mapping[str, str] | None = None, *, is_local: bool) -> tuple[str, str]:
        """The call's id and the answer's SDP. Raises BadOffer, and before any work
        EngineUnavailable or LinesBusy.
        """
        self._need_open()
        if len(self._peers) >= self.max_calls:
            raise LinesBusy(f"all {self.max_calls} lines are taken; call again in a few seconds")
        peer = Peer(options)
        self._peers[peer.id] = peer
        try:
            answer = await peer.answer(offer, self._ice, is_local=is_local)
            self._need_open()
        except BaseException:
            await self._drop(peer)
            raise
        self._group.create_task(self._serve(peer), name=f"call {peer.id}")
        return peer.id, answer

    def hang_up(self, call: str) -> bool:
        """End a call; False when there is none of this id."""
        peer = self._peers.get(call)
        if peer is not None:
            peer.closed.set()
        return peer is not None

    def _need_open(self) -> None:
        if self._closed_for:
            raise EngineUnavailable(self._closed_for)

    async def _serve(self, peer: Peer) -> None:
        watch = asyncio.create_task(self._watch(peer), name=f"watch {peer.id}")
        talk = asyncio.create_task(self._talk(peer), name=f"talk {peer.id}")
        try:
            await asyncio.wait((watch, talk), return_when=asyncio.FIRST_COMPLETED)
            await peer.aclose()
            if peer.connected.is_set():
                await asyncio.wait((talk,), timeout=_END_S)  # not cancelled in the middle of its end
        finally:
            watch.cancel()
            talk.cancel()
            await asyncio.wait((watch, talk))
            await self._drop(peer)
        for task in (watch, talk):
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("call %s failed", peer.id, exc_info=error)

    async def _talk(self, peer: Peer) -> None:
        await peer.connected.wait()
        await self._on_call(peer)

    async def _watch(self, peer: Peer) -> None:
        """Until the caller has gone."""
        gone = asyncio.create_task(peer.closed.wait(), name=f"closed {peer.id}")
        clock = asyncio.get_running_loop().time
        began = heard = clock()
        try:
            while True:
                limit = self._silence_s if peer.connected.is_set() else self._connect_s
                await asyncio.wait((gone,), timeout=min(1.0, limit / 4))
                heard = clock() if peer.touch() else heard
                reason = "hung up" if gone.done() else "out of reach" if clock() - heard > limit else ""
                reason = reason or ("out of time" if clock() - began > self._max_call_s else "")
                if reason:
                    _log.info("call %s is over after %.1f s: %s", peer.id, clock() - began, reason)
                    return
        finally:
            gone.cancel()

    async def _drop(self, peer: Peer) -> None:
        try:
            await asyncio.shield(peer.aclose())
        finally:
            self._peers.pop(peer.id, None)


__all__ = ["Calls", "LinesBusy"]
