"""What is remembered of webcams whose picture could not be fetched."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "webcam_fetch_failures",
        sa.Column("webcam_id", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("failures >= 1", name=op.f("ck_webcam_fetch_failures_failures")),
        sa.ForeignKeyConstraint(
            ["webcam_id"], ["webcams.id"], name=op.f("fk_webcam_fetch_failures_webcam_id_webcams"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("webcam_id", name=op.f("pk_webcam_fetch_failures")),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("webcam_fetch_failures")
