"""Journal, memories, cold starts and ledger.

A migration says what the tables were at its time, so it does not read the schema module, which goes on changing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the first tables."""
    op.create_table(
        "policies",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("first_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "entries",
        sa.Column("policy", sa.String(512), primary_key=True),
        sa.Column("at_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("why", sa.String(64), nullable=False),
        sa.Column("target", sa.Integer),
        sa.Column("spec_replicas", sa.Integer),
        sa.Column("outcome", sa.String(32), nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    op.create_index("entries_by_time", "entries", ["at_ms"])
    op.create_table(
        "memories",
        sa.Column("policy", sa.String(512), primary_key=True),
        sa.Column("kind", sa.String(255), primary_key=True),
        sa.Column("slot", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
    )
    _coldstarts_and_ledger()


def _coldstarts_and_ledger() -> None:
    op.create_table(
        "coldstarts",
        sa.Column("policy", sa.String(512), primary_key=True),
        sa.Column("uid", sa.String(255), primary_key=True),
        sa.Column("pod", sa.String(255), nullable=False),
        sa.Column("ordered_at", sa.Double, nullable=False),
        sa.Column("scheduled_at", sa.Double),
        sa.Column("started_at", sa.Double),
        sa.Column("ready_at", sa.Double, nullable=False),
    )
    op.create_table(
        "ledger",
        sa.Column("policy", sa.String(512), primary_key=True),
        sa.Column("bucket_ms", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("state", sa.String(32), primary_key=True),
        sa.Column("model", sa.String(255), primary_key=True),
        sa.Column("accelerator", sa.String(255), primary_key=True),
        sa.Column("price_micro_usd", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("accelerator_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ledger_by_time", "ledger", ["bucket_ms"])


def downgrade() -> None:
    """Nothing: the store is a record, and a record is not rolled back. Restore a copy of the file instead."""
