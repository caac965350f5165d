"""Queries on webcams, snapshots and scores."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import Session, col, select

from db.errors import NotFound
from db.queries.paging import page_rows
from db.tables import ScoringEvent, Webcam, WebcamSnapshot


def database_time(session: Session) -> datetime:
    """The start of this transaction by the database's clock, the only clock that counts."""
    moment: datetime = session.execute(select(func.now())).scalar_one()
    return moment


def find_webcam(session: Session, source: str, external_id: str) -> Webcam | None:
    """The webcam of this source and id, if known."""
    return session.exec(
        select(Webcam).where(col(Webcam.source) == source, col(Webcam.external_id) == external_id)
    ).one_or_none()


def find_or_add_webcam(session: Session, source: str, external_id: str, **facts: Any) -> tuple[Webcam, bool]:
    """The webcam of this source and id, added with `facts` if unknown, and whether it was added."""
    known = find_webcam(session, source, external_id)
    if known is not None:
        return known, False
    added = session.execute(
        insert(Webcam)
        .values(source=source, external_id=external_id, **facts)
        .on_conflict_do_nothing(index_elements=["source", "external_id"])
        .returning(col(Webcam.id))
    ).first()
    webcam = find_webcam(session, source, external_id)
    if webcam is None:
        raise NotFound(what="webcam", key=f"{source}/{external_id}")
    return webcam, added is not None


def get_webcam(session: Session, webcam_id: int) -> Webcam:
    """The webcam of this id, or NotFound."""
    webcam = session.get(Webcam, webcam_id)
    if webcam is None:
        raise NotFound(what="webcam", key=webcam_id)
    return webcam


def list_webcams(
    session: Session,
    *,
    source: str | None = None,
    external_id: str | None = None,
    country: str | None = None,
    newest_first: bool = False,
    cursor: int | None = None,
    limit: int = 50,
) -> Sequence[Webcam]:
    """Webcams in order of id, from beyond `cursor`, narrowed by each filter that is given."""
    query = select(Webcam)
    for column, wanted in ((Webcam.source, source), (Webcam.external_id, external_id), (Webcam.country, country)):
        if wanted is not None:
            query = query.where(col(column) == wanted)
    return page_rows(session, query, col(Webcam.id), cursor=cursor, limit=limit, newest_first=newest_first)


def webcam_facts(session: Session, webcam_ids: Sequence[int]) -> list[Webcam]:
    """The webcams of these ids, in order of id."""
    found: list[Webcam] = []
    for start in range(0, len(webcam_ids), 10_000):
        chosen = col(Webcam.id).in_(webcam_ids[start : start + 10_000])
        found += session.exec(select(Webcam).where(chosen).order_by(col(Webcam.id))).all()
    return found


def add_snapshot(session: Session, **facts: Any) -> tuple[WebcamSnapshot, bool]:
    """Keep a frame; the same webcam, time and image is one snapshot. Returns it and whether it was added."""
    added = session.execute(
        insert(WebcamSnapshot)
        .values(**facts)
        .on_conflict_do_nothing(index_elements=["webcam_id", "captured_at", "image_key"])
        .returning(col(WebcamSnapshot.id))
    ).first()
    snapshot = session.exec(
        select(WebcamSnapshot).where(
            col(WebcamSnapshot.webcam_id) == facts["webcam_id"],
            col(WebcamSnapshot.captured_at) == facts["captured_at"],
            col(WebcamSnapshot.image_key) == facts["image_key"],
        )
    ).one()
    return snapshot, added is not None


def get_snapshot(session: Session, snapshot_id: int) -> WebcamSnapshot:
    """The snapshot of this id, or NotFound."""
    snapshot = session.get(WebcamSnapshot, snapshot_id)
    if snapshot is None:
        raise NotFound(what="snapshot", key=snapshot_id)
    return snapshot


def list_snapshots(
    session: Session,
    *,
    webcam_id: int | None = None,
    phase: str | None = None,
    rated: bool | None = None,
    captured_from: datetime | None = None,
    captured_before: datetime | None = None,
    newest_first: bool = False,
    cursor: int | None = None,
    limit: int = 50,
) -> Sequence[WebcamSnapshot]:
    """Snapshots in order of id, from beyond `cursor`; `rated` asks for those with or without a rating.

    `captured_from` belongs to the range of times, `captured_before` does not.
    """
    query = select(WebcamSnapshot)
    if webcam_id is not None:
        query = query.where(col(WebcamSnapshot.webcam_id) == webcam_id)
    if phase is not None:
        query = query.where(col(WebcamSnapshot.phase) == phase)
    if rated is not None:
        query = query.where(col(WebcamSnapshot.rating_count) > 0 if rated else col(WebcamSnapshot.rating_count) == 0)
    if captured_from is not None:
        query = query.where(col(WebcamSnapshot.captured_at) >= captured_from)
    if captured_before is not None:
        query = query.where(col(WebcamSnapshot.captured_at) < captured_before)
    return page_rows(session, query, col(WebcamSnapshot.id), cursor=cursor, limit=limit, newest_first=newest_first)


def snapshot_images(session: Session, snapshot_ids: Sequence[int]) -> dict[int, str | None]:
    """Snapshot -> sha256 of its image (null where it was never fetched), for those of the ids that exist."""
    found: dict[int, str | None] = {}
    for start in range(0, len(snapshot_ids), 10_000):
        rows = session.execute(
            select(WebcamSnapshot.id, WebcamSnapshot.image_sha256).where(
                col(WebcamSnapshot.id).in_(snapshot_ids[start : start + 10_000])
            )
        )
        found.update({row.id: row.image_sha256 for row in rows})
    return found


def record_image(session: Session, snapshot_id: int, image_sha256: str) -> str:
    """A snapshot's image was fetched: its content is known from now on, and never replaced.

    People rate what a snapshot showed when it was first fetched; a URL may show something else tomorrow. Returns the
    content that is the snapshot's: this one, or the one that was known before.
    """
    session.execute(
        update(WebcamSnapshot)
        .where(col(WebcamSnapshot.id) == snapshot_id, col(WebcamSnapshot.image_sha256).is_(None))
        .values(image_sha256=image_sha256, image_state="present", image_known_at=func.now())
    )
    return str(snapshot_images(session, [snapshot_id])[snapshot_id])


def record_image_failure(session: Session, snapshot_id: int, state: str) -> None:
    """A snapshot's image could not be had: `dead-url` or `unreadable`."""
    session.execute(
        update(WebcamSnapshot)
        .where(col(WebcamSnapshot.id) == snapshot_id, col(WebcamSnapshot.image_sha256).is_(None))
        .values(image_state=state)
    )


def last_scored_event(session: Session, webcam_id: int) -> ScoringEvent | None:
    """The newest attempt on a webcam that gave a score."""
    return session.exec(
        select(ScoringEvent)
        .where(col(ScoringEvent.webcam_id) == webcam_id, col(ScoringEvent.path_taken) != "unscored")
        .order_by(col(ScoringEvent.scored_at).desc(), col(ScoringEvent.id).desc())
        .limit(1)
    ).first()
