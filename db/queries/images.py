"""Queries on image contents."""

from __future__ import annotations

from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from db.errors import NotFound
from db.tables import Image


def add_image(session: Session, sha256: str, media_type: str, width: int, height: int, byte_size: int) -> None:
    """Record an image content; a known one is left as it is."""
    session.execute(
        insert(Image)
        .values(sha256=sha256, media_type=media_type, width=width, height=height, byte_size=byte_size)
        .on_conflict_do_nothing(index_elements=["sha256"])
    )


def get_image(session: Session, sha256: str) -> Image:
    """The image content of this sha256, or NotFound."""
    found = session.exec(select(Image).where(col(Image.sha256) == sha256)).one_or_none()
    if found is None:
        raise NotFound(what="image", key=sha256)
    return found
