"""Who reads the book: what was learnt of a policy before this process began is read beside the tick, in a thread.

A disk or a server that hangs answers nothing at all, and the event loop that waited for it would answer no probe. So
one reading of all that is missing is under way at a time, the tick that begins it waits a moment for all of it
together, and what comes later is taken up by a later tick. Until then a policy is decided on an empty memory, which is
never written over the stored one, and is not scaled down.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from autoscaler.controller.book import Book, Recollection
from autoscaler.controller.fleet import Member
from autoscaler.core.guard import named
from autoscaler.recall import MEMORY_FRESH_S

logger = logging.getLogger(__name__)

# For all policies together, and with the time that the clerk waits still less than a tick.
WAITED_S = 4.0
UNRECALLED = "what was learnt of it could not yet be read from the store"


@dataclass(frozen=True, slots=True)
class _Reading:
    """One reading under way: ``found`` grows by policy, ``ended`` is set on the loop."""

    found: dict[str, Recollection] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Recaller:
    """Reads what is missing, and hands it over on the loop. ``clock`` gives seconds that are never set back."""

    def __init__(self, book: Book, take: Callable[[Member, Recollection], None], clock: Callable[[], float]) -> None:
        self._book = book
        self._take = take
        self._clock = clock
        self._reading: _Reading | None = None
        self.trouble = ""  # Which policies wait for their memory, in one sentence.

    async def recall(self, members: Sequence[Member]) -> None:
        """Let the members that lack their memory have it, as far as the store answers in a moment. Never raises."""
        missing = [member for member in members if member.driver is not None and not member.recalled]
        for member in missing:
            member.unrecalled_since = self._clock() if member.unrecalled_since is None else member.unrecalled_since
        if missing and self._reading is None:
            self._reading = self._begun([member.key for member in missing])
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._reading.ended.wait(), WAITED_S)
        if self._reading is not None:
            for member in missing:
                found = self._reading.found.get(member.key)
                if found is not None:
                    self._take(member, found)
                    member.recalled = True
            self._reading = None if self._reading.ended.is_set() else self._reading
        self._tell(tuple(member.key for member in missing if not member.recalled))

    def may_be_worth_waiting(self, member: Member) -> bool:
        """Whether a member lacks a memory that may still be fresh.

        What is read later tells of cold starts alone (``autoscaler/recall.py``), and a target that could never be
        scaled down for want of a disk would cost more than it saves: the guard of a start without memory goes on.
        """
        since = member.unrecalled_since
        return not member.recalled and (since is None or self._clock() - since < MEMORY_FRESH_S)

    def _begun(self, policies: list[str]) -> _Reading:
        reading = _Reading()
        loop = asyncio.get_running_loop()
        # A daemon: the process must be able to end while a disk hangs.
        threading.Thread(target=self._read, args=(policies, reading, loop), name="recall", daemon=True).start()
        return reading

    def _read(self, policies: list[str], reading: _Reading, loop: asyncio.AbstractEventLoop) -> None:
        try:
            for policy in policies:
                found = self._book.recollect(policy)
                if found is None:
                    break
                reading.found[policy] = found
        except Exception:  # Whatever a disk or a database does, it is no reason not to scale.
            logger.exception("what was learnt before could not be read; the next tick tries again")
        finally:
            with contextlib.suppress(RuntimeError):  # The loop ended before the disk answered.
                loop.call_soon_threadsafe(reading.ended.set)

    def _tell(self, policies: tuple[str, ...]) -> None:
        trouble = (
            f"what was learnt of {named(policies)} could not yet be read from the store; it is tried again, nothing "
            f"stored is overwritten, and for {MEMORY_FRESH_S:.0f} s there is no scale-down; check its disk or server"
            if policies
            else ""
        )
        if trouble and not self.trouble:
            logger.warning("%s", trouble)
        elif self.trouble and not trouble:
            logger.info("what was learnt before is read from the store")
        self.trouble = trouble
