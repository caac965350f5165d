"""Images of old frames may be removed: the rows stay and say so; attempts to score may go by age, by that alone."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATES = "'present', 'unfetched', 'dead-url', 'unreadable'"


def _states(states: str, with_hash: str) -> None:
    op.drop_constraint(op.f("ck_webcam_snapshots_image_state"), "webcam_snapshots")
    op.drop_constraint(op.f("ck_webcam_snapshots_present_has_hash"), "webcam_snapshots")
    op.create_check_constraint(
        op.f("ck_webcam_snapshots_image_state"), "webcam_snapshots", f"image_state IN ({states})"
    )
    op.create_check_constraint(
        op.f("ck_webcam_snapshots_present_has_hash"), "webcam_snapshots", f"{with_hash} = (image_sha256 IS NOT NULL)"
    )


def upgrade() -> None:
    """Apply."""
    _states(f"{STATES}, 'removed'", "(image_state IN ('present', 'removed'))")
    op.create_table(
        "image_removals",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["sha256"], ["images.sha256"], name=op.f("fk_image_removals_sha256_images"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_image_removals")),
    )
    op.execute(
        """
        CREATE FUNCTION refuse_change_but_retention() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'DELETE' AND current_setting('afterglow.retention', true) = 'on' THEN
                RETURN OLD;
            END IF;
            RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'integrity_constraint_violation';
        END $$
        """
    )
    _guard_events("refuse_change_but_retention")


def downgrade() -> None:
    """Undo. A removed image becomes one that cannot be had."""
    _guard_events("refuse_change")
    op.execute("DROP FUNCTION refuse_change_but_retention()")
    op.drop_table("image_removals")
    # In two steps, since neither rule allows the other's rows.
    op.drop_constraint(op.f("ck_webcam_snapshots_present_has_hash"), "webcam_snapshots")
    op.execute(
        "UPDATE webcam_snapshots SET image_state = 'dead-url', image_sha256 = NULL, image_known_at = NULL "
        "WHERE image_state = 'removed'"
    )
    op.create_check_constraint(op.f("ck_webcam_snapshots_present_has_hash"), "webcam_snapshots", "true")
    _states(STATES, "(image_state = 'present')")


def _guard_events(function: str) -> None:
    op.execute("DROP TRIGGER append_only_rows ON scoring_events")
    op.execute(
        "CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON scoring_events "
        f"FOR EACH ROW EXECUTE FUNCTION {function}()"
    )
