"""The ledger while nothing can be written: time goes on being charged, and the sums wait for the store.

A journal entry holds all that one tick saw, and only so many of them fit into memory. The ledger's sums are a few
numbers an hour, so they are kept however long a disk stays full: the journal has a gap then, the ledger has none. They
are sums of hours: finer ones would grow.

Pure: no connection is used here.
"""

from collections import Counter
from dataclasses import dataclass, field

from autoscaler.adapters.store_rows import Sums, bucket_sums
from autoscaler.adapters.store_schema import HOUR_MS
from autoscaler.core.policy import PolicySpec
from autoscaler.footprint.ledger import LedgerRow
from autoscaler.footprint.states import LedgerMemory, account, terms_of
from autoscaler.journal import Entry
from autoscaler.report import Start, starts_of

# A start is offered to the table for this long after it came, so that a failed write is made up for.
OFFERED_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What one tick of one policy leaves: its entry, the core's memory after it (or None), and the policy itself.

    ``price_usd_per_hour`` is the resolved price of one accelerator; ``None`` takes the policy's own figure, if any.
    """

    entry: Entry
    memory: object | None
    spec: PolicySpec
    price_usd_per_hour: float | None = None


@dataclass(slots=True)
class Part:
    """One policy's time since the ledger in the store, which is at ``base``; ``last`` is the newest entry of it."""

    base: LedgerMemory | None
    memory: LedgerMemory
    last: Entry
    sums: Sums = field(default_factory=Counter)
    starts: dict[str, Start] = field(default_factory=dict)


@dataclass(slots=True)
class Tail:
    """All policies' time that is charged and not written."""

    parts: dict[str, Part] = field(default_factory=dict)

    @property
    def accelerator_ms(self) -> int:
        """How much time waits."""
        return sum(part.sums.total() for part in self.parts.values())

    def take(self, tick: Tick, base: LedgerMemory | None) -> None:
        """Charge a tick that is given up as an entry; ``base`` is the ledger of its policy as the store has it."""
        entry = tick.entry
        part = self.parts.get(entry.policy)
        memory, rows = charged(part.memory if part else base, tick)
        if part is None:
            part = self.parts[entry.policy] = Part(base=base, memory=memory, last=entry)
        part.memory, part.last = memory, entry
        part.sums.update(bucket_sums(rows, HOUR_MS))
        part.starts.update({start.uid: start for start in offered(memory, entry)})


def charged(memory: LedgerMemory | None, tick: Tick) -> tuple[LedgerMemory, tuple[LedgerRow, ...]]:
    """Return the ledger's memory after a tick, and the time that the tick adds."""
    return account(memory, tick.entry, terms_of(tick.spec, tick.price_usd_per_hour))


def offered(memory: LedgerMemory, entry: Entry) -> tuple[Start, ...]:
    """Return the cold starts that came lately, and since the ledger was begun."""
    since_at = max(memory.since_ms / 1000, entry.at - OFFERED_S)
    return starts_of(entry.signals, since_at=since_at)
