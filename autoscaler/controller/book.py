"""Where the journal goes: the store, if there is one and it works, and else a bounded queue in memory.

No trouble of a disk or a database blocks scaling. What could not be written waits and is written with the next tick;
recording a tick again changes nothing. Of what waits too long the entry is given up, and its time is charged to the
ledger, whose sums wait on (``adapters/store_tail.py``). On a full disk the oldest entries make room for new ones. A
memory is taken up after a restart only while it is fresh: what was believed an hour ago says nothing about now, and
the core has a guard for starting without.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from autoscaler.adapters.store import Fault, Remembered, Retention, Store, StoreError, Tail, Tick
from autoscaler.core.decide import Memory
from autoscaler.core.policy import PolicySpec
from autoscaler.core.signals import Replica
from autoscaler.footprint.ledger import MS_PER_HOUR
from autoscaler.footprint.states import LedgerMemory
from autoscaler.recall import carried, recalled

R = TypeVar("R")

logger = logging.getLogger(__name__)

WAITING_MAX = 2_000
PRUNE_EVERY_S = 60.0
REOPEN_EVERY_S = 30.0
# Of a tick's time, so much may go to forgetting what is old; what is left of it is done with the next tick.
PRUNE_WITHIN_S = 0.25
ROOMS_MAX = 8
# What made room once lasts for a while, and the disk is full all the same.
FULL_TOLD_S = 3600.0
FULL = (
    "the disk is full, so the oldest journal entries make room for new ones and the ledger is kept; free some space, "
    "or give the store a larger volume"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recollection:
    """What the store holds of a policy's name: replicas as the newest entry has them, and its newest memory, if any.

    ``spec`` is the policy under which that memory came about, None where it is not known.
    """

    replicas: tuple[Replica, ...] = ()
    newest: Remembered[Memory] | None = None
    spec: PolicySpec | None = None


class Book:
    """The journal as the controller writes it.

    ``reopen`` opens a store that could not be opened for writing at the start, for a reason that may pass; until then
    ``reader`` is the same store for reading, if at least that can be done.
    """

    def __init__(
        self,
        store: Store | None,
        *,
        retention: Retention | None = None,
        wall: Callable[[], float] = time.time,
        reopen: Callable[[], Store] | None = None,
        reader: Store | None = None,
    ) -> None:
        self._store = store
        self._reader = store or reader
        self._reopen = reopen
        self._reopen_at = float("-inf")
        self._unread_until = float("-inf")
        self._unopened: StoreError | None = None
        self._wall = wall
        self._waiting: deque[Tick] = deque()
        self._tail = Tail()
        self._ledgers: dict[str, LedgerMemory] = {}  # As they were last written.
        self._retention = retention or Retention()
        self._prune_at = float("-inf")  # What has grown old, or too large, while nobody ran goes with the first tick.
        self._full_until = float("-inf")
        self.trouble = ""  # What is wrong with the store now, in one sentence.
        self.lost = 0  # Entries that were given up since the start.

    @property
    def waiting(self) -> int:
        """How many entries wait to be written."""
        return len(self._waiting)

    def append(self, ticks: Sequence[Tick]) -> None:
        """Write ticks, and those that still wait. Never raises; a trouble is logged once, and so is its end."""
        if self._store is None and self._reopen is None:
            return
        self._waiting.extend(ticks)
        try:
            store = self._opened()
            trouble = self._write(store)
        except Exception as error:  # Whatever a disk or a database does, it is no reason not to scale.
            self._tell(f"journal and ledger are not written, scaling goes on without them: {error}")
            self._give_up()
            return
        self._waiting.clear()
        self._tail = Tail()
        self._tell(self._prune(store) or trouble)

    def recollect(self, policy: str) -> Recollection | None:
        """Return what the store holds of a policy; None if it cannot be told now, which is not nothing."""
        if self._reader is None and self._reopen is None:
            return Recollection()
        return self._read(lambda store: _recollection(store, policy))

    def taken_up(self, found: Recollection, spec: PolicySpec, first: Memory) -> Memory:
        """Return what a policy takes up of a memory that was found (``autoscaler/recall.py``), else ``first``."""
        if found.newest is None:
            return first
        newest = recalled(found.newest.memory, age_s=self._wall() - found.newest.at, first=first)
        return newest if found.spec is None else carried(newest, was=found.spec, now=spec, first=first)

    def close(self) -> None:
        """Close the store. What still waits is gone with the process, and is told."""
        if self._waiting or self._tail.parts:
            hours = self._tail.accelerator_ms / MS_PER_HOUR
            logger.warning(
                "%d journal entries and %.1f accelerator-hours of the ledger were never written; at last: %s",
                len(self._waiting) + self.lost,
                hours,
                self.trouble,
            )
        if self._reader is not None:
            self._reader.close()

    def _read(self, ask: Callable[[Store], R]) -> R | None:
        """Return an answer of the store, None if it gives none; one that failed is not asked by each policy in turn."""
        if self._reader is None or self._wall() < self._unread_until:
            return None
        try:
            return ask(self._reader)
        except StoreError as error:
            self._unread_until = self._wall() + REOPEN_EVERY_S
            self._tell(str(error))
            return None

    def _opened(self) -> Store:
        """Return the store, and open it if it could not be opened before; raises StoreError while it still cannot."""
        if self._store is None and self._reopen is not None:
            if self._unopened is not None and self._wall() < self._reopen_at:
                raise self._unopened
            try:
                self._store = self._reopen()
            except StoreError as error:
                self._reopen_at, self._unopened = self._wall() + REOPEN_EVERY_S, error
                raise
            if self._reader is not None:
                self._reader.close()
            self._reader = self._store
        assert self._store is not None, "append has looked"
        return self._store

    def _write(self, store: Store) -> str:
        """Write all that waits, on a full disk in the place of the oldest entries; return what is to be told."""
        rooms = 0
        while True:
            try:
                self._ledgers.update(store.record_all(list(self._waiting), self._tail))
                break
            except StoreError as error:
                rooms += 1
                if error.fault is not Fault.FULL or rooms > ROOMS_MAX or not store.make_room():
                    raise
        self._full_until = self._wall() + FULL_TOLD_S if rooms else self._full_until
        return "" if self._wall() >= self._full_until else f"store {store.place}: {FULL}"

    def _give_up(self) -> None:
        """Charge the time of the oldest entries that are too many to wait, and let the entries go."""
        while len(self._waiting) > WAITING_MAX:
            tick = self._waiting.popleft()
            self._tail.take(tick, self._base(tick.entry.policy))
            self.lost += 1

    def _base(self, policy: str) -> LedgerMemory | None:
        """Return the ledger that is in the store; one that this process never wrote is read if it can be."""
        if self._reader is not None and policy not in self._ledgers and policy not in self._tail.parts:
            with suppress(StoreError):
                return self._reader.charged_until(policy)
        return self._ledgers.get(policy)

    def _prune(self, store: Store) -> str:
        """Forget what is old, for a moment; return what went wrong, "" for nothing."""
        if self._wall() < self._prune_at:
            return ""
        began = time.monotonic()
        try:
            store.prune(self._wall(), self._retention, within_s=PRUNE_WITHIN_S)
        except StoreError as error:
            return f"what is old in the store cannot be deleted: {error}"
        if time.monotonic() - began < PRUNE_WITHIN_S:
            self._prune_at = self._wall() + PRUNE_EVERY_S
        return ""

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            logger.warning("%s", trouble)
        elif self.trouble and not trouble:
            logger.info("journal and ledger are written again; %d entries were given up since the start", self.lost)
        self.trouble = trouble


def _recollection(store: Store, policy: str) -> Recollection:
    newest = store.newest_memory(policy, Memory)
    spec = None if newest is None else store.spec(newest.policy_digest)
    return Recollection(replicas=_replicas(store, policy), newest=newest, spec=spec)


def _replicas(store: Store, policy: str) -> tuple[Replica, ...]:
    """Return the replicas as the newest entry has them; none of one that another version wrote: the memory counts."""
    try:
        newest = store.entries(policy, limit=1)
    except StoreError as error:
        if error.fault is not Fault.SCHEMA:
            raise
        return ()
    return newest[-1].signals.replicas if newest else ()
