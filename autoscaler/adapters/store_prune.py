"""What the store forgets, in steps so small that no tick waits for them; and the ledger, which it does not forget.

Journal entries are by far the most of a store (``benchmarks.store_size`` measures it, docs/store.md says what it came
to): one of them holds all that was seen in one tick. They go by age, and of an SQLite file the oldest go when it gets
too large. A file on a volume with a limit must not reach it: Kubernetes evicts the pod that fills its emptyDir, and
journal, ledger and learnt cold starts would be gone with it.

The ledger is small and worth more. What is older than the journal is rolled up from buckets of five minutes to hours,
whose sums by policy, state, model, accelerator and price are the same to the millisecond, and an hour is kept for
years. Cold starts and each policy's newest memory are never pruned: they are what a restart knows.

Pages that a step frees are filled before an SQLite file grows. They are given back to the disk only where the file is
larger than it may be: what is given back today would be asked for again tomorrow.
"""

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, delete, func, select, tuple_

from autoscaler.adapters.store_rows import to_ms
from autoscaler.adapters.store_schema import BUCKET_MS, HOUR_MS, NEWEST, entries, ledger, memories, policies
from autoscaler.adapters.store_writes import accumulate

# Rows of one step: half a thousand entries of sixteen replicas are deleted in about 20 ms.
BATCH = 500
# Pages of one step that are given back to the disk, a MiB of them.
PAGES_GIVEN_BACK = 256
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long, in seconds, each kind of record is kept, and how large an SQLite file may get.

    ``buckets_s`` is how long the ledger is kept in buckets of five minutes, and for the rest of ``ledger_s`` in hours.
    ``most_bytes`` None leaves the size alone; a database server's is always left alone, it has an administrator.
    """

    entries_s: float = 14 * DAY_S
    buckets_s: float = 14 * DAY_S
    ledger_s: float = 400 * DAY_S
    most_bytes: int | None = None


def prune_step(connection: Connection, now: float, retention: Retention) -> Counter[str]:
    """Take one step; return the rows that went by table, those that were ``rolled_up``, and the ``pages`` given back.

    Nothing is left to do once a step returns nothing.
    """
    entries_ms = to_ms(now - retention.entries_s)
    done = Counter(
        entries=_delete_entries(connection, entries.c.at_ms < entries_ms),
        memories=_delete_checkpoints(connection, memories.c.at_ms < entries_ms),
        ledger=_delete_ledger(connection, to_ms(now - retention.ledger_s)),
        rolled_up=_roll_up(connection, to_ms(now - retention.buckets_s)),
    )
    if connection.dialect.name == "sqlite" and retention.most_bytes is not None:
        if used_bytes(connection) > retention.most_bytes:
            done["entries"] += make_room(connection)
        done["pages"] = _give_back(connection, retention.most_bytes)
    if not done.total():
        done["policies"] = _delete_unused_policies(connection)
    return +done


def make_room(connection: Connection) -> int:
    """Delete some of the oldest entries, and the checkpoints that belong to them; return the number of entries."""
    oldest = select(entries.c.at_ms).order_by(entries.c.at_ms).limit(BATCH).subquery()
    until_ms = connection.execute(select(func.max(oldest.c.at_ms))).scalar()
    if until_ms is None:
        return 0
    _delete_checkpoints(connection, memories.c.at_ms <= until_ms)
    return _delete_entries(connection, entries.c.at_ms <= until_ms)


def used_bytes(connection: Connection) -> int:
    """Return what an SQLite file's pages in use come to; free ones are filled before the file grows."""
    return (_pragma(connection, "page_count") - _pragma(connection, "freelist_count")) * _pragma(
        connection, "page_size"
    )


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())


def _give_back(connection: Connection, most_bytes: int) -> int:
    """Shorten a file that is larger than it may be; return the pages, none where it was made before it could be."""
    pages, free = _pragma(connection, "page_count"), _pragma(connection, "freelist_count")
    surplus = pages - most_bytes // _pragma(connection, "page_size")
    for _ in range(min(surplus, free, PAGES_GIVEN_BACK)):
        # One by one: of a larger number the driver does the first and takes the rest for rows that nobody reads.
        connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
    return pages - _pragma(connection, "page_count")


def _delete_entries(connection: Connection, condition: ColumnElement[bool]) -> int:
    key = (entries.c.policy, entries.c.at_ms)
    oldest = select(*key).where(condition).order_by(entries.c.at_ms).limit(BATCH)
    return connection.execute(delete(entries).where(tuple_(*key).in_(oldest))).rowcount


def _delete_checkpoints(connection: Connection, condition: ColumnElement[bool]) -> int:
    key = (memories.c.policy, memories.c.kind, memories.c.slot)
    found = select(*key).where(and_(condition, memories.c.slot != NEWEST)).limit(BATCH)
    return connection.execute(delete(memories).where(tuple_(*key).in_(found))).rowcount


def _delete_ledger(connection: Connection, before_ms: int) -> int:
    oldest = select(func.min(ledger.c.bucket_ms)).where(ledger.c.bucket_ms < before_ms)
    first_ms = connection.execute(oldest).scalar()
    if first_ms is None:
        return 0
    return connection.execute(delete(ledger).where(ledger.c.bucket_ms == first_ms)).rowcount


def _roll_up(connection: Connection, before_ms: int) -> int:
    """Make the oldest hour that is wholly before an instant and still in buckets one row for each of its keys."""
    whole_ms = before_ms - before_ms % HOUR_MS
    fine = and_(ledger.c.length_ms == BUCKET_MS, ledger.c.bucket_ms < whole_ms)
    first_ms = connection.execute(select(func.min(ledger.c.bucket_ms)).where(fine)).scalar()
    if first_ms is None:
        return 0
    hour_ms = first_ms - first_ms % HOUR_MS
    hour = and_(fine, ledger.c.bucket_ms >= hour_ms, ledger.c.bucket_ms < hour_ms + HOUR_MS)
    key = (ledger.c.policy, ledger.c.state, ledger.c.model, ledger.c.accelerator, ledger.c.price_micro_usd)
    total = func.sum(ledger.c.accelerator_ms).label("accelerator_ms")
    found = connection.execute(select(*key, total).where(hour).group_by(*key)).mappings().all()
    rolled = connection.execute(delete(ledger).where(hour)).rowcount
    accumulate(
        connection,
        # PostgreSQL sums whole numbers into a decimal one.
        [
            {**row, "accelerator_ms": int(row["accelerator_ms"]), "bucket_ms": hour_ms, "length_ms": HOUR_MS}
            for row in found
        ],
    )
    return rolled


def _delete_unused_policies(connection: Connection) -> int:
    used = [select(table.c.digest).where(table.c.digest == policies.c.digest).exists() for table in (entries, memories)]
    return connection.execute(delete(policies).where(*(~one for one in used))).rowcount
