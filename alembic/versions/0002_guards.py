"""What the database itself refuses: changes of append-only rows, and impossible steps of a job."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

APPEND_ONLY = (
    "rating_events",
    "scoring_events",
    "dataset_rows",
    "split_assignments",
    "model_training_snapshot_labels",
    "model_training_snapshot_ratings",
    "model_versions",
    "model_activations",
    "evaluations",
    "job_events",
    "datasets",
    "snapshot_ai_inferences",
)

STEPS = (
    "('queued', 'running'), ('queued', 'cancelled'), ('running', 'succeeded'), ('running', 'failed'), "
    "('running', 'cancelled'), ('running', 'queued'), ('running', 'dead')"
)


def upgrade() -> None:
    """Apply."""
    op.execute(
        """
        CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'integrity_constraint_violation';
        END $$
        """
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER append_only_table BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    op.execute(
        "CREATE TRIGGER kept_rows BEFORE DELETE ON model_training_runs FOR EACH ROW EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        "CREATE TRIGGER kept_table BEFORE TRUNCATE ON model_training_runs "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    op.execute(
        f"""
        CREATE FUNCTION check_job_step() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN ({STEPS}) THEN
                RAISE EXCEPTION 'job % cannot go from % to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            IF OLD.state IN ('succeeded', 'failed', 'cancelled', 'dead') THEN
                RAISE EXCEPTION 'job % is % and does not change any more', OLD.id, OLD.state USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER job_step BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION check_job_step()"
    )
    op.execute(
        """
        CREATE FUNCTION keep_model_version() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.model_version <> OLD.model_version OR NEW.kind <> OLD.kind
               OR (OLD.manifest_sha256 IS NOT NULL AND NEW.manifest_sha256 IS DISTINCT FROM OLD.manifest_sha256)
               OR (OLD.artifact_sha256 IS NOT NULL AND NEW.artifact_sha256 IS DISTINCT FROM OLD.artifact_sha256) THEN
                RAISE EXCEPTION 'training run % keeps its version, manifest and artifact', OLD.id USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER run_identity BEFORE UPDATE ON model_training_runs "
        "FOR EACH ROW EXECUTE FUNCTION keep_model_version()"
    )


def downgrade() -> None:
    """Undo."""
    op.execute("DROP TRIGGER run_identity ON model_training_runs")
    op.execute("DROP FUNCTION keep_model_version()")
    op.execute("DROP TRIGGER job_step ON jobs")
    op.execute("DROP FUNCTION check_job_step()")
    op.execute("DROP TRIGGER kept_table ON model_training_runs")
    op.execute("DROP TRIGGER kept_rows ON model_training_runs")
    for table in APPEND_ONLY:
        op.execute(f"DROP TRIGGER append_only_table ON {table}")
        op.execute(f"DROP TRIGGER append_only_rows ON {table}")
    op.execute("DROP FUNCTION refuse_change()")
