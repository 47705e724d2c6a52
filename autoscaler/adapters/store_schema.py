"""The store's tables, in SQL that SQLite and PostgreSQL share. Changes go into ``migrations/versions`` as well.

Instants are whole unix milliseconds (``_ms``), prices whole micro-dollars an hour. ``UNKNOWN_PRICE`` stands for a price
that is not known, because a key column cannot be NULL; it never leaves the adapter.
"""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, MetaData, String, Table, Text

UNKNOWN_PRICE = -1
BUCKET_MS = 300_000
# What old buckets are rolled up to.
HOUR_MS = 3_600_000
# The slot of a memory that is replaced every tick; checkpoints have slot = at_ms // CHECKPOINT_MS.
NEWEST = -1
CHECKPOINT_MS = 900_000

metadata = MetaData()

policies = Table(
    "policies",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("spec", Text, nullable=False),
    Column("first_at_ms", BigInteger, nullable=False),
)

entries = Table(
    "entries",
    metadata,
    Column("policy", String(512), primary_key=True),
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("digest", String(64), nullable=False),
    Column("why", String(64), nullable=False),
    Column("target", Integer),
    Column("spec_replicas", Integer),
    Column("outcome", String(32), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Index("entries_by_time", "at_ms"),
    Index("entries_by_digest", "digest"),
)

memories = Table(
    "memories",
    metadata,
    Column("policy", String(512), primary_key=True),
    Column("kind", String(255), primary_key=True),
    Column("slot", BigInteger, primary_key=True, autoincrement=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Index("memories_by_digest", "digest"),
    Index("memories_by_time", "at_ms"),
)

coldstarts = Table(
    "coldstarts",
    metadata,
    Column("policy", String(512), primary_key=True),
    Column("uid", String(255), primary_key=True),
    Column("pod", String(255), nullable=False),
    Column("ordered_at", Double, nullable=False),
    Column("scheduled_at", Double),
    Column("started_at", Double),
    Column("ready_at", Double, nullable=False),
)

ledger = Table(
    "ledger",
    metadata,
    Column("policy", String(512), primary_key=True),
    Column("bucket_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("state", String(32), primary_key=True),
    Column("model", String(255), primary_key=True),
    Column("accelerator", String(255), primary_key=True),
    Column("price_micro_usd", BigInteger, primary_key=True, autoincrement=False),
    Column("accelerator_ms", BigInteger, nullable=False),
    Column("length_ms", BigInteger, nullable=False, server_default=str(BUCKET_MS)),
    Index("ledger_by_time", "bucket_ms"),
    Index("ledger_by_length", "length_ms", "bucket_ms"),
)
