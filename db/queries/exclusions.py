"""Queries on imports, and on whose labels do not count. Nothing is deleted: an exclusion is an event, lifted by another.

Labels as of a time follow the exclusions of that time, so an export as of an earlier one stays as it was.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, text, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlmodel import Session, col, select

from db.errors import Conflict, NotFound
from db.queries.labels import EXCLUSIONS_LOCK, recompute_ratings
from db.queries.paging import page_rows
from db.tables import LabelExclusion, LabelImport, RatingEvent


@dataclass(frozen=True)
class Subject:
    """Who or what gave labels: a rater, or an import. Exactly one of them is named."""

    rater: str | None = None
    import_id: int | None = None

    def __str__(self) -> str:
        """As people are told."""
        return f"rater {self.rater}" if self.rater is not None else f"import {self.import_id}"


# -- imports ---------------------------------------------------------------------------------------------------------


def begin_import(session: Session, *, file_name: str, file_sha256: str, by: str) -> int:
    """Record that a file is being imported; returns the id that its labels name."""
    values = {"file_name": file_name, "file_sha256": file_sha256, "imported_by": by}
    import_id: int = session.execute(insert(LabelImport).values(**values).returning(col(LabelImport.id))).scalar_one()
    return import_id


def end_import(session: Session, import_id: int, counts: dict[str, Any]) -> None:
    """Record what an import brought in, once."""
    session.execute(
        update(LabelImport)
        .where(col(LabelImport.id) == import_id)
        .values(counts=counts, finished_at=func.clock_timestamp())
    )


def get_import(session: Session, import_id: int) -> LabelImport:
    """The import of this id, or NotFound."""
    row = session.get(LabelImport, import_id)
    if row is None:
        raise NotFound(what="import", key=import_id)
    return row


def list_imports(session: Session, *, cursor: int | None = None, limit: int | None = None) -> Sequence[LabelImport]:
    """Imports, newest first, from beyond the row `cursor`."""
    return page_rows(session, select(LabelImport), col(LabelImport.id), cursor=cursor, limit=limit, newest_first=True)


# -- exclusions ------------------------------------------------------------------------------------------------------


def exclude(session: Session, subject: Subject, *, reason: str, by: str) -> LabelExclusion:
    """From now on labels of this rater or import do not count; snapshots are recomputed in the same transaction.

    Raises:
        NotFound: Nobody of this name has rated, or there is no such import.
        Conflict: It is excluded already.
    """
    _check_known(session, subject)
    session.execute(text(f"SELECT pg_advisory_xact_lock({EXCLUSIONS_LOCK})"))
    if subject in excluded_now(session):
        raise Conflict(f"{subject} is excluded already")
    return _append(session, "exclude", subject, reason, by)


def lift(session: Session, subject: Subject, *, reason: str, by: str) -> LabelExclusion:
    """From now on labels of this rater or import count again; snapshots are recomputed in the same transaction.

    Raises:
        Conflict: It is not excluded.
    """
    session.execute(text(f"SELECT pg_advisory_xact_lock({EXCLUSIONS_LOCK})"))
    if subject not in excluded_now(session):
        raise Conflict(f"{subject} is not excluded, so there is nothing to lift")
    return _append(session, "lift", subject, reason, by)


def excluded_now(session: Session) -> dict[Subject, LabelExclusion]:
    """Who and what is excluded, each with the event that says so, the first excluded first."""
    event = LabelExclusion
    last = (
        select(event)
        .ext(distinct_on(col(event.rater), col(event.import_id)))
        .order_by(col(event.rater), col(event.import_id), col(event.id).desc())
    )
    rows = sorted(session.exec(last).all(), key=lambda row: row.id or 0)
    return {Subject(row.rater, row.import_id): row for row in rows if row.action == "exclude"}


def is_excluded(excluded: Collection[Subject], rater: str, import_id: int | None) -> bool:
    """Whether a rating of this rater, brought in by this import or by none, does not count."""
    return Subject(rater=rater) in excluded or (import_id is not None and Subject(import_id=import_id) in excluded)


def list_exclusions(
    session: Session, *, cursor: int | None = None, limit: int | None = None
) -> Sequence[LabelExclusion]:
    """Every exclusion and every lifting, newest first, from beyond the row `cursor`."""
    return page_rows(
        session, select(LabelExclusion), col(LabelExclusion.id), cursor=cursor, limit=limit, newest_first=True
    )


def _check_known(session: Session, subject: Subject) -> None:
    if subject.import_id is not None:
        get_import(session, subject.import_id)
        return
    if session.exec(select(RatingEvent.id).where(col(RatingEvent.user_session_id) == subject.rater).limit(1)).first():
        return
    names = session.exec(select(RatingEvent.user_session_id).distinct().limit(6)).all()
    known = f"{', '.join(sorted(names)[:5])}{' and others' if len(names) > 5 else ''}"
    some = f" Raters here: {known}." if names else ""
    raise NotFound(f"Nobody called {subject.rater} has rated anything.{some}")


def _append(session: Session, action: str, subject: Subject, reason: str, by: str) -> LabelExclusion:
    event = LabelExclusion(
        action=action, rater=subject.rater, import_id=subject.import_id, reason=reason, excluded_by=by
    )
    session.add(event)
    session.flush()
    rating = RatingEvent
    theirs = (
        col(rating.user_session_id) == subject.rater
        if subject.rater is not None
        else col(rating.import_id) == subject.import_id
    )
    touched = sorted(session.exec(select(rating.snapshot_id).where(theirs).distinct()).all())
    # In one order, so that two transactions that lock the same snapshots never wait for each other.
    session.execute(
        text("SELECT 1 FROM webcam_snapshots WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE"), {"ids": touched}
    )
    recompute_ratings(session, touched)
    return event
