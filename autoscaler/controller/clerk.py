"""Who writes the book: beside the tick, which waits for it a moment and no longer.

A disk or a server that refuses is the book's own affair. One that hangs answers nothing at all, and a tick that waited
for it would be the end of scaling. So one write is under way at a time, in a thread, and ticks that come meanwhile are
handed over with the next one.
"""

import asyncio
from collections import deque
from collections.abc import Callable

from autoscaler.adapters.store import Tick
from autoscaler.controller.book import WAITING_MAX, Book
from autoscaler.controller.metrics import ControllerMetrics

# As long as a locked SQLite file is waited for, and less than half of a tick.
WAITED_S = 6.0
# At the end, for what is under way and then for what is left: the Lease is to be given back in time.
WAITED_AT_THE_END_S = 1.5


class Clerk:
    """Takes in ticks, from any thread, and hands them to the book. ``unread`` tells what could not be read, or ""."""

    def __init__(self, book: Book, metrics: ControllerMetrics, *, unread: Callable[[], str] = lambda: "") -> None:
        self._book = book
        self._unread = unread
        self._metrics = metrics
        self._ticks: deque[Tick] = deque()
        self._lost = 0
        self._writing: asyncio.Task[None] | None = None
        self._hangs = ""

    @property
    def trouble(self) -> str:
        """What is wrong with the store now, in a sentence or two; "" for nothing."""
        return "; ".join(filter(None, (self._hangs or self._book.trouble, self._unread())))

    def note(self, tick: Tick) -> None:
        """Take in what one tick of one policy leaves. Beyond what memory holds the oldest goes, and is counted."""
        self._ticks.append(tick)
        while len(self._ticks) > WAITING_MAX:
            self._ticks.popleft()
            self._lost += 1

    async def write(self) -> None:
        """Hand over what was taken in, and wait a moment for it to be written."""
        await self._write(WAITED_S)

    async def finish(self) -> None:
        """Write what is left at the end, if the store answers."""
        if self._writing is not None:
            await asyncio.wait({self._writing}, timeout=WAITED_AT_THE_END_S)
        await self._write(WAITED_AT_THE_END_S)

    async def _write(self, waited_s: float) -> None:
        if self._writing is None or self._writing.done():
            ticks = list(self._ticks)
            self._ticks.clear()
            self._writing = asyncio.create_task(asyncio.to_thread(self._book.append, ticks))
        _, pending = await asyncio.wait({self._writing}, timeout=waited_s)
        self._hangs = (
            f"the store has not answered for {waited_s:g} s; scaling goes on, {len(self._ticks)} journal entries wait, "
            "and time that is never written is unknown to the ledger; check its disk or its server"
            if pending
            else ""
        )
        self._metrics.tell_store(
            waiting=self._book.waiting + len(self._ticks), lost=self._book.lost + self._lost, trouble=self.trouble
        )
