"""Images: one row for each distinct content. Paths and URLs are aliases and live with what they name."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, String
from sqlmodel import Field, SQLModel

from db.types import Moment, bigint_key, sha256_check, time_column


class Image(SQLModel, table=True):
    """One image content that is kept in the file store, by its sha256."""

    __tablename__ = "images"
    __table_args__ = (
        CheckConstraint(sha256_check("sha256"), name="sha256"),
        CheckConstraint("width > 0 AND height > 0 AND byte_size > 0", name="sizes"),
    )

    id: int | None = bigint_key()
    sha256: str = Field(unique=True, max_length=64)
    media_type: str
    width: int
    height: int
    byte_size: int
    created_at: Moment | None = time_column(now=True)


class ImageRemoval(SQLModel, table=True):
    """A content that retention is about to remove from the store; gone when that is done, or when it is needed again."""

    __tablename__ = "image_removals"

    sha256: str = Field(
        sa_column=Column(String(64), ForeignKey("images.sha256", ondelete="RESTRICT"), primary_key=True)
    )
    created_at: Moment | None = time_column(now=True)
