"""What the store forgets: records by age, and of an SQLite file the oldest entries when it gets too large.

Journal entries are by far the most of a store: one of them holds all that was seen in one tick. The ledger is small
and worth more, so it is kept longer and never given up for space. A file on a volume with a limit must not reach it:
Kubernetes evicts the pod that fills its emptyDir, and journal, ledger and learnt cold starts would be gone with it.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, func, or_, select

from autoscaler.adapters.store_rows import to_ms
from autoscaler.adapters.store_schema import NEWEST, coldstarts, entries, ledger, memories, policies

# Below the limit there is room until the next time: space is freed in steps and not entry by entry.
FREED_TO = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long, in seconds, each kind of record is kept, and how large an SQLite file's content may get.

    ``most_bytes`` None leaves the size alone; a database server's is always left alone, it has an administrator.
    """

    entries_s: float = 14 * 86_400.0
    ledger_s: float = 400 * 86_400.0
    coldstarts_s: float = 400 * 86_400.0
    most_bytes: int | None = None


def prune(connection: Connection, now: float, retention: Retention) -> dict[str, int]:
    """Delete what is older than its retention, then what is too much; return the number of rows by table.

    A policy's newest memory outlives its entries, as it holds the cold starts that were learnt, and goes with those.
    """
    entries_ms, coldstarts_ms = to_ms(now - retention.entries_s), to_ms(now - retention.coldstarts_s)
    checkpoint = and_(memories.c.at_ms < entries_ms, memories.c.slot != NEWEST)
    removals = {
        "entries": delete(entries).where(entries.c.at_ms < entries_ms),
        "memories": delete(memories).where(or_(checkpoint, memories.c.at_ms < coldstarts_ms)),
        "ledger": delete(ledger).where(ledger.c.bucket_ms < to_ms(now - retention.ledger_s)),
        "coldstarts": delete(coldstarts).where(coldstarts.c.ready_at < now - retention.coldstarts_s),
        "policies": delete(policies).where(
            policies.c.digest.not_in(select(entries.c.digest)),
            policies.c.digest.not_in(select(memories.c.digest)),
        ),
    }
    removed = {name: connection.execute(statement).rowcount for name, statement in removals.items()}
    if retention.most_bytes is not None and connection.dialect.name == "sqlite":
        removed["entries"] += _freed(connection, retention.most_bytes)
    return removed


def used_bytes(connection: Connection) -> int:
    """Return what an SQLite file's pages in use come to; free ones are filled before the file grows."""
    pages, free, size = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _freed(connection: Connection, most_bytes: int) -> int:
    """Delete the oldest entries until the file holds no more than it may; return how many."""
    removed = 0
    while (used := used_bytes(connection)) > most_bytes:
        count = connection.execute(select(func.count()).select_from(entries)).scalar_one()
        surplus = max(1, round(count * (1 - FREED_TO * most_bytes / used)))
        oldest = select(entries.c.at_ms).order_by(entries.c.at_ms).offset(surplus - 1).limit(1)
        until_ms = connection.execute(oldest).scalar()
        if until_ms is None:
            break
        removed += connection.execute(delete(entries).where(entries.c.at_ms <= until_ms)).rowcount
        connection.execute(delete(memories).where(memories.c.at_ms <= until_ms, memories.c.slot != NEWEST))
    return removed
