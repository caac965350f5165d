"""Datasets, training runs with the provenance of every row, model versions and which of them is active."""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, String, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from db.types import Moment, bigint_key, json_column, one_of, reference, sha256_check, time_column

SPLITS = ("train", "val", "test")
RUN_STATES = ("queued", "running", "trained", "registered", "failed", "cancelled")


class Dataset(SQLModel, table=True):
    """One export of labels, frozen: its parameters, counts and the sha256 over all its rows."""

    __tablename__ = "datasets"
    __table_args__ = (CheckConstraint(sha256_check("manifest_sha256"), name="manifest_sha256"),)

    id: int | None = bigint_key()
    kind: str = Field(index=True)
    as_of: Moment = time_column()
    """Labels as they stood at this time."""
    params: dict = json_column()  # type: ignore[type-arg]
    counts: dict = json_column()  # type: ignore[type-arg]
    manifest_sha256: str
    artifact_key: str
    """Where the five manifest files are in the file store."""
    created_at: Moment | None = time_column(now=True)


class DatasetRow(SQLModel, table=True):
    """One candidate of a dataset, kept or excluded. Append-only."""

    __tablename__ = "dataset_rows"
    __table_args__ = (
        UniqueConstraint("dataset_id", "snapshot_id"),
        CheckConstraint("(split IS NULL) = (exclusion_reason IS NOT NULL)", name="split_or_reason"),
        CheckConstraint(one_of("split", SPLITS), name="split"),
    )

    id: int | None = bigint_key()
    dataset_id: int = reference("datasets.id", index=False)
    snapshot_id: int = reference("webcam_snapshots.id")
    label_source: str
    label_value: float | None = None
    target_label: float | None = None
    split: str | None = None
    seen: bool | None = None
    group_id: str
    image_sha256: str | None = None
    rating_count: int
    exclusion_reason: str | None = None


class SplitAssignment(SQLModel, table=True):
    """The split of one group of one kind, recorded when first assigned and never moved. Append-only."""

    __tablename__ = "split_assignments"
    __table_args__ = (
        UniqueConstraint("kind", "group_id"),
        CheckConstraint(one_of("split", SPLITS), name="split"),
    )

    id: int | None = bigint_key()
    kind: str
    group_id: str
    split: str
    seen: bool
    salt: str
    assigned_at: Moment | None = time_column(now=True)


class ModelTrainingRun(SQLModel, table=True):
    """One training of one model version, here or elsewhere."""

    __tablename__ = "model_training_runs"
    __table_args__ = (
        CheckConstraint(one_of("status", RUN_STATES), name="status"),
        CheckConstraint(sha256_check("artifact_sha256"), name="artifact_sha256"),
        CheckConstraint(sha256_check("manifest_sha256"), name="manifest_sha256"),
        CheckConstraint("(artifact_sha256 IS NULL) = (artifact_path IS NULL)", name="artifact"),
    )

    id: int | None = bigint_key()
    model_version: str = Field(unique=True)
    trained_at: Moment | None = time_column(nullable=True)
    params_json: dict = json_column()  # type: ignore[type-arg]
    notes: str | None = None
    kind: str = Field(index=True)
    status: str = "queued"
    dataset_id: int | None = reference("datasets.id", nullable=True)
    manifest_sha256: str | None = None
    """sha256 of the active manifest: exactly the rows that were trained, validated and tested on."""
    metrics: dict | None = json_column(nullable=True)  # type: ignore[type-arg]
    artifact_path: str | None = None
    """Key of the run's directory in the file store."""
    artifact_sha256: str | None = None
    reason: str | None = None
    """Why it failed."""
    created_at: Moment | None = time_column(now=True)


class ModelTrainingSnapshotLabel(SQLModel, table=True):
    """One row that a training run used: which snapshot, which value, from which source, in which split. Append-only."""

    __tablename__ = "model_training_snapshot_labels"
    __table_args__ = (
        UniqueConstraint("training_run_id", "snapshot_id"),
        CheckConstraint(one_of("split", SPLITS), name="split"),
    )

    id: int | None = bigint_key()
    training_run_id: int = reference("model_training_runs.id", index=False)
    snapshot_id: int = reference("webcam_snapshots.id")
    label_source: str
    label_value: float
    split: str
    image_sha256: str = Field(index=True)
    included_at: Moment | None = time_column(now=True)


class ModelTrainingSnapshotRating(SQLModel, table=True):
    """One raw rating behind a row of a training run, as it stood then. Append-only."""

    __tablename__ = "model_training_snapshot_ratings"
    __table_args__ = (UniqueConstraint("training_run_id", "snapshot_id", "user_session_id"),)

    id: int | None = bigint_key()
    training_run_id: int = reference("model_training_runs.id", index=False)
    snapshot_id: int = reference("webcam_snapshots.id")
    user_session_id: str = Field(index=True)
    rating: int | None = None
    is_sunset_verdict: bool
    label_source: str
    import_id: int | None = reference("label_imports.id", nullable=True)
    """The import that brought the rating in; null where it came over HTTP, or before imports were recorded."""


class ModelVersion(SQLModel, table=True):
    """One registered model: an ONNX bundle in the file store. Immutable."""

    __tablename__ = "model_versions"
    __table_args__ = (
        CheckConstraint(sha256_check("bundle_sha256"), name="bundle_sha256"),
        CheckConstraint("scale_low < scale_high", name="scale"),
    )

    id: int | None = bigint_key()
    model_version: str = Field(unique=True)
    kind: str = Field(index=True)
    head: str
    training_run_id: int = Field(
        sa_column=Column(
            BigInteger, ForeignKey("model_training_runs.id", ondelete="RESTRICT"), nullable=False, unique=True
        )
    )
    bundle_key: str
    bundle_sha256: str
    scale_low: float
    scale_high: float
    threshold_policy: dict = json_column()  # type: ignore[type-arg]
    created_at: Moment | None = time_column(now=True)


class ModelActivation(SQLModel, table=True):
    """One change of the active model of a kind, by promotion or rollback, with its verdict. Append-only."""

    __tablename__ = "model_activations"
    __table_args__ = (CheckConstraint(one_of("action", ("promote", "rollback")), name="action"),)

    id: int | None = bigint_key()
    kind: str = Field(index=True)
    model_version: str = Field(
        sa_column=Column(String, ForeignKey("model_versions.model_version", ondelete="RESTRICT"), nullable=False)
    )
    previous_version: str | None = None
    action: str
    forced: bool = False
    verdict: dict = Field(default_factory=dict, sa_column=Column(JSONB, nullable=False))  # type: ignore[type-arg]
    activated_by: str
    activated_at: Moment | None = time_column(now=True)


class ModelShadow(SQLModel, table=True):
    """One choice of the candidate of a kind that scores along and is never shown. The newest holds. Append-only."""

    __tablename__ = "model_shadows"

    id: int | None = bigint_key()
    kind: str = Field(index=True)
    model_version: str | None = Field(
        default=None,
        sa_column=Column(String, ForeignKey("model_versions.model_version", ondelete="RESTRICT"), nullable=True),
    )
    """Null: none from now on."""
    chosen_by: str
    chosen_at: Moment | None = time_column(now=True)
