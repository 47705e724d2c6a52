"""The ledger's rows say how long they are, so that old ones can be rolled up to hours; digests can be looked up."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the length, which was five minutes until now, and the indexes that pruning needs."""
    op.add_column("ledger", sa.Column("length_ms", sa.BigInteger, nullable=False, server_default="300000"))
    op.create_index("ledger_by_length", "ledger", ["length_ms", "bucket_ms"])
    op.create_index("entries_by_digest", "entries", ["digest"])
    op.create_index("memories_by_digest", "memories", ["digest"])
    op.create_index("memories_by_time", "memories", ["at_ms"])


def downgrade() -> None:
    """Nothing: the store is a record, and a record is not rolled back. Restore a copy of the file instead."""
