"""Where the journal goes: the store, if there is one and it works, and else a bounded queue in memory.

No trouble of a disk or a database blocks scaling. What could not be written waits and is written with the next tick;
recording a tick again changes nothing. A memory is taken up after a restart only while it is fresh: what was believed
an hour ago says nothing about now, and the core has a guard for starting without.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence

from autoscaler.adapters.store import Retention, Store, StoreError, Tick
from autoscaler.core.decide import Memory
from autoscaler.core.signals import Replica
from autoscaler.recall import recalled

logger = logging.getLogger(__name__)

WAITING_MAX = 2_000
PRUNE_EVERY_S = 600.0


class Book:
    """The journal as the controller writes it. ``on_trouble`` hears how many ticks a failed write left waiting."""

    def __init__(
        self,
        store: Store | None,
        *,
        retention: Retention | None = None,
        on_trouble: Callable[[int], None] = lambda _: None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._wall = wall
        self._waiting: deque[Tick] = deque(maxlen=WAITING_MAX)
        self._trouble = ""
        self._retention = retention or Retention()
        self._prune_at = float("-inf")  # What has grown old, or too large, while nobody ran goes with the first tick.
        self.on_trouble = on_trouble

    def append(self, ticks: Sequence[Tick]) -> None:
        """Write ticks, and those that still wait. Never raises; a trouble is logged once."""
        if self._store is None:
            return
        self._waiting.extend(ticks)
        try:
            self._store.record_all(list(self._waiting))
            self._prune()
        except Exception as error:  # Whatever a disk or a database does, it is no reason not to scale.
            self._tell(str(error))
            self.on_trouble(len(self._waiting))
        else:
            self._waiting.clear()
            self._trouble = ""
            self.on_trouble(0)

    def recall(self, policy: str, first: Memory) -> Memory:
        """Return what is taken up of a policy's newest memory (``autoscaler/recall.py``), else ``first``.

        Never raises.
        """
        try:
            remembered = None if self._store is None else self._store.newest_memory(policy, Memory)
        except StoreError as error:
            self._tell(str(error))
            remembered = None
        if remembered is None:
            return first
        return recalled(remembered.memory, age_s=self._wall() - remembered.at, first=first)

    def replicas(self, policy: str) -> tuple[Replica, ...]:
        """Return the replicas as the newest entry of a policy has them. Never raises."""
        try:
            newest = () if self._store is None else self._store.entries(policy, limit=1)
        except StoreError as error:
            self._tell(str(error))
            return ()
        return newest[-1].signals.replicas if newest else ()

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()

    def _prune(self) -> None:
        if self._store is not None and self._wall() >= self._prune_at:
            self._prune_at = self._wall() + PRUNE_EVERY_S
            self._store.prune(self._wall(), self._retention)

    def _tell(self, trouble: str) -> None:
        if trouble != self._trouble:
            logger.warning("the journal is not written, scaling goes on without it: %s", trouble)
        self._trouble = trouble
