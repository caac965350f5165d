"""Review sets: the frames that a version and people see differently, or that chance drew, and what became of each."""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from db.types import Moment, bigint_key, json_column, one_of, rating_column, reference, time_column

REASONS = ("largest-disagreement", "flip", "band", "control")
CERTAIN_REASONS = ("largest-disagreement", "flip")
"""Those that do not depend on chance."""
NEEDS = ("first-rating", "one-more-rating", "audit")
STATES = ("open", "settled", "dismissed")
USUAL_PRIORITY = 100


def _array(values: tuple[str, ...]) -> str:
    return f"ARRAY[{', '.join(repr(value) for value in values)}]::varchar[]"


class ReviewSet(SQLModel, table=True):
    """One choice of frames for people to look at, for one version. Append-only."""

    __tablename__ = "review_sets"
    __table_args__ = (UniqueConstraint("cycle_id", "model_version"),)

    id: int | None = bigint_key()
    kind: str = Field(index=True)
    model_version: str = Field(
        sa_column=Column(
            String, ForeignKey("model_versions.model_version", ondelete="RESTRICT"), nullable=False, index=True
        )
    )
    cycle_id: int | None = reference("evaluation_cycles.id", nullable=True, index=False)
    """The evaluation cycle that it belongs to; null where somebody asked for it alone."""
    seed: int = Field(sa_column=Column(BigInteger, nullable=False))
    params: dict = json_column()  # type: ignore[type-arg]
    """How many frames each way could bring in, the band and the threshold policy."""
    counts: dict = json_column()  # type: ignore[type-arg]
    """Frames looked at and not asked about, how many each way could and did bring in, and what the controls so far say."""
    as_of: Moment = time_column()
    """Labels as they stood at this time."""
    created_at: Moment | None = time_column(now=True)


class Disagreement(SQLModel, table=True):
    """One frame of a review set. What was seen stays; its state and priority change by triage, or when somebody rates."""

    __tablename__ = "disagreements"
    __table_args__ = (
        UniqueConstraint("review_set_id", "snapshot_id"),
        CheckConstraint(f"cardinality(reasons) > 0 AND reasons <@ {_array(REASONS)}", name="reasons"),
        CheckConstraint(
            "inclusion_probability > 0 AND inclusion_probability <= 1 AND "
            f"(inclusion_probability = 1 OR NOT reasons && {_array(CERTAIN_REASONS)})",
            name="inclusion_probability",
        ),
        CheckConstraint("raw_score BETWEEN 0 AND 1", name="raw_score"),
        CheckConstraint(
            "disagreement IS NULL OR (disagreement BETWEEN 0 AND 1 AND label_value IS NOT NULL AND raw_score IS NOT NULL)",
            name="disagreement",
        ),
        CheckConstraint(one_of("need", NEEDS), name="need"),
        CheckConstraint("priority BETWEEN 1 AND 999", name="priority"),
        CheckConstraint(one_of("state", STATES), name="state"),
        CheckConstraint(
            "(state = 'open') = (closed_at IS NULL) AND (state = 'open') = (closed_by IS NULL)", name="closed"
        ),
        CheckConstraint("state <> 'open' OR closed_label IS NULL", name="closed_label"),
        Index("ix_disagreements_open", "snapshot_id", postgresql_where=text("state = 'open'")),
    )

    id: int | None = bigint_key()
    """Drawn in an order of chance, so that lists tell no rater why a frame is there."""
    review_set_id: int = reference("review_sets.id", index=False)
    snapshot_id: int = reference("webcam_snapshots.id")
    reasons: list[str] = Field(sa_column=Column(ARRAY(String), nullable=False))
    inclusion_probability: float
    label_value: float | None = None
    """What people had said when the set was made."""
    num_verdicts: int
    raw_score: float | None = None
    """What the version said."""
    ai_rating: float | None = rating_column()
    p_good: float | None = None
    disagreement: float | None = None
    """By the kind's measure; null without a label or a score, of a test row, or where the version had learned from the frame."""
    need: str
    priority: int = Field(default=USUAL_PRIORITY, sa_column_kwargs={"server_default": str(USUAL_PRIORITY)})
    """Lower goes first."""
    state: str = Field(default="open", sa_column_kwargs={"server_default": "open"})
    closed_by: str | None = None
    """The rater who settled it, or who dismissed it."""
    closed_at: Moment | None = time_column(nullable=True)
    closed_label: float | None = None
    """The label after that and all later answers; null where there was none. Of a frame that chance drew though it was closed
    before: as then.
    """
