"""Values of the product as rows of the store's tables, and back. Pure: no connection is used here."""

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Row as SqlRow

from autoscaler.adapters.store_schema import BUCKET_MS, UNKNOWN_PRICE
from autoscaler.footprint.ledger import MICRO_PER_USD, AcceleratorState, LedgerRow, micro_usd_per_hour
from autoscaler.journal import Entry, encode
from autoscaler.report import Start

Row = dict[str, Any]


def to_ms(at: float) -> int:
    """Return an instant in whole milliseconds."""
    return round(at * 1000)


def packed(value: object) -> bytes:
    """Return a frozen value as compressed JSON."""
    return zlib.compress(encode(value), 6)


def unpacked(payload: bytes) -> bytes:
    """Return the JSON that ``packed`` compressed.

    Raises:
        zlib.error: the payload is damaged.
    """
    return zlib.decompress(payload)


def kind_name(kind: type) -> str:
    """Return the name under which memories of a type are kept."""
    return f"{kind.__module__}.{kind.__qualname__}"


def entry_row(entry: Entry) -> Row:
    """Return an entry as a row; what is searched for stands in columns beside the payload."""
    return {
        "policy": entry.policy,
        "at_ms": to_ms(entry.at),
        "digest": entry.policy_digest,
        "why": entry.decision.why.value,
        "target": entry.decision.target,
        "spec_replicas": entry.decision.spec_replicas,
        "outcome": entry.outcome.status.value,
        "payload": packed(entry),
    }


def start_row(policy: str, start: Start) -> Row:
    """Return a cold start as a row."""
    return {
        "policy": policy,
        "uid": start.uid,
        "pod": start.pod,
        "ordered_at": start.ordered_at,
        "scheduled_at": start.scheduled_at,
        "started_at": start.started_at,
        "ready_at": start.ready_at,
    }


# Policy, beginning and length of the bucket in ms, state, model, accelerator, price in micro-dollars an hour.
BucketKey = tuple[str, int, int, str, str, str, int]
Sums = Counter[BucketKey]
_NAMES = ("policy", "bucket_ms", "length_ms", "state", "model", "accelerator", "price_micro_usd")


def bucket_sums(rows: Iterable[LedgerRow], length_ms: int = BUCKET_MS) -> Sums:
    """Return accelerator-milliseconds: ledger rows cut at the edges of the buckets and summed in each."""
    sums: Sums = Counter()
    for row in rows:
        price = UNKNOWN_PRICE if row.price_usd_per_hour is None else micro_usd_per_hour(row.price_usd_per_hour)
        for bucket_ms, accelerator_ms in _cut(row, length_ms):
            sums[row.policy, bucket_ms, length_ms, row.state.value, row.model, row.accelerator, price] += accelerator_ms
    return sums


def bucket_rows(sums: Sums) -> list[Row]:
    """Return sums as rows of the ledger's table."""
    return [{**dict(zip(_NAMES, key, strict=True)), "accelerator_ms": value} for key, value in sorted(sums.items())]


def ledger_row(row: SqlRow[Any]) -> LedgerRow:
    """Return a row of the ledger's table as a value: one bucket of one policy in one state."""
    return LedgerRow(
        policy=row.policy,
        model=row.model,
        accelerator=row.accelerator,
        state=AcceleratorState(row.state),
        start_at=row.bucket_ms / 1000,
        end_at=(row.bucket_ms + row.length_ms) / 1000,
        accelerator_ms=row.accelerator_ms,
        price_usd_per_hour=None if row.price_micro_usd == UNKNOWN_PRICE else row.price_micro_usd / MICRO_PER_USD,
    )


def _cut(row: LedgerRow, length_ms: int) -> Iterator[tuple[int, int]]:
    """Yield (bucket, accelerator-ms): exact, since a row is a whole number of accelerators over one span."""
    start_ms, end_ms = to_ms(row.start_at), to_ms(row.end_at)
    accelerators = row.accelerator_ms // (end_ms - start_ms)
    at_ms = start_ms
    while at_ms < end_ms:
        bucket_ms = at_ms - at_ms % length_ms
        until_ms = min(end_ms, bucket_ms + length_ms)
        yield bucket_ms, accelerators * (until_ms - at_ms)
        at_ms = until_ms
