"""Projects and their photos. A photo is (project, sha256); where it was seen is an alias. Projects never mix.

Whatever belongs to a photo names its project too, by a foreign key of both, so that the database refuses what crosses.
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKeyConstraint, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from db.types import Moment, bigint_key, reference, sha256_check, time_column

STAGES = (1.0, 1.5, 2.0, 3.0)


def of_project(column: str, table: str, name: str | None = None) -> ForeignKeyConstraint:
    """A foreign key of (project, row): the row is of the same project."""
    target = [f"{table}.project_id", f"{table}.id"]
    return ForeignKeyConstraint(["project_id", column], target, ondelete="RESTRICT", name=name)


class Project(SQLModel, table=True):
    """Photos that are compared with one another and with no others."""

    __tablename__ = "projects"
    __table_args__ = (CheckConstraint("name ~ '^[A-Za-z0-9][A-Za-z0-9_. -]{0,63}$'", name="name"),)

    id: int | None = bigint_key()
    name: str = Field(unique=True)
    created_at: Moment | None = time_column(now=True)


class Photo(SQLModel, table=True):
    """One image content in a project, as it was first seen. Its file stays where it is, and is only read."""

    __tablename__ = "photos"
    __table_args__ = (
        UniqueConstraint("project_id", "sha256"),
        UniqueConstraint("project_id", "id"),
        CheckConstraint(sha256_check("sha256"), name="sha256"),
        CheckConstraint("width > 0 AND height > 0 AND byte_size > 0", name="sizes"),
        CheckConstraint("orientation BETWEEN 1 AND 8", name="orientation"),
        CheckConstraint(f"stage IN ({', '.join(map(str, STAGES))})", name="stage"),
    )

    id: int | None = bigint_key()
    project_id: int = reference("projects.id", index=False)
    sha256: str
    media_type: str
    width: int
    """In pixels, upright."""
    height: int
    """In pixels, upright."""
    byte_size: int
    orientation: int
    """As EXIF says, 1 to 8; 1 where it says nothing."""
    phash: int = Field(sa_column=Column(BigInteger, nullable=False))
    """The 64 bits of the perceptual hash as a signed number: `db.queries.photos.signed`."""
    name: str
    """File name, of the path that came first."""
    stage: float | None = None
    """As the name says; null where it says none."""
    taken_at: Moment | None = time_column(nullable=True)
    """As the name says, read as UTC; null where it says none."""
    created_at: Moment | None = time_column(now=True)


class PhotoPath(SQLModel, table=True):
    """A path under which a photo was seen. It may be gone since, and another photo may be there now."""

    __tablename__ = "photo_paths"
    __table_args__ = (
        of_project("photo_id", "photos"),
        UniqueConstraint("project_id", "id"),
        UniqueConstraint("photo_id", "path"),
        Index("ix_photo_paths_project_id_name", "project_id", "name"),
        CheckConstraint("right(path, length(name) + 1) = '/' || name", name="name"),
    )

    id: int | None = bigint_key()
    project_id: int = reference("projects.id", index=False)
    photo_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    path: str
    """Absolute, with `/`."""
    name: str
    """File name: what a log from another machine is matched by."""
    byte_size: int = Field(sa_column=Column(BigInteger, nullable=False))
    modified_ns: int = Field(sa_column=Column(BigInteger, nullable=False))
    """When the file was changed last, in ns since 1970: with its size, what tells a later scan that it is the same."""
    seen_at: Moment | None = time_column(now=True)
    """Last time that a scan found this photo here."""


class PhotoCompanion(SQLModel, table=True):
    """A file that goes wherever the image at a path goes."""

    __tablename__ = "photo_companions"
    __table_args__ = (
        of_project("photo_path_id", "photo_paths", "fk_photo_companions_path"),
        UniqueConstraint("photo_path_id", "path"),
    )

    id: int | None = bigint_key()
    project_id: int = reference("projects.id")
    photo_path_id: int = Field(sa_column=Column(BigInteger, nullable=False))
    path: str
    created_at: Moment | None = time_column(now=True)
