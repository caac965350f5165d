"""Webcams, their snapshots, and every score that was given or attempted. Names are shared with the web app."""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, String, UniqueConstraint
from sqlmodel import Field, SQLModel

from db.types import Moment, bigint_key, one_of, rating_column, reference, sha256_check, time_column

PHASES = ("sunrise", "sunset")
IMAGE_STATES = ("present", "unfetched", "dead-url", "unreadable", "removed")
PATHS_TAKEN = ("onnx", "cache-hit", "unscored")


class Webcam(SQLModel, table=True):
    """One camera, with the latest score of its picture."""

    __tablename__ = "webcams"
    __table_args__ = (
        UniqueConstraint("source", "external_id"),
        CheckConstraint("lat BETWEEN -90 AND 90", name="lat"),
        CheckConstraint("lng BETWEEN -180 AND 180", name="lng"),
    )

    id: int | None = bigint_key()
    source: str = Field(default="windy", sa_column=Column(String, nullable=False, server_default="windy"))
    external_id: str
    title: str | None = None
    status: str | None = None
    lat: float | None = None
    lng: float | None = None
    city: str | None = None
    region: str | None = None
    country: str | None = None
    continent: str | None = None
    ai_rating: float | None = rating_column()
    ai_model_version: str | None = None
    last_image_hash: str | None = None
    created_at: Moment | None = time_column(now=True)
    updated_at: Moment | None = time_column(now=True)


class WebcamSnapshot(SQLModel, table=True):
    """One kept frame of a webcam. `image_key` is what makes it one: its sha256, or its URL until it was fetched."""

    __tablename__ = "webcam_snapshots"
    __table_args__ = (
        UniqueConstraint("webcam_id", "captured_at", "image_key"),
        CheckConstraint(one_of("phase", PHASES), name="phase"),
        CheckConstraint(one_of("image_state", IMAGE_STATES), name="image_state"),
        CheckConstraint(
            "(image_state IN ('present', 'removed')) = (image_sha256 IS NOT NULL)", name="present_has_hash"
        ),
        CheckConstraint("(image_sha256 IS NULL) = (image_known_at IS NULL)", name="hash_has_time"),
        CheckConstraint("rating_count >= 0", name="rating_count"),
        CheckConstraint("calculated_rating BETWEEN 1 AND 5", name="calculated_rating"),
        CheckConstraint("initial_rating BETWEEN 0 AND 5", name="initial_rating"),
        CheckConstraint("(rating_count = 0) = (calculated_rating IS NULL)", name="rating_is_counted"),
        CheckConstraint("sampling_probability > 0 AND sampling_probability <= 1", name="sampling_probability"),
        Index("ix_webcam_snapshots_webcam_id_captured_at", "webcam_id", "captured_at"),
    )

    id: int | None = bigint_key()
    webcam_id: int = reference("webcams.id", index=False)
    phase: str
    rank: int | None = None
    initial_rating: float | None = rating_column()
    calculated_rating: float | None = rating_column()
    rating_count: int = Field(default=0, sa_column_kwargs={"server_default": "0"})
    ai_rating: float | None = rating_column()
    ai_model_version: str | None = None
    firebase_url: str | None = None
    firebase_path: str | None = None
    captured_at: Moment = time_column()
    created_at: Moment | None = time_column(now=True)
    image_key: str
    image_sha256: str | None = Field(
        default=None,
        sa_column=Column(String(64), ForeignKey("images.sha256", ondelete="RESTRICT"), nullable=True, index=True),
    )
    image_state: str
    """`removed` for ever once retention has taken the image; `image_sha256` then says what it was."""
    image_known_at: Moment | None = time_column(nullable=True)
    """Since when `image_sha256` is known; an export as of an earlier time does not know it."""
    group_name: str | None = None
    """Group that an import named; such rows never straddle a split."""
    sampling_probability: float | None = None
    """Chance with which a frame below the gate was kept; 1 above it, null where it was imported."""
    import_id: int | None = reference("label_imports.id", nullable=True)
    """The import that added it, and its `initial_rating`; null where it came over HTTP."""


class SnapshotAiInference(SQLModel, table=True):
    """What one model version said of one snapshot."""

    __tablename__ = "snapshot_ai_inferences"
    __table_args__ = (
        UniqueConstraint("snapshot_id", "model_version"),
        CheckConstraint("raw_score BETWEEN 0 AND 1", name="raw_score"),
    )

    id: int | None = bigint_key()
    snapshot_id: int = reference("webcam_snapshots.id")
    model_version: str = Field(
        sa_column=Column(String, ForeignKey("model_versions.model_version", ondelete="RESTRICT"), nullable=False)
    )
    raw_score: float
    ai_rating: float | None = rating_column()
    scored_at: Moment | None = time_column(now=True)


class ScoringEvent(SQLModel, table=True):
    """One attempt to score a frame, also when nothing came of it. Append-only."""

    __tablename__ = "scoring_events"
    __table_args__ = (
        CheckConstraint(one_of("path_taken", PATHS_TAKEN), name="path_taken"),
        CheckConstraint("(path_taken = 'unscored') = (raw_score IS NULL)", name="unscored_has_no_score"),
        CheckConstraint("path_taken <> 'unscored' OR reason IS NOT NULL", name="unscored_has_reason"),
        CheckConstraint("raw_score BETWEEN 0 AND 1", name="raw_score"),
        CheckConstraint("image_sha256 IS NULL OR " + sha256_check("image_sha256"), name="image_sha256"),
        Index("ix_scoring_events_webcam_id_scored_at", "webcam_id", "scored_at"),
    )

    id: int | None = bigint_key()
    kind: str
    webcam_id: int | None = reference("webcams.id", nullable=True, index=False)
    scored_at: Moment | None = time_column(now=True)
    image_sha256: str | None = None
    model_version: str | None = None
    raw_score: float | None = None
    path_taken: str
    reason: str | None = None
    captured: bool = Field(default=False, sa_column_kwargs={"server_default": "false"})
    sampling_probability: float | None = None
    snapshot_id: int | None = Field(
        default=None,
        sa_column=Column(BigInteger, ForeignKey("webcam_snapshots.id", ondelete="RESTRICT"), nullable=True, index=True),
    )


class WebcamFetchFailure(SQLModel, table=True):
    """A webcam whose picture could not be fetched the last time, and from when on it is asked for again.

    Gone with the first picture that comes. Holds only for the address it was seen at.
    """

    __tablename__ = "webcam_fetch_failures"
    __table_args__ = (CheckConstraint("failures >= 1", name="failures"),)

    webcam_id: int = Field(
        sa_column=Column(
            BigInteger, ForeignKey("webcams.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
        )
    )
    address: str
    """URL of the picture without its query, which may hold a secret and changes with every token."""
    failures: int
    """How many times in a row."""
    reason: str
    """What went wrong the last time."""
    failed_at: Moment | None = time_column(now=True)
    retry_at: Moment = time_column()
