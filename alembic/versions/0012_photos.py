"""Projects of photos to choose from and crop: photos, their paths and companions, groups, selections and crops."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

APPEND_ONLY = ("photo_group_members", "selection_events", "crop_events")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "projects",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("name ~ '^[A-Za-z0-9][A-Za-z0-9_. -]{0,63}$'", name=op.f("ck_projects_name")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.create_table(
        "photo_groups",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("group_key", sa.String(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("group_key ~ '^[0-9a-f]{64}$'", name=op.f("ck_photo_groups_group_key")),
        sa.CheckConstraint(
            "rule IN ('stages', 'near-duplicates', 'look-alikes', 'log', 'person')", name=op.f("ck_photo_groups_rule")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_photo_groups_project_id_projects"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_photo_groups")),
        sa.UniqueConstraint("project_id", "group_key", name=op.f("uq_photo_groups_project_id_group_key")),
        sa.UniqueConstraint("project_id", "id", name=op.f("uq_photo_groups_project_id_id")),
    )
    op.create_table(
        "photos",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("media_type", sa.String(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("byte_size", sa.Integer(), nullable=False),
        sa.Column("orientation", sa.Integer(), nullable=False),
        sa.Column("phash", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("stage", sa.Float(), nullable=True),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name=op.f("ck_photos_sha256")),
        sa.CheckConstraint("orientation BETWEEN 1 AND 8", name=op.f("ck_photos_orientation")),
        sa.CheckConstraint("stage IN (1.0, 1.5, 2.0, 3.0)", name=op.f("ck_photos_stage")),
        sa.CheckConstraint("width > 0 AND height > 0 AND byte_size > 0", name=op.f("ck_photos_sizes")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_photos_project_id_projects"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_photos")),
        sa.UniqueConstraint("project_id", "id", name=op.f("uq_photos_project_id_id")),
        sa.UniqueConstraint("project_id", "sha256", name=op.f("uq_photos_project_id_sha256")),
    )
    op.create_table(
        "crop_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("photo_id", sa.BigInteger(), nullable=False),
        sa.Column("rater", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("x1", sa.Float(), nullable=True),
        sa.Column("y1", sa.Float(), nullable=True),
        sa.Column("x2", sa.Float(), nullable=True),
        sa.Column("y2", sa.Float(), nullable=True),
        sa.Column("label_source", sa.String(), nullable=False),
        sa.Column("shown_model_version", sa.String(), nullable=True),
        sa.Column("import_id", sa.BigInteger(), nullable=True),
        sa.Column("said_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("action IN ('crop', 'retract')", name=op.f("ck_crop_events_action")),
        sa.CheckConstraint(
            "num_nulls(x1, y1, x2, y2) = CASE action WHEN 'crop' THEN 0 ELSE 4 END", name=op.f("ck_crop_events_has_box")
        ),
        sa.CheckConstraint(
            "x1 >= 0 AND y1 >= 0 AND x2 <= 1 AND y2 <= 1 AND x1 < x2 AND y1 < y2", name=op.f("ck_crop_events_box")
        ),
        sa.ForeignKeyConstraint(
            ["import_id"],
            ["label_imports.id"],
            name=op.f("fk_crop_events_import_id_label_imports"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "photo_id"],
            ["photos.project_id", "photos.id"],
            name=op.f("fk_crop_events_project_id_photo_id_photos"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_crop_events_project_id_projects"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_crop_events")),
    )
    op.create_index(op.f("ix_crop_events_import_id"), "crop_events", ["import_id"], unique=False)
    op.create_index(op.f("ix_crop_events_photo_id"), "crop_events", ["photo_id"], unique=False)
    op.create_index(op.f("ix_crop_events_project_id"), "crop_events", ["project_id"], unique=False)
    op.create_table(
        "crops",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("photo_id", sa.BigInteger(), nullable=False),
        sa.Column("rater", sa.String(), nullable=False),
        sa.Column("x1", sa.Float(), nullable=False),
        sa.Column("y1", sa.Float(), nullable=False),
        sa.Column("x2", sa.Float(), nullable=False),
        sa.Column("y2", sa.Float(), nullable=False),
        sa.Column("label_source", sa.String(), nullable=False),
        sa.Column("import_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "x1 >= 0 AND y1 >= 0 AND x2 <= 1 AND y2 <= 1 AND x1 < x2 AND y1 < y2", name=op.f("ck_crops_box")
        ),
        sa.ForeignKeyConstraint(
            ["import_id"], ["label_imports.id"], name=op.f("fk_crops_import_id_label_imports"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "photo_id"],
            ["photos.project_id", "photos.id"],
            name=op.f("fk_crops_project_id_photo_id_photos"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_crops_project_id_projects"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_crops")),
        sa.UniqueConstraint("photo_id", "rater", name=op.f("uq_crops_photo_id_rater")),
    )
    op.create_index(op.f("ix_crops_import_id"), "crops", ["import_id"], unique=False)
    op.create_index(op.f("ix_crops_project_id"), "crops", ["project_id"], unique=False)
    op.create_table(
        "photo_group_members",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("photo_id", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.CheckConstraint("place >= 1", name=op.f("ck_photo_group_members_place")),
        sa.ForeignKeyConstraint(
            ["project_id", "group_id"],
            ["photo_groups.project_id", "photo_groups.id"],
            name=op.f("fk_photo_group_members_project_id_group_id_photo_groups"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "photo_id"],
            ["photos.project_id", "photos.id"],
            name=op.f("fk_photo_group_members_project_id_photo_id_photos"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["projects.id"],
            name=op.f("fk_photo_group_members_project_id_projects"),
            ondelete="RESTRICT",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_photo_group_members")),
        sa.UniqueConstraint("group_id", "photo_id", name=op.f("uq_photo_group_members_group_id_photo_id")),
        sa.UniqueConstraint("group_id", "place", name=op.f("uq_photo_group_members_group_id_place")),
    )
    op.create_index(op.f("ix_photo_group_members_photo_id"), "photo_group_members", ["photo_id"], unique=False)
    op.create_index(op.f("ix_photo_group_members_project_id"), "photo_group_members", ["project_id"], unique=False)
    op.create_table(
        "photo_paths",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("photo_id", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("byte_size", sa.BigInteger(), nullable=False),
        sa.Column("modified_ns", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("right(path, length(name) + 1) = '/' || name", name=op.f("ck_photo_paths_name")),
        sa.ForeignKeyConstraint(
            ["project_id", "photo_id"],
            ["photos.project_id", "photos.id"],
            name=op.f("fk_photo_paths_project_id_photo_id_photos"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_photo_paths_project_id_projects"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_photo_paths")),
        sa.UniqueConstraint("photo_id", "path", name=op.f("uq_photo_paths_photo_id_path")),
        sa.UniqueConstraint("project_id", "id", name=op.f("uq_photo_paths_project_id_id")),
    )
    op.create_index("ix_photo_paths_project_id_name", "photo_paths", ["project_id", "name"], unique=False)
    op.create_table(
        "photo_companions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("photo_path_id", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id", "photo_path_id"],
            ["photo_paths.project_id", "photo_paths.id"],
            name="fk_photo_companions_path",
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_photo_companions_project_id_projects"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_photo_companions")),
        sa.UniqueConstraint("photo_path_id", "path", name=op.f("uq_photo_companions_photo_path_id_path")),
    )
    op.create_index(op.f("ix_photo_companions_project_id"), "photo_companions", ["project_id"], unique=False)
    op.create_table(
        "selection_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("rater", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("chosen_photo_id", sa.BigInteger(), nullable=True),
        sa.Column("label_source", sa.String(), nullable=False),
        sa.Column("shown_model_version", sa.String(), nullable=True),
        sa.Column("import_id", sa.BigInteger(), nullable=True),
        sa.Column("said_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(action = 'retract') = (chosen_photo_id IS NULL)", name=op.f("ck_selection_events_chosen")),
        sa.CheckConstraint("action IN ('choose', 'retract')", name=op.f("ck_selection_events_action")),
        sa.ForeignKeyConstraint(
            ["group_id", "chosen_photo_id"],
            ["photo_group_members.group_id", "photo_group_members.photo_id"],
            name="fk_selection_events_chosen",
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["import_id"],
            ["label_imports.id"],
            name=op.f("fk_selection_events_import_id_label_imports"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "group_id"],
            ["photo_groups.project_id", "photo_groups.id"],
            name=op.f("fk_selection_events_project_id_group_id_photo_groups"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_selection_events_project_id_projects"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_selection_events")),
    )
    op.create_index(op.f("ix_selection_events_group_id"), "selection_events", ["group_id"], unique=False)
    op.create_index(op.f("ix_selection_events_import_id"), "selection_events", ["import_id"], unique=False)
    op.create_index(op.f("ix_selection_events_project_id"), "selection_events", ["project_id"], unique=False)
    op.create_table(
        "selections",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("rater", sa.String(), nullable=False),
        sa.Column("chosen_photo_id", sa.BigInteger(), nullable=False),
        sa.Column("label_source", sa.String(), nullable=False),
        sa.Column("import_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["group_id", "chosen_photo_id"],
            ["photo_group_members.group_id", "photo_group_members.photo_id"],
            name="fk_selections_chosen",
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["import_id"], ["label_imports.id"], name=op.f("fk_selections_import_id_label_imports"), ondelete="RESTRICT"
        ),
        sa.ForeignKeyConstraint(
            ["project_id", "group_id"],
            ["photo_groups.project_id", "photo_groups.id"],
            name=op.f("fk_selections_project_id_group_id_photo_groups"),
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_selections_project_id_projects"), ondelete="RESTRICT"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_selections")),
        sa.UniqueConstraint("group_id", "rater", name=op.f("uq_selections_group_id_rater")),
    )
    op.create_index(op.f("ix_selections_import_id"), "selections", ["import_id"], unique=False)
    op.create_index(op.f("ix_selections_project_id"), "selections", ["project_id"], unique=False)
    _guard()


def _guard() -> None:
    """Events and who is in a group are append-only; a photo and a group keep what they are."""
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
        """
        CREATE FUNCTION keep_identity() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF (to_jsonb(NEW) -> 'project_id', to_jsonb(NEW) -> TG_ARGV[0])
               IS DISTINCT FROM (to_jsonb(OLD) -> 'project_id', to_jsonb(OLD) -> TG_ARGV[0]) THEN
                RAISE EXCEPTION '% % keeps its project and its %', TG_TABLE_NAME, OLD.id, TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        END $$
        """
    )
    for table, column in (("photos", "sha256"), ("photo_groups", "group_key")):
        op.execute(
            f"CREATE TRIGGER keeps_identity BEFORE UPDATE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION keep_identity('{column}')"
        )


def downgrade() -> None:
    """Undo."""
    op.drop_table("selections")
    op.drop_table("selection_events")
    op.drop_table("photo_companions")
    op.drop_table("photo_paths")
    op.drop_table("photo_group_members")
    op.drop_table("crops")
    op.drop_table("crop_events")
    op.drop_table("photos")
    op.drop_table("photo_groups")
    op.drop_table("projects")
    op.execute("DROP FUNCTION keep_identity()")
