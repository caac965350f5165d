"""What people said of snapshots: events that are only ever added, and the current state that follows from them."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKey, Index, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from db.types import Moment, bigint_key, reference, time_column

VERDICT_RULE = "(is_sunset_verdict AND rating IS NOT NULL) OR (NOT is_sunset_verdict AND rating IS NULL)"


class WebcamSnapshotRating(SQLModel, table=True):
    """The current verdict of one rater on one snapshot."""

    __tablename__ = "webcam_snapshot_ratings"
    __table_args__ = (
        UniqueConstraint("snapshot_id", "user_session_id"),
        CheckConstraint("rating BETWEEN 1 AND 5", name="rating"),
        CheckConstraint(VERDICT_RULE, name="verdict"),
    )

    id: int | None = bigint_key()
    snapshot_id: int = reference("webcam_snapshots.id")
    user_session_id: str
    """The rater."""
    rating: int | None = None
    """1..5; null when the verdict is "not a sunset"."""
    is_sunset_verdict: bool
    label_source: str
    import_id: int | None = reference("label_imports.id", nullable=True)
    """The import that brought it in; null where it came over HTTP, or before imports were recorded."""
    created_at: Moment | None = time_column(now=True)


class RatingEvent(SQLModel, table=True):
    """One act of rating, or its retraction. Append-only: undo is a new event."""

    __tablename__ = "rating_events"
    __table_args__ = (
        CheckConstraint("rating BETWEEN 1 AND 5", name="rating"),
        CheckConstraint("action IN ('rate', 'retract')", name="action"),
        CheckConstraint(
            f"(action = 'retract' AND is_sunset_verdict IS NULL AND rating IS NULL) OR "
            f"(action = 'rate' AND is_sunset_verdict IS NOT NULL AND ({VERDICT_RULE}))",
            name="verdict",
        ),
        Index(
            "ix_rating_events_idempotency_key", "user_session_id", "idempotency_key", unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
    )  # fmt: skip

    id: int | None = bigint_key()
    snapshot_id: int = reference("webcam_snapshots.id")
    user_session_id: str
    action: str = "rate"
    rating: int | None = None
    is_sunset_verdict: bool | None = Field(default=None, sa_column=Column(Boolean, nullable=True))
    label_source: str
    shown_model_version: str | None = None
    """The model whose answer the rater had seen before; null where the rating was blind."""
    import_id: int | None = reference("label_imports.id", nullable=True)
    """The import that brought it in; null where it came over HTTP, or before imports were recorded."""
    created_at: Moment | None = time_column(now=True)
    idempotency_key: str | None = None
    """What the rater's program called this act, so that sending it again adds nothing."""


class LabelLease(SQLModel, table=True):
    """A frame that is kept for one rater at one open page for a while, so that nobody else is given it meanwhile."""

    __tablename__ = "label_leases"

    id: int | None = bigint_key()
    """In the order in which the frames are shown."""
    snapshot_id: int = Field(
        sa_column=Column(
            BigInteger, ForeignKey("webcam_snapshots.id", ondelete="RESTRICT"), nullable=False, unique=True
        )
    )
    rater: str
    seat: str
    """The open page, by a name that it made itself."""
    reason: str
    """Why the frame was chosen."""
    leased_at: Moment | None = time_column(now=True)
    expires_at: Moment = time_column()
