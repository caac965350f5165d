"""Jobs: the row is the truth, Celery carries its id. What happened to a job is appended to its events."""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Text, text
from sqlmodel import Field, SQLModel

from db.types import Moment, bigint_key, json_column, one_of, reference, time_column

STATES = ("queued", "running", "succeeded", "failed", "cancelled", "dead")
FINAL_STATES = ("succeeded", "failed", "cancelled", "dead")
RETRIABLE_STATES = ("failed", "cancelled", "dead")
TRANSITIONS = {
    "queued": ("running", "cancelled"),
    "running": ("succeeded", "failed", "cancelled", "queued", "dead"),
}


class Job(SQLModel, table=True):
    """One piece of work: what, with which parameters, how far, and who has it now."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint(one_of("state", STATES), name="state"),
        CheckConstraint(
            "(state = 'running') = (lease_owner IS NOT NULL AND lease_until IS NOT NULL)", name="running_is_leased"
        ),
        CheckConstraint(
            "state = 'running' OR (lease_owner IS NULL AND lease_until IS NULL)", name="only_running_is_leased"
        ),
        CheckConstraint(f"({one_of('state', FINAL_STATES)}) = (finished_at IS NOT NULL)", name="final_is_finished"),
        CheckConstraint("attempt >= 0 AND attempt <= max_attempts", name="attempt"),
        CheckConstraint("progress BETWEEN 0 AND 1", name="progress"),
        Index("uq_jobs_kind_idempotency_key", "kind", "idempotency_key", unique=True,
              postgresql_where=text("idempotency_key IS NOT NULL")),
        Index("uq_jobs_retry_of", "retry_of", unique=True, postgresql_where=text("retry_of IS NOT NULL")),
        Index("ix_jobs_queued", "priority", "run_after", postgresql_where=text("state = 'queued'")),
        Index("ix_jobs_running", "lease_until", postgresql_where=text("state = 'running'")),
    )  # fmt: skip

    id: int | None = bigint_key()
    kind: str
    """The stage to run, e.g. `train`."""
    queue: str = "default"
    params: dict = json_column()  # type: ignore[type-arg]
    state: str = "queued"
    priority: int = 100
    """Lower goes first: 10 for what a person waits for at a terminal, 100 usually, 200 for what the clock submits."""
    attempt: int = 0
    max_attempts: int = 3
    run_after: Moment | None = time_column(now=True)
    idempotency_key: str | None = None
    """A second submission of the same kind and key is the same job."""
    lease_owner: str | None = None
    lease_until: Moment | None = time_column(nullable=True)
    heartbeat_at: Moment | None = time_column(nullable=True)
    dispatched_at: Moment | None = time_column(nullable=True)
    cancel_requested: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    progress: float = Field(default=0.0, sa_column_kwargs={"server_default": "0"})
    message: str | None = None
    """What it is doing now, for people."""
    result: dict | None = json_column(nullable=True)  # type: ignore[type-arg]
    reason: str | None = Field(default=None, sa_column=Column(Text, nullable=True))
    """Why it failed, in plain words."""
    retry_of: int | None = reference("jobs.id", nullable=True, index=False)
    """The job that failed, died or was cancelled and is tried again by this one; each is retried by one at most."""
    parent_id: int | None = reference("jobs.id", nullable=True)
    """The job whose success submitted this one."""
    run_id: int | None = reference("model_training_runs.id", nullable=True)
    created_at: Moment | None = time_column(now=True)
    started_at: Moment | None = time_column(nullable=True)
    finished_at: Moment | None = time_column(nullable=True)


class JobEvent(SQLModel, table=True):
    """One thing that happened to a job: a change of state or a line of its log. Append-only."""

    __tablename__ = "job_events"

    id: int | None = bigint_key()
    job_id: int = Field(
        sa_column=Column(BigInteger, ForeignKey("jobs.id", ondelete="RESTRICT"), nullable=False, index=True)
    )
    attempt: int
    event: str
    """`submitted`, `started`, `log`, `succeeded`, `failed`, `requeued`, `cancelled`, `dead`, `cancel-requested`,
    `out-of-memory`, `retried`."""
    message: str | None = None
    worker: str | None = None
    """Which process wrote it, e.g. `celery:train@host:1234`."""
    created_at: Moment | None = time_column(now=True)
