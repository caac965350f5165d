"""Who is at the pages: logins, by a one-time link or by a key."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "logins",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("rater", sa.String(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.String()), nullable=False),
        sa.Column("api_key_id", sa.BigInteger(), nullable=True),
        sa.Column("link_sha256", sa.String(), nullable=True),
        sa.Column("link_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("secret_sha256", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("link_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_logins_link_sha256")),
        sa.CheckConstraint("secret_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_logins_secret_sha256")),
        sa.CheckConstraint("(link_sha256 IS NULL) = (link_expires_at IS NULL)", name=op.f("ck_logins_link_expires")),
        sa.CheckConstraint("(secret_sha256 IS NULL) = (opened_at IS NULL)", name=op.f("ck_logins_opened")),
        sa.CheckConstraint("(expires_at IS NULL) = (opened_at IS NULL)", name=op.f("ck_logins_expires")),
        sa.ForeignKeyConstraint(
            ["api_key_id"], ["api_keys.id"], name=op.f("fk_logins_api_key_id_api_keys"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_logins")),
        sa.UniqueConstraint("link_sha256", name=op.f("uq_logins_link_sha256")),
        sa.UniqueConstraint("secret_sha256", name=op.f("uq_logins_secret_sha256")),
    )
    op.create_index(op.f("ix_logins_api_key_id"), "logins", ["api_key_id"])


def downgrade() -> None:
    """Undo. Everybody is logged out."""
    op.drop_table("logins")
