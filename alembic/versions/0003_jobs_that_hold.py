"""What the database refuses of jobs: attempts that are not counted, leases that change hands, a second retry."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STEPS = (
    "('queued', 'running'), ('queued', 'cancelled'), ('running', 'succeeded'), ('running', 'failed'), "
    "('running', 'cancelled'), ('running', 'queued'), ('running', 'dead')"
)
FINAL = "'succeeded', 'failed', 'cancelled', 'dead'"
IDENTITY = (
    "id", "kind", "queue", "params", "priority", "idempotency_key", "retry_of", "parent_id", "run_id", "created_at",
)  # fmt: skip


def _refuse(condition: str, message: str) -> str:
    return f"""
            IF {condition} THEN
                RAISE EXCEPTION 'job % {message}', NEW.id USING ERRCODE = 'integrity_constraint_violation';
            END IF;"""


def _row(name: str) -> str:
    return f"({', '.join(f'{name}.{column}' for column in IDENTITY)})"


def upgrade() -> None:
    """Apply."""
    op.drop_index("ix_jobs_retry_of", table_name="jobs")
    op.create_index(
        "uq_jobs_retry_of", "jobs", ["retry_of"], unique=True, postgresql_where=sa.text("retry_of IS NOT NULL")
    )
    op.create_check_constraint(
        op.f("ck_jobs_only_running_is_leased"),
        "jobs",
        "state = 'running' OR (lease_owner IS NULL AND lease_until IS NULL)",
    )
    op.execute("DROP TRIGGER job_step ON jobs")
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION check_job_step() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'INSERT' THEN{_refuse(
                "NEW.state <> 'queued' OR NEW.attempt <> 0 OR NEW.cancel_requested",
                "begins queued, with no attempt and no cancel")}
                RETURN NEW;
            END IF;
            IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN ({STEPS}) THEN
                RAISE EXCEPTION 'job % cannot go from % to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            IF OLD.state IN ({FINAL}) THEN
                RAISE EXCEPTION 'job % is % and does not change any more', OLD.id, OLD.state USING ERRCODE = 'integrity_constraint_violation';
            END IF;{_refuse(
                f"{_row('NEW')} IS DISTINCT FROM {_row('OLD')}", "stays what it was submitted as")}{_refuse(
                "NEW.attempt <> OLD.attempt + (OLD.state = 'queued' AND NEW.state = 'running')::int",
                "counts an attempt when one begins, and only then")}{_refuse(
                "NEW.max_attempts <> OLD.max_attempts AND NOT (OLD.state = 'running' AND NEW.state = 'queued' "
                "AND NEW.max_attempts = OLD.max_attempts + 1)",
                "gets one more attempt only when a running one is given back")}{_refuse(
                "OLD.cancel_requested AND NOT NEW.cancel_requested", "was cancelled, which cannot be taken back")}{_refuse(
                "NEW.cancel_requested AND (NEW.state = 'queued' OR (OLD.state = 'queued' AND NEW.state = 'running'))",
                "was cancelled and neither waits nor starts")}{_refuse(
                "OLD.state = 'running' AND NEW.state = 'running' AND NEW.lease_owner <> OLD.lease_owner",
                "changes its owner only by a new attempt")}
            RETURN NEW;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER job_step BEFORE INSERT OR UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION check_job_step()"
    )
    op.execute("CREATE TRIGGER kept_rows BEFORE DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION refuse_change()")
    op.execute("CREATE TRIGGER kept_table BEFORE TRUNCATE ON jobs FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()")


def downgrade() -> None:
    """Undo."""
    op.execute("DROP TRIGGER kept_table ON jobs")
    op.execute("DROP TRIGGER kept_rows ON jobs")
    op.execute("DROP TRIGGER job_step ON jobs")
    op.execute(
        f"""
        CREATE OR REPLACE FUNCTION check_job_step() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN ({STEPS}) THEN
                RAISE EXCEPTION 'job % cannot go from % to %', OLD.id, OLD.state, NEW.state USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            IF OLD.state IN ({FINAL}) THEN
                RAISE EXCEPTION 'job % is % and does not change any more', OLD.id, OLD.state USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        END $$
        """
    )
    op.execute("CREATE TRIGGER job_step BEFORE UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION check_job_step()")
    op.drop_constraint(op.f("ck_jobs_only_running_is_leased"), "jobs")
    op.drop_index("uq_jobs_retry_of", table_name="jobs")
    op.create_index("ix_jobs_retry_of", "jobs", ["retry_of"])
