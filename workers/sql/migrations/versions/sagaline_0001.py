"""The tables of the inbox and the outbox.

Revision ID: sagaline_0001
"""

from __future__ import annotations

import sqlalchemy as sa

from sagaline.workers.sql.tables import WAKE

revision = "sagaline_0001"
down_revision = None
branch_labels = ("sagaline",)
depends_on = None

_LANES = 64


def upgrade() -> None:
    """Creates them."""
    from alembic import op  # here: the module is importable without Alembic

    op.create_table(
        "sagaline_inbox",
        sa.Column("effect_key", sa.Text, primary_key=True),
        sa.Column("command_id", sa.Text, nullable=False),
        sa.Column("forward", sa.LargeBinary),
        sa.Column("undo", sa.LargeBinary),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("sagaline_inbox_at", "sagaline_inbox", ["at_ms"])
    op.create_table(
        "sagaline_outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("txid", sa.BigInteger, nullable=False),
        sa.Column("lane", sa.Integer, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("topic", sa.Text, nullable=False),
        sa.Column("key", sa.LargeBinary),
        sa.Column("value", sa.LargeBinary),
        sa.Column("headers", sa.Text, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("error", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("sagaline_outbox_lane", "sagaline_outbox", ["lane", "id"])
    lanes = op.create_table(
        "sagaline_outbox_lanes",
        sa.Column("lane", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
        sa.Column("turn", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(lanes, [{"lane": lane, "owner": "", "until_ms": 0, "turn": 0} for lane in range(_LANES)])
    if op.get_bind().dialect.name == "postgresql":
        for statement in WAKE:
            op.execute(statement)


def downgrade() -> None:
    """Drops them, with what they hold."""
    from alembic import op

    for table in ("sagaline_inbox", "sagaline_outbox", "sagaline_outbox_lanes"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION IF EXISTS sagaline_outbox_wake()")
