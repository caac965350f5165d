"""first tables"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("secret_sha256", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.String()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "secret_sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_api_keys_secret_sha256")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_id", name=op.f("uq_api_keys_key_id")),
    )
    op.create_table(
        "datasets",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "params",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column(
            "counts",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column("manifest_sha256", sa.String(), nullable=False),
        sa.Column("artifact_key", sa.String(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "manifest_sha256 ~ '^[0-9a-f]{64}$'",
            name=op.f("ck_datasets_manifest_sha256"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
    )
    op.create_index(op.f("ix_datasets_kind"), "datasets", ["kind"], unique=False)
    op.create_table(
        "images",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("byte_size", sa.Integer(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_images_sha256")),
        sa.CheckConstraint(
            "width > 0 AND height > 0 AND byte_size > 0", name=op.f("ck_images_sizes")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_images")),
        sa.UniqueConstraint("sha256", name=op.f("uq_images_sha256")),
    )
    op.create_table(
        "split_assignments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("group_id", sa.String(), nullable=False),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("seen", sa.Boolean(), nullable=False),
        sa.Column("salt", sa.String(), nullable=False),
        sa.Column(
            "assigned_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "split IN ('train', 'val', 'test')", name=op.f("ck_split_assignments_split")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_split_assignments")),
        sa.UniqueConstraint(
            "kind", "group_id", name=op.f("uq_split_assignments_kind_group_id")
        ),
    )
    op.create_table(
        "webcams",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source", sa.String(), server_default="windy", nullable=False),
        sa.Column("external_id", sa.String(), nullable=False),
        sa.Column("title", sa.String(), nullable=True),
        sa.Column("status", sa.String(), nullable=True),
        sa.Column("lat", sa.Float(), nullable=True),
        sa.Column("lng", sa.Float(), nullable=True),
        sa.Column("city", sa.String(), nullable=True),
        sa.Column("region", sa.String(), nullable=True),
        sa.Column("country", sa.String(), nullable=True),
        sa.Column("continent", sa.String(), nullable=True),
        sa.Column(
            "ai_rating",
            sa.Numeric(precision=3, scale=2, asdecimal=False),
            nullable=True,
        ),
        sa.Column("ai_model_version", sa.String(), nullable=True),
        sa.Column("last_image_hash", sa.String(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column(
            "updated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("lat BETWEEN -90 AND 90", name=op.f("ck_webcams_lat")),
        sa.CheckConstraint("lng BETWEEN -180 AND 180", name=op.f("ck_webcams_lng")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webcams")),
        sa.UniqueConstraint(
            "source", "external_id", name=op.f("uq_webcams_source_external_id")
        ),
    )
    op.create_table(
        "model_training_runs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("trained_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "params_json",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column("notes", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("dataset_id", sa.BigInteger(), nullable=True),
        sa.Column("manifest_sha256", sa.String(), nullable=True),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("artifact_path", sa.String(), nullable=True),
        sa.Column("artifact_sha256", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "artifact_sha256 ~ '^[0-9a-f]{64}$'",
            name=op.f("ck_model_training_runs_artifact_sha256"),
        ),
        sa.CheckConstraint(
            "manifest_sha256 ~ '^[0-9a-f]{64}$'",
            name=op.f("ck_model_training_runs_manifest_sha256"),
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'trained', 'registered', 'failed', 'cancelled')",
            name=op.f("ck_model_training_runs_status"),
        ),
        sa.CheckConstraint(
            "(artifact_sha256 IS NULL) = (artifact_path IS NULL)",
            name=op.f("ck_model_training_runs_artifact"),
        ),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name=op.f("fk_model_training_runs_dataset_id_datasets"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_training_runs")),
        sa.UniqueConstraint(
            "model_version", name=op.f("uq_model_training_runs_model_version")
        ),
    )
    op.create_index(
        op.f("ix_model_training_runs_dataset_id"),
        "model_training_runs",
        ["dataset_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_model_training_runs_kind"),
        "model_training_runs",
        ["kind"],
        unique=False,
    )
    op.create_table(
        "webcam_snapshots",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("webcam_id", sa.BigInteger(), nullable=False),
        sa.Column("phase", sa.String(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=True),
        sa.Column(
            "initial_rating",
            sa.Numeric(precision=3, scale=2, asdecimal=False),
            nullable=True,
        ),
        sa.Column(
            "calculated_rating",
            sa.Numeric(precision=3, scale=2, asdecimal=False),
            nullable=True,
        ),
        sa.Column("rating_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "ai_rating",
            sa.Numeric(precision=3, scale=2, asdecimal=False),
            nullable=True,
        ),
        sa.Column("ai_model_version", sa.String(), nullable=True),
        sa.Column("firebase_url", sa.String(), nullable=True),
        sa.Column("firebase_path", sa.String(), nullable=True),
        sa.Column("captured_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("image_key", sa.String(), nullable=False),
        sa.Column("image_sha256", sa.String(length=64), nullable=True),
        sa.Column("image_state", sa.String(), nullable=False),
        sa.Column("image_known_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("group_name", sa.String(), nullable=True),
        sa.Column("sampling_probability", sa.Float(), nullable=True),
        sa.CheckConstraint(
            "(image_state = 'present') = (image_sha256 IS NOT NULL)",
            name=op.f("ck_webcam_snapshots_present_has_hash"),
        ),
        sa.CheckConstraint(
            "image_state IN ('present', 'unfetched', 'dead-url', 'unreadable')",
            name=op.f("ck_webcam_snapshots_image_state"),
        ),
        sa.CheckConstraint(
            "phase IN ('sunrise', 'sunset')", name=op.f("ck_webcam_snapshots_phase")
        ),
        sa.CheckConstraint(
            "(image_sha256 IS NULL) = (image_known_at IS NULL)",
            name=op.f("ck_webcam_snapshots_hash_has_time"),
        ),
        sa.CheckConstraint(
            "(rating_count = 0) = (calculated_rating IS NULL)",
            name=op.f("ck_webcam_snapshots_rating_is_counted"),
        ),
        sa.CheckConstraint(
            "calculated_rating BETWEEN 1 AND 5",
            name=op.f("ck_webcam_snapshots_calculated_rating"),
        ),
        sa.CheckConstraint(
            "initial_rating BETWEEN 0 AND 5",
            name=op.f("ck_webcam_snapshots_initial_rating"),
        ),
        sa.CheckConstraint(
            "rating_count >= 0", name=op.f("ck_webcam_snapshots_rating_count")
        ),
        sa.CheckConstraint(
            "sampling_probability > 0 AND sampling_probability <= 1",
            name=op.f("ck_webcam_snapshots_sampling_probability"),
        ),
        sa.ForeignKeyConstraint(
            ["image_sha256"],
            ["images.sha256"],
            name=op.f("fk_webcam_snapshots_image_sha256_images"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["webcam_id"],
            ["webcams.id"],
            name=op.f("fk_webcam_snapshots_webcam_id_webcams"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webcam_snapshots")),
        sa.UniqueConstraint(
            "webcam_id",
            "captured_at",
            "image_key",
            name=op.f("uq_webcam_snapshots_webcam_id_captured_at_image_key"),
        ),
    )
    op.create_index(
        op.f("ix_webcam_snapshots_image_sha256"),
        "webcam_snapshots",
        ["image_sha256"],
        unique=False,
    )
    op.create_index(
        "ix_webcam_snapshots_webcam_id_captured_at",
        "webcam_snapshots",
        ["webcam_id", "captured_at"],
        unique=False,
    )
    op.create_table(
        "dataset_rows",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("dataset_id", sa.BigInteger(), nullable=False),
        sa.Column("snapshot_id", sa.BigInteger(), nullable=False),
        sa.Column("label_source", sa.String(), nullable=False),
        sa.Column("label_value", sa.Float(), nullable=True),
        sa.Column("target_label", sa.Float(), nullable=True),
        sa.Column("split", sa.String(), nullable=True),
        sa.Column("seen", sa.Boolean(), nullable=True),
        sa.Column("group_id", sa.String(), nullable=False),
        sa.Column("image_sha256", sa.String(), nullable=True),
        sa.Column("rating_count", sa.Integer(), nullable=False),
        sa.Column("exclusion_reason", sa.String(), nullable=True),
        sa.CheckConstraint(
            "split IN ('train', 'val', 'test')", name=op.f("ck_dataset_rows_split")
        ),
        sa.CheckConstraint(
            "(split IS NULL) = (exclusion_reason IS NOT NULL)",
            name=op.f("ck_dataset_rows_split_or_reason"),
        ),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name=op.f("fk_dataset_rows_dataset_id_datasets"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"],
            ["webcam_snapshots.id"],
            name=op.f("fk_dataset_rows_snapshot_id_webcam_snapshots"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset_rows")),
        sa.UniqueConstraint(
            "dataset_id",
            "snapshot_id",
            name=op.f("uq_dataset_rows_dataset_id_snapshot_id"),
        ),
    )
    op.create_index(
        op.f("ix_dataset_rows_snapshot_id"),
        "dataset_rows",
        ["snapshot_id"],
        unique=False,
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("queue", sa.String(), nullable=False),
        sa.Column(
            "params",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column(
            "run_after",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("idempotency_key", sa.String(), nullable=True),
        sa.Column("lease_owner", sa.String(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("dispatched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "cancel_requested", sa.Boolean(), server_default="false", nullable=False
        ),
        sa.Column("progress", sa.Float(), server_default="0", nullable=False),
        sa.Column("message", sa.String(), nullable=True),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("retry_of", sa.BigInteger(), nullable=True),
        sa.Column("parent_id", sa.BigInteger(), nullable=True),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'running') = (lease_owner IS NOT NULL AND lease_until IS NOT NULL)",
            name=op.f("ck_jobs_running_is_leased"),
        ),
        sa.CheckConstraint(
            "(state IN ('succeeded', 'failed', 'cancelled', 'dead')) = (finished_at IS NOT NULL)",
            name=op.f("ck_jobs_final_is_finished"),
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'dead')",
            name=op.f("ck_jobs_state"),
        ),
        sa.CheckConstraint(
            "attempt >= 0 AND attempt <= max_attempts", name=op.f("ck_jobs_attempt")
        ),
        sa.CheckConstraint("progress BETWEEN 0 AND 1", name=op.f("ck_jobs_progress")),
        sa.ForeignKeyConstraint(
            ["parent_id"],
            ["jobs.id"],
            name=op.f("fk_jobs_parent_id_jobs"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["retry_of"],
            ["jobs.id"],
            name=op.f("fk_jobs_retry_of_jobs"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["model_training_runs.id"],
            name=op.f("fk_jobs_run_id_model_training_runs"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index(op.f("ix_jobs_parent_id"), "jobs", ["parent_id"], unique=False)
    op.create_index(
        "ix_jobs_queued",
        "jobs",
        ["priority", "run_after"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(op.f("ix_jobs_retry_of"), "jobs", ["retry_of"], unique=False)
    op.create_index(op.f("ix_jobs_run_id"), "jobs", ["run_id"], unique=False)
    op.create_index(
        "ix_jobs_running",
        "jobs",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index(
        "uq_jobs_kind_idempotency_key",
        "jobs",
        ["kind", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_table(
        "model_training_snapshot_labels",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("training_run_id", sa.BigInteger(), nullable=False),
        sa.Column("snapshot_id", sa.BigInteger(), nullable=False),
        sa.Column("label_source", sa.String(), nullable=False),
        sa.Column("label_value", sa.Float(), nullable=False),
        sa.Column("split", sa.String(), nullable=False),
        sa.Column("image_sha256", sa.String(), nullable=False),
        sa.Column(
            "included_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "split IN ('train', 'val', 'test')",
            name=op.f("ck_model_training_snapshot_labels_split"),
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"],
            ["webcam_snapshots.id"],
            name=op.f("fk_model_training_snapshot_labels_snapshot_id_webcam_snapshots"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["training_run_id"],
            ["model_training_runs.id"],
            name=op.f(
                "fk_model_training_snapshot_labels_training_run_id_model_training_runs"
            ),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_training_snapshot_labels")),
        sa.UniqueConstraint(
            "training_run_id",
            "snapshot_id",
            name=op.f("uq_model_training_snapshot_labels_training_run_id_snapshot_id"),
        ),
    )
    op.create_index(
        op.f("ix_model_training_snapshot_labels_snapshot_id"),
        "model_training_snapshot_labels",
        ["snapshot_id"],
        unique=False,
    )
    op.create_table(
        "model_training_snapshot_ratings",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("training_run_id", sa.BigInteger(), nullable=False),
        sa.Column("snapshot_id", sa.BigInteger(), nullable=False),
        sa.Column("user_session_id", sa.String(), nullable=False),
        sa.Column("rating", sa.Integer(), nullable=True),
        sa.Column("is_sunset_verdict", sa.Boolean(), nullable=False),
        sa.Column("label_source", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["snapshot_id"],
            ["webcam_snapshots.id"],
            name=op.f(
                "fk_model_training_snapshot_ratings_snapshot_id_webcam_snapshots"
            ),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["training_run_id"],
            ["model_training_runs.id"],
            name=op.f(
                "fk_model_training_snapshot_ratings_training_run_id_model_training_runs"
            ),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_training_snapshot_ratings")),
        sa.UniqueConstraint(
            "training_run_id",
            "snapshot_id",
            "user_session_id",
            name=op.f(
                "uq_model_training_snapshot_ratings_training_run_id_snapshot_id_user_session_id"
            ),
        ),
    )
    op.create_index(
        op.f("ix_model_training_snapshot_ratings_snapshot_id"),
        "model_training_snapshot_ratings",
        ["snapshot_id"],
        unique=False,
    )
    op.create_table(
        "model_versions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("head", sa.String(), nullable=False),
        sa.Column("training_run_id", sa.BigInteger(), nullable=False),
        sa.Column("bundle_key", sa.String(), nullable=False),
        sa.Column("bundle_sha256", sa.String(), nullable=False),
        sa.Column("scale_low", sa.Float(), nullable=False),
        sa.Column("scale_high", sa.Float(), nullable=False),
        sa.Column(
            "threshold_policy",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "bundle_sha256 ~ '^[0-9a-f]{64}$'",
            name=op.f("ck_model_versions_bundle_sha256"),
        ),
        sa.CheckConstraint(
            "scale_low < scale_high", name=op.f("ck_model_versions_scale")
        ),
        sa.ForeignKeyConstraint(
            ["training_run_id"],
            ["model_training_runs.id"],
            name=op.f("fk_model_versions_training_run_id_model_training_runs"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
        sa.UniqueConstraint(
            "model_version", name=op.f("uq_model_versions_model_version")
        ),
        sa.UniqueConstraint(
            "training_run_id", name=op.f("uq_model_versions_training_run_id")
        ),
    )
    op.create_index(
        op.f("ix_model_versions_kind"), "model_versions", ["kind"], unique=False
    )
    op.create_table(
        "rating_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("snapshot_id", sa.BigInteger(), nullable=False),
        sa.Column("user_session_id", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("rating", sa.Integer(), nullable=True),
        sa.Column("is_sunset_verdict", sa.Boolean(), nullable=True),
        sa.Column("label_source", sa.String(), nullable=False),
        sa.Column("shown_model_version", sa.String(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(action = 'retract' AND is_sunset_verdict IS NULL AND rating IS NULL) OR (action = 'rate' AND is_sunset_verdict IS NOT NULL AND ((is_sunset_verdict AND rating IS NOT NULL) OR (NOT is_sunset_verdict AND rating IS NULL)))",
            name=op.f("ck_rating_events_verdict"),
        ),
        sa.CheckConstraint(
            "action IN ('rate', 'retract')", name=op.f("ck_rating_events_action")
        ),
        sa.CheckConstraint(
            "rating BETWEEN 1 AND 5", name=op.f("ck_rating_events_rating")
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"],
            ["webcam_snapshots.id"],
            name=op.f("fk_rating_events_snapshot_id_webcam_snapshots"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rating_events")),
    )
    op.create_index(
        op.f("ix_rating_events_snapshot_id"),
        "rating_events",
        ["snapshot_id"],
        unique=False,
    )
    op.create_table(
        "scoring_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("webcam_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "scored_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("image_sha256", sa.String(), nullable=True),
        sa.Column("model_version", sa.String(), nullable=True),
        sa.Column("raw_score", sa.Float(), nullable=True),
        sa.Column("path_taken", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("captured", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("sampling_probability", sa.Float(), nullable=True),
        sa.Column("snapshot_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "(path_taken = 'unscored') = (raw_score IS NULL)",
            name=op.f("ck_scoring_events_unscored_has_no_score"),
        ),
        sa.CheckConstraint(
            "image_sha256 IS NULL OR image_sha256 ~ '^[0-9a-f]{64}$'",
            name=op.f("ck_scoring_events_image_sha256"),
        ),
        sa.CheckConstraint(
            "path_taken <> 'unscored' OR reason IS NOT NULL",
            name=op.f("ck_scoring_events_unscored_has_reason"),
        ),
        sa.CheckConstraint(
            "path_taken IN ('onnx', 'cache-hit', 'unscored')",
            name=op.f("ck_scoring_events_path_taken"),
        ),
        sa.CheckConstraint(
            "raw_score BETWEEN 0 AND 1", name=op.f("ck_scoring_events_raw_score")
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"],
            ["webcam_snapshots.id"],
            name=op.f("fk_scoring_events_snapshot_id_webcam_snapshots"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["webcam_id"],
            ["webcams.id"],
            name=op.f("fk_scoring_events_webcam_id_webcams"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scoring_events")),
    )
    op.create_index(
        op.f("ix_scoring_events_snapshot_id"),
        "scoring_events",
        ["snapshot_id"],
        unique=False,
    )
    op.create_index(
        "ix_scoring_events_webcam_id_scored_at",
        "scoring_events",
        ["webcam_id", "scored_at"],
        unique=False,
    )
    op.create_table(
        "webcam_snapshot_ratings",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("snapshot_id", sa.BigInteger(), nullable=False),
        sa.Column("user_session_id", sa.String(), nullable=False),
        sa.Column("rating", sa.Integer(), nullable=True),
        sa.Column("is_sunset_verdict", sa.Boolean(), nullable=False),
        sa.Column("label_source", sa.String(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(is_sunset_verdict AND rating IS NOT NULL) OR (NOT is_sunset_verdict AND rating IS NULL)",
            name=op.f("ck_webcam_snapshot_ratings_verdict"),
        ),
        sa.CheckConstraint(
            "rating BETWEEN 1 AND 5", name=op.f("ck_webcam_snapshot_ratings_rating")
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"],
            ["webcam_snapshots.id"],
            name=op.f("fk_webcam_snapshot_ratings_snapshot_id_webcam_snapshots"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webcam_snapshot_ratings")),
        sa.UniqueConstraint(
            "snapshot_id",
            "user_session_id",
            name=op.f("uq_webcam_snapshot_ratings_snapshot_id_user_session_id"),
        ),
    )
    op.create_index(
        op.f("ix_webcam_snapshot_ratings_snapshot_id"),
        "webcam_snapshot_ratings",
        ["snapshot_id"],
        unique=False,
    )
    op.create_table(
        "evaluations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("dataset_id", sa.BigInteger(), nullable=True),
        sa.Column("manifest_sha256", sa.String(), nullable=False),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("compared_with", sa.String(), nullable=True),
        sa.Column("report", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("artifact_key", sa.String(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "manifest_sha256 ~ '^[0-9a-f]{64}$'",
            name=op.f("ck_evaluations_manifest_sha256"),
        ),
        sa.CheckConstraint(
            "method IN ('test', 'kfold')", name=op.f("ck_evaluations_method")
        ),
        sa.ForeignKeyConstraint(
            ["dataset_id"],
            ["datasets.id"],
            name=op.f("fk_evaluations_dataset_id_datasets"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["model_version"],
            ["model_versions.model_version"],
            name=op.f("fk_evaluations_model_version_model_versions"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluations")),
    )
    op.create_index(
        op.f("ix_evaluations_dataset_id"), "evaluations", ["dataset_id"], unique=False
    )
    op.create_index(
        op.f("ix_evaluations_model_version"),
        "evaluations",
        ["model_version"],
        unique=False,
    )
    op.create_table(
        "job_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=True),
        sa.Column("worker", sa.String(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["job_id"],
            ["jobs.id"],
            name=op.f("fk_job_events_job_id_jobs"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job_events")),
    )
    op.create_index(
        op.f("ix_job_events_job_id"), "job_events", ["job_id"], unique=False
    )
    op.create_table(
        "model_activations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("previous_version", sa.String(), nullable=True),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sa.Column("verdict", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("activated_by", sa.String(), nullable=False),
        sa.Column(
            "activated_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "action IN ('promote', 'rollback')",
            name=op.f("ck_model_activations_action"),
        ),
        sa.ForeignKeyConstraint(
            ["model_version"],
            ["model_versions.model_version"],
            name=op.f("fk_model_activations_model_version_model_versions"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_activations")),
    )
    op.create_index(
        op.f("ix_model_activations_kind"), "model_activations", ["kind"], unique=False
    )
    op.create_table(
        "snapshot_ai_inferences",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("snapshot_id", sa.BigInteger(), nullable=False),
        sa.Column("model_version", sa.String(), nullable=False),
        sa.Column("raw_score", sa.Float(), nullable=False),
        sa.Column(
            "ai_rating",
            sa.Numeric(precision=3, scale=2, asdecimal=False),
            nullable=True,
        ),
        sa.Column(
            "scored_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "raw_score BETWEEN 0 AND 1",
            name=op.f("ck_snapshot_ai_inferences_raw_score"),
        ),
        sa.ForeignKeyConstraint(
            ["model_version"],
            ["model_versions.model_version"],
            name=op.f("fk_snapshot_ai_inferences_model_version_model_versions"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"],
            ["webcam_snapshots.id"],
            name=op.f("fk_snapshot_ai_inferences_snapshot_id_webcam_snapshots"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_snapshot_ai_inferences")),
        sa.UniqueConstraint(
            "snapshot_id",
            "model_version",
            name=op.f("uq_snapshot_ai_inferences_snapshot_id_model_version"),
        ),
    )
    op.create_index(
        op.f("ix_snapshot_ai_inferences_snapshot_id"),
        "snapshot_ai_inferences",
        ["snapshot_id"],
        unique=False,
    )


def downgrade() -> None:
    """Undo."""
    op.drop_index(
        op.f("ix_snapshot_ai_inferences_snapshot_id"),
        table_name="snapshot_ai_inferences",
    )
    op.drop_table("snapshot_ai_inferences")
    op.drop_index(op.f("ix_model_activations_kind"), table_name="model_activations")
    op.drop_table("model_activations")
    op.drop_index(op.f("ix_job_events_job_id"), table_name="job_events")
    op.drop_table("job_events")
    op.drop_index(op.f("ix_evaluations_model_version"), table_name="evaluations")
    op.drop_index(op.f("ix_evaluations_dataset_id"), table_name="evaluations")
    op.drop_table("evaluations")
    op.drop_index(
        op.f("ix_webcam_snapshot_ratings_snapshot_id"),
        table_name="webcam_snapshot_ratings",
    )
    op.drop_table("webcam_snapshot_ratings")
    op.drop_index("ix_scoring_events_webcam_id_scored_at", table_name="scoring_events")
    op.drop_index(op.f("ix_scoring_events_snapshot_id"), table_name="scoring_events")
    op.drop_table("scoring_events")
    op.drop_index(op.f("ix_rating_events_snapshot_id"), table_name="rating_events")
    op.drop_table("rating_events")
    op.drop_index(op.f("ix_model_versions_kind"), table_name="model_versions")
    op.drop_table("model_versions")
    op.drop_index(
        op.f("ix_model_training_snapshot_ratings_snapshot_id"),
        table_name="model_training_snapshot_ratings",
    )
    op.drop_table("model_training_snapshot_ratings")
    op.drop_index(
        op.f("ix_model_training_snapshot_labels_snapshot_id"),
        table_name="model_training_snapshot_labels",
    )
    op.drop_table("model_training_snapshot_labels")
    op.drop_index(
        "uq_jobs_kind_idempotency_key",
        table_name="jobs",
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.drop_index(
        "ix_jobs_running",
        table_name="jobs",
        postgresql_where=sa.text("state = 'running'"),
    )
    op.drop_index(op.f("ix_jobs_run_id"), table_name="jobs")
    op.drop_index(op.f("ix_jobs_retry_of"), table_name="jobs")
    op.drop_index(
        "ix_jobs_queued",
        table_name="jobs",
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.drop_index(op.f("ix_jobs_parent_id"), table_name="jobs")
    op.drop_table("jobs")
    op.drop_index(op.f("ix_dataset_rows_snapshot_id"), table_name="dataset_rows")
    op.drop_table("dataset_rows")
    op.drop_index(
        "ix_webcam_snapshots_webcam_id_captured_at", table_name="webcam_snapshots"
    )
    op.drop_index(
        op.f("ix_webcam_snapshots_image_sha256"), table_name="webcam_snapshots"
    )
    op.drop_table("webcam_snapshots")
    op.drop_index(op.f("ix_model_training_runs_kind"), table_name="model_training_runs")
    op.drop_index(
        op.f("ix_model_training_runs_dataset_id"), table_name="model_training_runs"
    )
    op.drop_table("model_training_runs")
    op.drop_table("webcams")
    op.drop_table("split_assignments")
    op.drop_table("images")
    op.drop_index(op.f("ix_datasets_kind"), table_name="datasets")
    op.drop_table("datasets")
    op.drop_table("api_keys")
