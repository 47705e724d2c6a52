"""Writing ticks: everything one tick leaves behind, for many policies, on one connection in one transaction.

A tick that is recorded twice leaves what it left the first time: an entry is known by its policy and millisecond, and
the ledger moves on only with a new entry. The ledger's memory is read from the database and not kept by the process,
so a second controller goes on exactly where the first one stopped. What was charged while nothing could be written
(``store_tail``) comes before the ticks.
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError
from sqlalchemy import Connection, Table, case, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from autoscaler.adapters.store_rows import (
    Row,
    Sums,
    bucket_rows,
    bucket_sums,
    entry_row,
    kind_name,
    packed,
    start_row,
    to_ms,
    unpacked,
)
from autoscaler.adapters.store_schema import (
    CHECKPOINT_MS,
    NEWEST,
    coldstarts,
    entries,
    ledger,
    memories,
    policies,
)
from autoscaler.adapters.store_tail import Tail, Tick, charged, offered
from autoscaler.footprint.states import LedgerMemory
from autoscaler.journal import Entry, decode

# No type is called so, so the ledger never collides with a memory of the core.
LEDGER_KIND = "ledger"
CHUNK = 500


@dataclass(slots=True)
class _Batch:
    entries: list[Row] = field(default_factory=list)
    ledger: Sums = field(default_factory=Counter)
    starts: dict[tuple[str, str], Row] = field(default_factory=dict)
    specs: dict[str, Row] = field(default_factory=dict)
    newest: dict[tuple[str, str], Row] = field(default_factory=dict)
    checkpoints: dict[tuple[str, str, int], Row] = field(default_factory=dict)


def write(connection: Connection, ticks: Sequence[Tick], tail: Tail) -> dict[str, LedgerMemory]:
    """Write the tail and the ticks but those whose entry is there already; return the ledger's memories after it."""
    known = _known(connection, ticks)
    ledgers = read_ledgers(connection, {*tail.parts, *(tick.entry.policy for tick in ticks)})
    batch = _Batch()
    _add_tail(batch, tail, ledgers)
    for tick in sorted(ticks, key=lambda tick: tick.entry.at):
        key = (tick.entry.policy, to_ms(tick.entry.at))
        if key not in known:
            known.add(key)
            _add(batch, tick, ledgers)
    _flush(connection, batch)
    return ledgers


def _known(connection: Connection, ticks: Sequence[Tick]) -> set[tuple[str, int]]:
    keys = [(tick.entry.policy, to_ms(tick.entry.at)) for tick in ticks]
    found: set[tuple[str, int]] = set()
    for i in range(0, len(keys), CHUNK):
        where = tuple_(entries.c.policy, entries.c.at_ms).in_(keys[i : i + CHUNK])
        found.update(
            (row.policy, row.at_ms)
            for row in connection.execute(select(entries.c.policy, entries.c.at_ms).where(where))
        )
    return found


def read_ledgers(connection: Connection, names: Iterable[str]) -> dict[str, LedgerMemory]:
    """Return the ledger's memories; one of another version is treated as none, and the ledger opens anew."""
    found: dict[str, LedgerMemory] = {}
    ordered = sorted(names)
    for i in range(0, len(ordered), CHUNK):
        statement = select(memories.c.policy, memories.c.payload).where(
            memories.c.kind == LEDGER_KIND, memories.c.slot == NEWEST, memories.c.policy.in_(ordered[i : i + CHUNK])
        )
        for row in connection.execute(statement):
            try:
                found[row.policy] = decode(LedgerMemory, unpacked(row.payload))
            except (ValidationError, zlib.error):
                continue
    return found


def _add_tail(batch: _Batch, tail: Tail, ledgers: dict[str, LedgerMemory]) -> None:
    """Add what was charged since the ledger that is in the store; where another controller went on, it charged that."""
    for policy, part in tail.parts.items():
        known = ledgers.get(policy)
        if (known and known.at_ms) != (part.base and part.base.at_ms):
            continue
        ledgers[policy] = part.memory
        batch.ledger.update(part.sums)
        batch.starts.update({(policy, start.uid): start_row(policy, start) for start in part.starts.values()})
        _add_memory(batch, part.last, part.memory, LEDGER_KIND, checkpoint=False)


def _add(batch: _Batch, tick: Tick, ledgers: dict[str, LedgerMemory]) -> None:
    entry = tick.entry
    batch.entries.append(entry_row(entry))
    batch.specs.setdefault(
        entry.policy_digest,
        {
            "digest": entry.policy_digest,
            "spec": json.dumps(tick.spec.model_dump(mode="json", by_alias=True), sort_keys=True),
            "first_at_ms": to_ms(entry.at),
        },
    )
    memory, rows = charged(ledgers.get(entry.policy), tick)
    ledgers[entry.policy] = memory
    batch.ledger.update(bucket_sums(rows))
    _add_memory(batch, entry, memory, LEDGER_KIND, checkpoint=False)
    if tick.memory is not None:
        _add_memory(batch, entry, tick.memory, kind_name(type(tick.memory)), checkpoint=True)
    for start in offered(memory, entry):
        batch.starts[entry.policy, start.uid] = start_row(entry.policy, start)


def _add_memory(batch: _Batch, entry: Entry, memory: object, kind: str, *, checkpoint: bool) -> None:
    row = {
        "policy": entry.policy,
        "kind": kind,
        "slot": NEWEST,
        "at_ms": to_ms(entry.at),
        "digest": entry.policy_digest,
        "payload": packed(memory),
    }
    batch.newest[entry.policy, kind] = row
    if checkpoint:
        slot = to_ms(entry.at) // CHECKPOINT_MS
        batch.checkpoints.setdefault((entry.policy, kind, slot), {**row, "slot": slot})


def _flush(connection: Connection, batch: _Batch) -> None:
    _insert(connection, policies, list(batch.specs.values()))
    _insert(connection, entries, batch.entries)
    _insert(connection, coldstarts, list(batch.starts.values()))
    _insert(connection, memories, list(batch.checkpoints.values()))
    _replace(connection, list(batch.newest.values()))
    accumulate(connection, bucket_rows(batch.ledger))


def _statement(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return the dialect's own insert: ON CONFLICT is spelt the same in both but is not in the common language."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def _insert(connection: Connection, table: Table, rows: list[Row]) -> None:
    """Insert rows; one whose key is there already is left as it is."""
    if rows:
        connection.execute(_statement(connection, table).on_conflict_do_nothing(), rows)


def _replace(connection: Connection, rows: list[Row]) -> None:
    if not rows:
        return
    statement = _statement(connection, memories)
    names = ("at_ms", "digest", "payload")
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=list(memories.primary_key),
            set_={name: statement.excluded[name] for name in names},
            where=memories.c.at_ms <= statement.excluded.at_ms,
        ),
        rows,
    )


def accumulate(connection: Connection, rows: list[Row]) -> None:
    """Add rows to the ledger's; a bucket that begins where an hour does becomes part of it."""
    if not rows:
        return
    statement = _statement(connection, ledger)
    new = statement.excluded
    longer = case((ledger.c.length_ms > new.length_ms, ledger.c.length_ms), else_=new.length_ms)
    sums = {"accelerator_ms": ledger.c.accelerator_ms + new.accelerator_ms, "length_ms": longer}
    connection.execute(statement.on_conflict_do_update(index_elements=list(ledger.primary_key), set_=sums), rows)
