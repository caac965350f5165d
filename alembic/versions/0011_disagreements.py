"""Review sets, and the frames in them with what became of each."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

REASONS = "ARRAY['largest-disagreement', 'flip', 'band', 'control']::varchar[]"
CERTAIN = "ARRAY['largest-disagreement', 'flip']::varchar[]"
SEEN = (
    "id, review_set_id, snapshot_id, reasons, inclusion_probability, label_value, num_verdicts, raw_score, ai_rating, "
    "p_good, disagreement, need"
)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "review_sets",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("cycle_id", sa.BigInteger(), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("params", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("counts", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version"],
            ["model_versions.model_version"],
            name=op.f("fk_review_sets_model_version_model_versions"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["cycle_id"],
            ["evaluation_cycles.id"],
            name=op.f("fk_review_sets_cycle_id_evaluation_cycles"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review_sets")),
        sa.UniqueConstraint("cycle_id", "model_version", name=op.f("uq_review_sets_cycle_id_model_version")),
    )
    op.create_index(op.f("ix_review_sets_kind"), "review_sets", ["kind"])
    op.create_index(op.f("ix_review_sets_model_version"), "review_sets", ["model_version"])
    op.create_table(
        "disagreements",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("review_set_id", sa.BigInteger(), nullable=False),
        sa.Column("snapshot_id", sa.BigInteger(), nullable=False),
        sa.Column("reasons", postgresql.ARRAY(sa.String()), nullable=False),
        sa.Column("inclusion_probability", sa.Float(), nullable=False),
        sa.Column("label_value", sa.Float(), nullable=True),
        sa.Column("num_verdicts", sa.Integer(), nullable=False),
        sa.Column("raw_score", sa.Float(), nullable=True),
        sa.Column("ai_rating", sa.Numeric(precision=3, scale=2, asdecimal=False), nullable=True),
        sa.Column("p_good", sa.Float(), nullable=True),
        sa.Column("disagreement", sa.Float(), nullable=True),
        sa.Column("need", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), server_default="100", nullable=False),
        sa.Column("state", sa.String(), server_default="open", nullable=False),
        sa.Column("closed_by", sa.String(), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_label", sa.Float(), nullable=True),
        sa.CheckConstraint(
            f"cardinality(reasons) > 0 AND reasons <@ {REASONS}", name=op.f("ck_disagreements_reasons")
        ),
        sa.CheckConstraint(
            "inclusion_probability > 0 AND inclusion_probability <= 1 AND "
            f"(inclusion_probability = 1 OR NOT reasons && {CERTAIN})",
            name=op.f("ck_disagreements_inclusion_probability"),
        ),
        sa.CheckConstraint("raw_score BETWEEN 0 AND 1", name=op.f("ck_disagreements_raw_score")),
        sa.CheckConstraint(
            "disagreement IS NULL OR "
            "(disagreement BETWEEN 0 AND 1 AND label_value IS NOT NULL AND raw_score IS NOT NULL)",
            name=op.f("ck_disagreements_disagreement"),
        ),
        sa.CheckConstraint(
            "need IN ('first-rating', 'one-more-rating', 'audit')", name=op.f("ck_disagreements_need")
        ),
        sa.CheckConstraint("priority BETWEEN 1 AND 999", name=op.f("ck_disagreements_priority")),
        sa.CheckConstraint("state IN ('open', 'settled', 'dismissed')", name=op.f("ck_disagreements_state")),
        sa.CheckConstraint(
            "(state = 'open') = (closed_at IS NULL) AND (state = 'open') = (closed_by IS NULL)",
            name=op.f("ck_disagreements_closed"),
        ),
        sa.CheckConstraint("state <> 'open' OR closed_label IS NULL", name=op.f("ck_disagreements_closed_label")),
        sa.ForeignKeyConstraint(
            ["review_set_id"],
            ["review_sets.id"],
            name=op.f("fk_disagreements_review_set_id_review_sets"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"],
            ["webcam_snapshots.id"],
            name=op.f("fk_disagreements_snapshot_id_webcam_snapshots"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disagreements")),
        sa.UniqueConstraint(
            "review_set_id", "snapshot_id", name=op.f("uq_disagreements_review_set_id_snapshot_id")
        ),
    )
    op.create_index(op.f("ix_disagreements_snapshot_id"), "disagreements", ["snapshot_id"])
    op.create_index(
        "ix_disagreements_open", "disagreements", ["snapshot_id"], postgresql_where=sa.text("state = 'open'")
    )
    _guard()


def _guard() -> None:
    """Sets are append-only; of a frame in one, only what becomes of it changes, and a settled one is not dismissed."""
    op.execute(
        "CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON review_sets "
        "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER append_only_table BEFORE TRUNCATE ON review_sets "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    old, new = (", ".join(f"{row}.{column}" for column in SEEN.split(", ")) for row in ("OLD", "NEW"))
    op.execute(
        f"""
        CREATE FUNCTION keep_disagreement() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF ({new}) IS DISTINCT FROM ({old}) THEN
                RAISE EXCEPTION 'disagreement % keeps what was seen when it was found', OLD.id USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            IF NEW.state <> OLD.state AND 'open' NOT IN (OLD.state, NEW.state) THEN
                RAISE EXCEPTION 'disagreement % cannot go from % to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER disagreement_step BEFORE UPDATE ON disagreements "
        "FOR EACH ROW EXECUTE FUNCTION keep_disagreement()"
    )
    op.execute("CREATE TRIGGER kept_rows BEFORE DELETE ON disagreements FOR EACH ROW EXECUTE FUNCTION refuse_change()")
    op.execute(
        "CREATE TRIGGER kept_table BEFORE TRUNCATE ON disagreements FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("disagreements")
    op.drop_table("review_sets")
    op.execute("DROP FUNCTION keep_disagreement()")
