"""Photo groups, and what people chose from them and how they cropped: events that are only ever added, and what follows."""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKeyConstraint, UniqueConstraint
from sqlmodel import Field, SQLModel

from db.tables.photos import of_project
from db.types import Moment, bigint_key, one_of, reference, sha256_check, time_column

GROUP_RULES = ("stages", "near-duplicates", "look-alikes", "log", "person")
BOX_RULE = "x1 >= 0 AND y1 >= 0 AND x2 <= 1 AND y2 <= 1 AND x1 < x2 AND y1 < y2"


class PhotoGroup(SQLModel, table=True):
    """Photos of one project to choose from. What it is called is a hash of its members, who never change."""

    __tablename__ = "photo_groups"
    __table_args__ = (
        UniqueConstraint("project_id", "group_key"),
        UniqueConstraint("project_id", "id"),
        CheckConstraint(sha256_check("group_key"), name="group_key"),
        CheckConstraint(one_of("rule", GROUP_RULES), name="rule"),
    )

    id: int | None = bigint_key()
    project_id: int = reference("projects.id", index=False)
    group_key: str
    """sha256 over the sorted sha256 of its members."""
    rule: str
    """What made it first: a step of grouping, a log that was imported, or a person."""
    created_at: Moment | None = time_column(now=True)


class PhotoGroupMember(SQLModel, table=True):
    """A photo in a group. Append-only."""

    __tablename__ = "photo_group_members"
    __table_args__ = (
        of_project("group_id", "photo_groups"),
        of_project("photo_id", "photos"),
        UniqueConstraint("group_id", "photo_id"),
        UniqueConstraint("group_id", "place"),
        CheckConstraint("place >= 1", name="place"),
    )

    id: int | None = bigint_key()
    project_id: int = reference("projects.id")
    group_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    photo_id: int = Field(sa_column=Column(BigInteger, nullable=False, index=True))
    place: int
    """In order of (time, stage, name), from 1."""


class SelectionEvent(SQLModel, table=True):
    """One act of choosing from a group, or its retraction. Append-only: undo is a new event."""

    __tablename__ = "selection_events"
    __table_args__ = (
        of_project("group_id", "photo_groups"),
        ForeignKeyConstraint(
            ["group_id", "chosen_photo_id"],
            ["photo_group_members.group_id", "photo_group_members.photo_id"],
            ondelete="RESTRICT",
            name="fk_selection_events_chosen",
        ),
        CheckConstraint("action IN ('choose', 'retract')", name="action"),
        CheckConstraint("(action = 'retract') = (chosen_photo_id IS NULL)", name="chosen"),
    )

    id: int | None = bigint_key()
    project_id: int = reference("projects.id")
    group_id: int = Field(sa_column=Column(BigInteger, nullable=False, index=True))
    rater: str
    action: str = "choose"
    chosen_photo_id: int | None = Field(default=None, sa_column=Column(BigInteger, nullable=True))
    """A member of the group."""
    label_source: str
    shown_model_version: str | None = None
    """The model whose proposal the rater had seen before; null where the choice was blind."""
    import_id: int | None = reference("label_imports.id", nullable=True)
    said_at: Moment | None = time_column(nullable=True)
    """When it was said, as a log has it; null where `created_at` is that."""
    created_at: Moment | None = time_column(now=True)


class Selection(SQLModel, table=True):
    """The current choice of one rater from one group."""

    __tablename__ = "selections"
    __table_args__ = (
        of_project("group_id", "photo_groups"),
        ForeignKeyConstraint(
            ["group_id", "chosen_photo_id"],
            ["photo_group_members.group_id", "photo_group_members.photo_id"],
            ondelete="RESTRICT",
            name="fk_selections_chosen",
        ),
        UniqueConstraint("group_id", "rater"),
    )

    id: int | None = bigint_key()
    project_id: int = reference("projects.id")
    group_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    rater: str
    chosen_photo_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    label_source: str
    import_id: int | None = reference("label_imports.id", nullable=True)
    created_at: Moment | None = time_column(now=True)


class CropEvent(SQLModel, table=True):
    """One act of cropping a photo, or its retraction. Append-only. A box is in fractions of the upright image."""

    __tablename__ = "crop_events"
    __table_args__ = (
        of_project("photo_id", "photos"),
        CheckConstraint("action IN ('crop', 'retract')", name="action"),
        CheckConstraint("num_nulls(x1, y1, x2, y2) = CASE action WHEN 'crop' THEN 0 ELSE 4 END", name="has_box"),
        CheckConstraint(BOX_RULE, name="box"),
    )

    id: int | None = bigint_key()
    project_id: int = reference("projects.id")
    photo_id: int = Field(sa_column=Column(BigInteger, nullable=False, index=True))
    rater: str
    action: str = "crop"
    x1: float | None = None
    y1: float | None = None
    x2: float | None = None
    y2: float | None = None
    label_source: str
    shown_model_version: str | None = None
    """The model whose proposal the rater had seen before; null where the crop was blind."""
    import_id: int | None = reference("label_imports.id", nullable=True)
    said_at: Moment | None = time_column(nullable=True)
    """When it was said, as a log has it; null where `created_at` is that."""
    created_at: Moment | None = time_column(now=True)


class Crop(SQLModel, table=True):
    """The current crop of one photo by one rater, in fractions of the upright image."""

    __tablename__ = "crops"
    __table_args__ = (
        of_project("photo_id", "photos"),
        UniqueConstraint("photo_id", "rater"),
        CheckConstraint(BOX_RULE, name="box"),
    )

    id: int | None = bigint_key()
    project_id: int = reference("projects.id")
    photo_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    rater: str
    x1: float
    y1: float
    x2: float
    y2: float
    label_source: str
    import_id: int | None = reference("label_imports.id", nullable=True)
    created_at: Moment | None = time_column(now=True)
