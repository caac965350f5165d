"""Frames that are kept for a rater, and acts of rating that may be sent twice."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("rating_events", sa.Column("idempotency_key", sa.String(), nullable=True))
    op.create_index(
        op.f("ix_rating_events_idempotency_key"), "rating_events", ["user_session_id", "idempotency_key"], unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_table(
        "label_leases",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("snapshot_id", sa.BigInteger(), nullable=False),
        sa.Column("rater", sa.String(), nullable=False),
        sa.Column("seat", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("leased_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["webcam_snapshots.id"], name=op.f("fk_label_leases_snapshot_id_webcam_snapshots"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_leases")),
        sa.UniqueConstraint("snapshot_id", name=op.f("uq_label_leases_snapshot_id")),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("label_leases")
    op.drop_index(op.f("ix_rating_events_idempotency_key"), "rating_events")
    op.drop_column("rating_events", "idempotency_key")
