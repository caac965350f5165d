"""Evaluations: what a model version reached on frozen rows, beside its baselines."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from db.types import Moment, bigint_key, one_of, reference, sha256_check, time_column


class Evaluation(SQLModel, table=True):
    """One evaluation report. Append-only."""

    __tablename__ = "evaluations"
    __table_args__ = (
        CheckConstraint(one_of("method", ("test", "kfold")), name="method"),
        CheckConstraint(sha256_check("manifest_sha256"), name="manifest_sha256"),
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
    created_at: Moment | None = time_column(now=True)
