"""The store: journal, memories, cold starts and ledger in one SQL database, SQLite unless told otherwise.

One process writes (the controller that holds the Lease), any number read. A tick of all policies is one transaction:
after a crash it is there as a whole or not at all. What each tick leaves is in ``store_writes``; how a database is
opened, migrated and repaired in ``store_engine``; what can go wrong, in ``store_faults``. Every error is a StoreError
with one sentence; none of them may stop scaling, which is the caller's part to see to.
"""

import math
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from pydantic import ValidationError
from sqlalchemy import Connection, Engine, Row, Select, func, select

from autoscaler.adapters.store_engine import (
    address,
    begins_as_sqlite,
    check_integrity,
    check_version,
    migrate,
    place_of,
    quarantine,
    reading_engine,
    use_write_ahead_log,
    writing_engine,
)
from autoscaler.adapters.store_faults import Fault, StoreError, translated
from autoscaler.adapters.store_prune import Retention, make_room, prune_step
from autoscaler.adapters.store_rows import kind_name, ledger_row, to_ms, unpacked
from autoscaler.adapters.store_schema import HOUR_MS, NEWEST, coldstarts, entries, ledger, memories, policies
from autoscaler.adapters.store_tail import Tail, Tick
from autoscaler.adapters.store_writes import read_ledgers, write
from autoscaler.core.policy import PolicySpec
from autoscaler.footprint.ledger import LedgerRow
from autoscaler.footprint.states import LedgerMemory
from autoscaler.journal import Entry, OutcomeStatus, decode
from autoscaler.report import Move, Start, move_of

__all__ = [
    "Fault",
    "Remembered",
    "Retention",
    "Store",
    "StoreError",
    "Tail",
    "Tick",
    "open_or_quarantine",
    "quarantine",
]

M = TypeVar("M")


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered(Generic[M]):
    """A memory as it was after the entry at ``at`` (unix seconds), under the policy of that digest."""

    at: float
    policy_digest: str
    memory: M


class Store:
    """An open store. Made by ``Store.open``; may be used from several threads."""

    def __init__(self, engine: Engine, place: str) -> None:
        self._engine = engine
        self.place = place

    @classmethod
    def open(cls, url: str, *, read_only: bool = False) -> Self:
        """Open a store by path or SQLAlchemy URL.

        For writing, it is made and migrated as needed, and an SQLite file is checked for damage; for reading, it must
        exist and be of this version.

        Raises:
            StoreError: whatever is wrong, in one sentence.
        """
        parsed = address(url)
        place = place_of(parsed)
        with translated(place):
            engine = reading_engine(parsed) if read_only else writing_engine(parsed)
        store = cls(engine, place)
        try:
            if read_only:
                store._check()
            else:
                store._prepare()
        except BaseException:
            store.close()
            raise
        return store

    def close(self) -> None:
        """Close all connections. The store cannot be used afterwards."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def record(self, entry: Entry, memory: object | None, spec: PolicySpec) -> None:
        """Record one tick of one policy."""
        self.record_all([Tick(entry=entry, memory=memory, spec=spec)])

    def record_all(self, ticks: Sequence[Tick], tail: Tail | None = None) -> dict[str, LedgerMemory]:
        """Record ticks of any number of policies in one transaction. Recording a tick again changes nothing.

        ``tail`` is time of before the ticks that was charged while nothing could be written. Return the memories of the
        ledgers that went on.
        """
        tail = tail or Tail()
        if not ticks and not tail.parts:
            return {}
        with translated(self.place), self._engine.begin() as connection:
            return write(connection, ticks, tail)

    def prune(self, now: float, retention: Retention | None = None, *, within_s: float = math.inf) -> Counter[str]:
        """Forget what is older than its retention, or too much for it; return the number of rows by table.

        It is done in steps, each a transaction of its own, until nothing is left to do or so many seconds are over.
        """
        kept = retention or Retention()
        ends = time.monotonic() + within_s
        removed: Counter[str] = Counter()
        while True:
            with translated(self.place), self._engine.begin() as connection:
                step = prune_step(connection, now, kept)
            removed.update(step)
            if not step or time.monotonic() >= ends:
                return removed

    def make_room(self) -> int:
        """Delete some of the oldest entries, for new ones to take their place; return how many went."""
        with translated(self.place), self._engine.begin() as connection:
            return make_room(connection)

    def charged_until(self, policy: str) -> LedgerMemory | None:
        """Return the memory of a policy's ledger as it is in the store; None before the first entry."""
        with translated(self.place), self._reading() as connection:
            return read_ledgers(connection, [policy]).get(policy)

    def newest_memory(self, policy: str, kind: type[M]) -> Remembered[M] | None:
        """Return a policy's newest memory of a type, None if there is none that this version can read."""
        statement = select(memories.c.at_ms, memories.c.digest, memories.c.payload).where(
            memories.c.policy == policy, memories.c.kind == kind_name(kind), memories.c.slot == NEWEST
        )
        return next((self._remembered(kind, row) for row in self._rows(statement)), None)

    def memory_before(self, policy: str, kind: type[M], at: float) -> Remembered[M] | None:
        """Return the newest checkpoint at or before an instant, from which a replay can begin; None without one."""
        statement = (
            select(memories.c.at_ms, memories.c.digest, memories.c.payload)
            .where(memories.c.policy == policy, memories.c.kind == kind_name(kind), memories.c.at_ms <= to_ms(at))
            .order_by(memories.c.at_ms.desc())
            .limit(1)
        )
        return next((self._remembered(kind, row) for row in self._rows(statement)), None)

    def policies(self) -> tuple[str, ...]:
        """Return the names of all policies with an entry, sorted."""
        return tuple(row.policy for row in self._rows(select(entries.c.policy).distinct().order_by(entries.c.policy)))

    def spec(self, digest: str) -> PolicySpec | None:
        """Return the policy of a digest, None if it is not kept or this version cannot read it."""
        for row in self._rows(select(policies.c.spec).where(policies.c.digest == digest)):
            try:
                return PolicySpec.model_validate_json(row.spec)
            except ValidationError:
                return None
        return None

    def entries(
        self, policy: str, *, since: float | None = None, until: float | None = None, limit: int | None = None
    ) -> tuple[Entry, ...]:
        """Return a policy's entries from ``since`` to ``until`` inclusive, oldest first; with a limit, the newest."""
        statement = _between(select(entries.c.payload).where(entries.c.policy == policy), since, until)
        rows = self._rows(statement.order_by(entries.c.at_ms.desc()).limit(limit))
        return tuple(self._entry(row.payload) for row in reversed(rows))

    def oldest_at(self, policy: str) -> float | None:
        """Return the instant of the oldest entry of a policy that is still kept; None without any."""
        rows = self._rows(select(func.min(entries.c.at_ms).label("at_ms")).where(entries.c.policy == policy))
        return None if rows[0].at_ms is None else float(rows[0].at_ms / 1000)

    def ledger_span(self) -> tuple[float, float] | None:
        """Return from when to when the ledger reaches; None while it is empty."""
        first, last = func.min(ledger.c.bucket_ms), func.max(ledger.c.bucket_ms + ledger.c.length_ms)
        ends = self._rows(select(first.label("first_ms"), last.label("last_ms")))[0]
        return None if ends.first_ms is None else (ends.first_ms / 1000, ends.last_ms / 1000)

    def moves(
        self, policy: str, *, since: float | None = None, until: float | None = None, limit: int | None = None
    ) -> tuple[Move, ...]:
        """Return a policy's changes of the target, oldest first; with a limit, the newest (see ``report.is_move``)."""
        columns = (entries.c.at_ms, entries.c.target, entries.c.spec_replicas, entries.c.outcome)
        statement = _between(select(*columns).where(entries.c.policy == policy), since, until)
        found: list[int] = []
        before: Row[Any] | None = None
        for row in self._rows(statement.order_by(entries.c.at_ms)):
            asks = row.target is not None and row.target != row.spec_replicas
            if asks and (row.outcome == OutcomeStatus.SCALED or before is None or before.target != row.target):
                found.append(row.at_ms)
            before = row
        if limit is not None:
            found = found[-limit:] if limit > 0 else []
        payloads = select(entries.c.payload).where(entries.c.policy == policy, entries.c.at_ms.in_(found))
        return tuple(move_of(self._entry(row.payload)) for row in self._rows(payloads.order_by(entries.c.at_ms)))

    def coldstarts(self, policy: str, *, limit: int | None = None) -> tuple[Start, ...]:
        """Return a policy's cold starts in the order in which they came; with a limit, the newest."""
        statement = select(coldstarts).where(coldstarts.c.policy == policy)
        rows = self._rows(statement.order_by(coldstarts.c.ready_at.desc(), coldstarts.c.uid).limit(limit))
        names = ("pod", "uid", "ordered_at", "scheduled_at", "started_at", "ready_at")
        return tuple(Start(**{name: getattr(row, name) for name in names}) for row in reversed(rows))

    def ledger(
        self, *, since: float | None = None, until: float | None = None, policy: str | None = None
    ) -> tuple[LedgerRow, ...]:
        """Return the ledger in buckets of five minutes, of an hour where it is old, whole those of [since, until)."""
        statement = select(ledger)
        if policy is not None:
            statement = statement.where(ledger.c.policy == policy)
        if since is not None:
            ms = to_ms(since)
            statement = statement.where(ledger.c.bucket_ms > ms - HOUR_MS, ledger.c.bucket_ms + ledger.c.length_ms > ms)
        if until is not None:
            statement = statement.where(ledger.c.bucket_ms < to_ms(until))
        ordered = statement.order_by(ledger.c.policy, ledger.c.bucket_ms, ledger.c.state)
        return tuple(ledger_row(row) for row in self._rows(ordered))

    def _prepare(self) -> None:
        use_write_ahead_log(self._engine, self.place)
        with translated(self.place), self._engine.begin() as connection:
            check_integrity(connection, self.place)
            migrate(connection, self.place)

    def _check(self) -> None:
        with translated(self.place), self._engine.begin() as connection:
            check_version(connection, self.place)

    def _rows(self, statement: Select[Any]) -> Sequence[Row[Any]]:
        with translated(self.place), self._reading() as connection:
            return connection.execute(statement).all()

    def _reading(self) -> AbstractContextManager[Connection]:
        return self._engine.execution_options(store_writes=False).begin()

    def _entry(self, payload: bytes) -> Entry:
        try:
            return decode(Entry, unpacked(payload))
        except (ValidationError, zlib.error) as error:
            raise StoreError(
                Fault.SCHEMA,
                f"store {self.place} has an entry that this version cannot read; use the one that wrote it",
            ) from error

    def _remembered(self, kind: type[M], row: Row[Any]) -> Remembered[M] | None:
        try:
            memory = decode(kind, unpacked(row.payload))
        except (ValidationError, zlib.error):
            return None
        return Remembered(at=row.at_ms / 1000, policy_digest=row.digest, memory=memory)


def open_or_quarantine(url: str, at: float) -> tuple[Store, str | None]:
    """Open the controller's store; a damaged SQLite file is moved away first, and the sentence about it returned.

    A file that never was a database is somebody's data under a mistyped name: it stays where it is.

    Raises:
        StoreError: anything else is wrong.
    """
    try:
        return Store.open(url), None
    except StoreError as error:
        if error.fault is not Fault.CORRUPT or not begins_as_sqlite(url):
            raise
        return _after_quarantine(url, at)


def _after_quarantine(url: str, at: float) -> tuple[Store, str]:
    message = quarantine(url, at)
    return Store.open(url), message


def _between(statement: Select[Any], since: float | None, until: float | None) -> Select[Any]:
    if since is not None:
        statement = statement.where(entries.c.at_ms >= to_ms(since))
    if until is not None:
        statement = statement.where(entries.c.at_ms <= to_ms(until))
    return statement
