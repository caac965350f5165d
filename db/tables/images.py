"""Images: one row for each distinct content. Paths and URLs are aliases and live with what they name."""

from sqlalchemy import CheckConstraint
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
