"""Evaluations: what a model version reached on frozen rows, beside its baselines; cycles: several versions on the same."""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, String, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from db.types import Moment, bigint_key, json_column, one_of, reference, sha256_check, time_column

ROLES = ("active", "previous", "candidate")
"""Of a version in an evaluation cycle: it served, it served before that, or it is the newest that never did."""


class EvaluationCycle(SQLModel, table=True):
    """The version that serves, and those beside it, measured on the same rows at one time. Append-only.

    It is written with its evaluations when its job succeeds: until then the job says how far it is.
    """

    __tablename__ = "evaluation_cycles"
    __table_args__ = (
        UniqueConstraint("job_id"),
        UniqueConstraint("kind", "slot"),
        CheckConstraint(sha256_check("manifest_sha256"), name="manifest_sha256"),
    )

    id: int | None = bigint_key()
    kind: str
    slot: str | None = None
    """The moment of the schedule that it was made for, e.g. `2026-02-12T02:00Z`; null where somebody asked for it."""
    job_id: int = reference("jobs.id", index=False)
    dataset_id: int = reference("datasets.id")
    manifest_sha256: str
    """Of the one manifest that all its versions were measured on."""
    created_by: str
    """Who asked; `clock` for the schedule."""
    params: dict = json_column()  # type: ignore[type-arg]
    """Its versions by role, and the windows of time that were compared."""
    summary: dict = json_column()  # type: ignore[type-arg]
    """What it found in a few figures: the primary metric by role, disagreement, drift and coverage."""
    created_at: Moment | None = time_column(now=True)


class Evaluation(SQLModel, table=True):
    """One evaluation report. Append-only."""

    __tablename__ = "evaluations"
    __table_args__ = (
        UniqueConstraint("cycle_id", "role"),
        CheckConstraint(one_of("method", ("test", "kfold")), name="method"),
        CheckConstraint(sha256_check("manifest_sha256"), name="manifest_sha256"),
        CheckConstraint(one_of("role", ROLES), name="role"),
        CheckConstraint("(cycle_id IS NULL) = (role IS NULL)", name="role_in_cycle"),
    )

    id: int | None = bigint_key()
    model_version: str = Field(
        sa_column=Column(
            String, ForeignKey("model_versions.model_version", ondelete="RESTRICT"), nullable=False, index=True
        )
    )
    kind: str
    dataset_id: int | None = reference("datasets.id", nullable=True)
    manifest_sha256: str
    method: str
    compared_with: str | None = None
    """The active version that was measured on the same rows; null where there was none."""
    report: dict = Field(default_factory=dict, sa_column=Column(JSONB, nullable=False))  # type: ignore[type-arg]
    artifact_key: str
    cycle_id: int | None = Field(
        default=None,
        sa_column=Column(BigInteger, ForeignKey("evaluation_cycles.id", ondelete="RESTRICT"), nullable=True),
    )
    role: str | None = None
    """Of the version in its cycle; null outside one."""
    files_sha256: dict | None = json_column(nullable=True)  # type: ignore[type-arg]
    """Name -> sha256 of the files under `artifact_key` as they were stored; null for evaluations older than that."""
    created_at: Moment | None = time_column(now=True)
