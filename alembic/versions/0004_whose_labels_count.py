"""Imports have an identity, ratings name theirs, and exclusions say whose labels do not count."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NAMES_IMPORT = (
    "rating_events",
    "webcam_snapshot_ratings",
    "webcam_snapshots",
    "model_training_snapshot_ratings",
)
IDENTITY = "id, file_name, file_sha256, imported_by, started_at"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "label_imports",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("file_name", sa.String(), nullable=False),
        sa.Column("file_sha256", sa.String(), nullable=False),
        sa.Column("imported_by", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint("file_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_label_imports_file_sha256")),
        sa.CheckConstraint(
            "(finished_at IS NULL) = (counts IS NULL)", name=op.f("ck_label_imports_finished_has_counts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_imports")),
    )
    op.create_table(
        "label_exclusions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("rater", sa.String(), nullable=True),
        sa.Column("import_id", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("excluded_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("action IN ('exclude', 'lift')", name=op.f("ck_label_exclusions_action")),
        sa.CheckConstraint("num_nonnulls(rater, import_id) = 1", name=op.f("ck_label_exclusions_one_subject")),
        sa.ForeignKeyConstraint(
            ["import_id"],
            ["label_imports.id"],
            name=op.f("fk_label_exclusions_import_id_label_imports"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label_exclusions")),
    )
    op.create_index(op.f("ix_label_exclusions_rater"), "label_exclusions", ["rater"])
    op.create_index(op.f("ix_label_exclusions_import_id"), "label_exclusions", ["import_id"])
    for table in NAMES_IMPORT:
        op.add_column(table, sa.Column("import_id", sa.BigInteger(), nullable=True))
        op.create_foreign_key(
            op.f(f"fk_{table}_import_id_label_imports"), table, "label_imports", ["import_id"], ["id"],
            ondelete="RESTRICT",
        )  # fmt: skip
        op.create_index(op.f(f"ix_{table}_import_id"), table, ["import_id"])
    op.create_index(
        op.f("ix_model_training_snapshot_labels_image_sha256"), "model_training_snapshot_labels", ["image_sha256"]
    )
    op.create_index(
        op.f("ix_model_training_snapshot_ratings_user_session_id"),
        "model_training_snapshot_ratings",
        ["user_session_id"],
    )
    _guard()


def _guard() -> None:
    """Exclusions are append-only; an import may end once, and keeps all else."""
    op.execute(
        "CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON label_exclusions "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER append_only_table BEFORE TRUNCATE ON label_exclusions "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    old, new = (", ".join(f"{row}.{column}" for column in IDENTITY.split(", ")) for row in ("OLD", "NEW"))
    op.execute(
        f"""
        CREATE FUNCTION keep_import() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF ({new}) IS DISTINCT FROM ({old}) OR OLD.finished_at IS NOT NULL THEN
                RAISE EXCEPTION 'import % is kept as it was recorded', OLD.id USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        END $$
        """
    )
    op.execute("CREATE TRIGGER import_identity BEFORE UPDATE ON label_imports FOR EACH ROW EXECUTE FUNCTION keep_import()")
    op.execute("CREATE TRIGGER kept_rows BEFORE DELETE ON label_imports FOR EACH ROW EXECUTE FUNCTION refuse_change()")
    op.execute(
        "CREATE TRIGGER kept_table BEFORE TRUNCATE ON label_imports FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def downgrade() -> None:
    """Undo."""
    op.drop_index(
        op.f("ix_model_training_snapshot_ratings_user_session_id"), table_name="model_training_snapshot_ratings"
    )
    op.drop_index(op.f("ix_model_training_snapshot_labels_image_sha256"), table_name="model_training_snapshot_labels")
    for table in reversed(NAMES_IMPORT):
        op.drop_index(op.f(f"ix_{table}_import_id"), table_name=table)
        op.drop_constraint(op.f(f"fk_{table}_import_id_label_imports"), table)
        op.drop_column(table, "import_id")
    op.drop_table("label_exclusions")
    op.drop_table("label_imports")
    op.execute("DROP FUNCTION keep_import()")
