"""Evaluation cycles: several versions measured on the same rows; and the sha256 of what an evaluation stored."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "evaluation_cycles",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("slot", sa.String(), nullable=True),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("dataset_id", sa.BigInteger(), nullable=False),
        sa.Column("manifest_sha256", sa.String(), nullable=False),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("params", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("summary", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("manifest_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_evaluation_cycles_manifest_sha256")),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_evaluation_cycles_job_id_jobs"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_evaluation_cycles_dataset_id_datasets"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation_cycles")),
        sa.UniqueConstraint("job_id", name=op.f("uq_evaluation_cycles_job_id")),
        sa.UniqueConstraint("kind", "slot", name=op.f("uq_evaluation_cycles_kind_slot")),
    )
    op.create_index(op.f("ix_evaluation_cycles_dataset_id"), "evaluation_cycles", ["dataset_id"])
    op.execute(
        "CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON evaluation_cycles "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER append_only_table BEFORE TRUNCATE ON evaluation_cycles "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    op.add_column("evaluations", sa.Column("cycle_id", sa.BigInteger(), nullable=True))
    op.add_column("evaluations", sa.Column("role", sa.String(), nullable=True))
    op.add_column("evaluations", sa.Column("files_sha256", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.create_foreign_key(
        op.f("fk_evaluations_cycle_id_evaluation_cycles"), "evaluations", "evaluation_cycles", ["cycle_id"], ["id"],
        ondelete="RESTRICT",
    )  # fmt: skip
    op.create_unique_constraint(op.f("uq_evaluations_cycle_id_role"), "evaluations", ["cycle_id", "role"])
    op.create_check_constraint(
        op.f("ck_evaluations_role"), "evaluations", "role IN ('active', 'previous', 'candidate')"
    )
    op.create_check_constraint(
        op.f("ck_evaluations_role_in_cycle"), "evaluations", "(cycle_id IS NULL) = (role IS NULL)"
    )


def downgrade() -> None:
    """Undo. The evaluations of a cycle stay, without the cycle."""
    op.drop_constraint(op.f("ck_evaluations_role_in_cycle"), "evaluations")
    op.drop_constraint(op.f("ck_evaluations_role"), "evaluations")
    op.drop_constraint(op.f("uq_evaluations_cycle_id_role"), "evaluations")
    op.drop_constraint(op.f("fk_evaluations_cycle_id_evaluation_cycles"), "evaluations")
    for column in ("files_sha256", "role", "cycle_id"):
        op.drop_column("evaluations", column)
    op.drop_table("evaluation_cycles")
