"""Queries on review sets: the frames that they are chosen from, what is in them, and what became of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlmodel import Session, col, select

from db.errors import Conflict, NotFound
from db.queries import models
from db.queries.paging import page_rows
from db.queries.settling import label_now
from db.queries.webcams import database_time, get_snapshot
from db.tables import Disagreement, ReviewSet, WebcamSnapshot


@dataclass(frozen=True)
class StoredFrame:
    """A snapshot whose image is there, and what a version said of it."""

    snapshot_id: int
    webcam_id: int
    captured_at: datetime
    image_sha256: str
    raw_score: float | None
    """None where the version has not scored it."""
    learned: bool
    """The version was trained or validated on this snapshot, or on this image."""


@dataclass(frozen=True)
class Closed:
    """What became of a frame in an earlier review set of a kind."""

    snapshot_id: int
    model_version: str
    head: str
    raw_score: float | None
    """What that version said."""
    label: float | None
    """The label after that."""
    state: str
    closed_by: str
    closed_at: datetime


def stored_frames(session: Session, version_name: str) -> list[StoredFrame]:
    """All snapshots with an image, in order of id, with what this version said of them."""
    run_id = models.get_version(session, version_name).training_run_id
    rows = session.execute(
        text(
            """
            WITH learned AS (
                SELECT snapshot_id, image_sha256 FROM model_training_snapshot_labels
                WHERE training_run_id = :run_id AND split <> 'test'
            )
            SELECT s.id AS snapshot_id, s.webcam_id, s.captured_at, s.image_sha256, i.raw_score,
                   s.id IN (SELECT snapshot_id FROM learned)
                       OR s.image_sha256 IN (SELECT image_sha256 FROM learned) AS learned
            FROM webcam_snapshots s
            LEFT JOIN snapshot_ai_inferences i ON i.snapshot_id = s.id AND i.model_version = :version
            WHERE s.image_state = 'present' ORDER BY s.id
            """
        ),
        {"run_id": run_id, "version": version_name},
    )
    return [StoredFrame(**row) for row in rows.mappings()]


def closed_before(session: Session, kind: str) -> list[Closed]:
    """Every frame of earlier review sets of a kind that was settled or dismissed, the newest set last."""
    rows = session.execute(
        text(
            """
            SELECT d.snapshot_id, r.model_version, v.head, d.raw_score, d.closed_label AS label,
                   d.state, d.closed_by, d.closed_at
            FROM disagreements d JOIN review_sets r ON r.id = d.review_set_id
            JOIN model_versions v ON v.model_version = r.model_version
            WHERE r.kind = :kind AND d.state <> 'open' ORDER BY d.id
            """
        ),
        {"kind": kind},
    )
    return [Closed(**row) for row in rows.mappings()]


def add_review_set(session: Session, rows: Iterable[Mapping[str, Any]], **facts: Any) -> ReviewSet:
    """Record a review set with its frames, numbered in the order given.

    Frames whose image retention has just removed are left out. The others' are locked, so that retention sees them.
    """
    made = ReviewSet(**facts)
    session.add(made)
    session.flush()
    assert made.id is not None
    listed = list(rows)
    locked = session.exec(
        select(WebcamSnapshot.id)
        .where(col(WebcamSnapshot.id).in_([row["snapshot_id"] for row in listed]))
        .where(col(WebcamSnapshot.image_state) == "present")
        .order_by(col(WebcamSnapshot.id))
        .with_for_update(key_share=True)
    ).all()
    there = set(locked)
    session.add_all(Disagreement(**row, review_set_id=made.id) for row in listed if row["snapshot_id"] in there)
    session.flush()
    return made


def control_frames(session: Session, version_name: str) -> list[int]:
    """The snapshots that the controls of a version's review sets drew, one for each time that it was drawn."""
    query = (
        select(Disagreement.snapshot_id)
        .join(ReviewSet, col(ReviewSet.id) == col(Disagreement.review_set_id))
        .where(col(ReviewSet.model_version) == version_name, col(Disagreement.reasons).contains(["control"]))
        .order_by(col(Disagreement.id))
    )
    return list(session.exec(query))


def get_disagreement(session: Session, disagreement_id: int) -> Disagreement:
    """The disagreement of this id, or NotFound."""
    found = session.get(Disagreement, disagreement_id)
    if found is None:
        raise NotFound(what="disagreement", key=disagreement_id)
    return found


def whole_disagreement(session: Session, disagreement_id: int) -> tuple[Disagreement, ReviewSet, WebcamSnapshot]:
    """A disagreement with its set and its snapshot, or NotFound."""
    found = get_disagreement(session, disagreement_id)
    return found, get_review_set(session, found.review_set_id), get_snapshot(session, found.snapshot_id)


def get_review_set(session: Session, review_set_id: int) -> ReviewSet:
    """The review set of this id, or NotFound."""
    found = session.get(ReviewSet, review_set_id)
    if found is None:
        raise NotFound(what="review set", key=review_set_id)
    return found


def list_review_sets(
    session: Session, *, kind: str | None = None, cursor: int | None = None, limit: int = 50
) -> Sequence[ReviewSet]:
    """Review sets, newest first, from beyond the row `cursor`."""
    query = select(ReviewSet)
    if kind is not None:
        query = query.where(col(ReviewSet.kind) == kind)
    return page_rows(session, query, col(ReviewSet.id), cursor=cursor, limit=limit, newest_first=True)


def list_disagreements(
    session: Session,
    *,
    state: str | None = None,
    reason: str | None = None,
    need: str | None = None,
    priority: int | None = None,
    model_version: str | None = None,
    webcam_id: int | None = None,
    review_set_id: int | None = None,
    cursor: int | None = None,
    limit: int = 50,
) -> Sequence[tuple[Disagreement, ReviewSet, WebcamSnapshot]]:
    """Disagreements with their sets and snapshots, newest first, from beyond `cursor`, narrowed by each filter given.

    `priority` is the largest number that is shown: what is more urgent has a smaller one.
    """
    query = (
        select(Disagreement, ReviewSet, WebcamSnapshot)
        .join(ReviewSet, col(ReviewSet.id) == col(Disagreement.review_set_id))
        .join(WebcamSnapshot, col(WebcamSnapshot.id) == col(Disagreement.snapshot_id))
    )
    if reason is not None:
        query = query.where(col(Disagreement.reasons).contains([reason]))
    if priority is not None:
        query = query.where(col(Disagreement.priority) <= priority)
    for column, value in (
        (Disagreement.state, state),
        (Disagreement.need, need),
        (Disagreement.review_set_id, review_set_id),
        (ReviewSet.model_version, model_version),
        (WebcamSnapshot.webcam_id, webcam_id),
    ):
        if value is not None:
            query = query.where(col(column) == value)
    if cursor is not None:
        query = query.where(col(Disagreement.id) < cursor)
    return session.exec(query.order_by(col(Disagreement.id).desc()).limit(limit)).all()


def triage(
    session: Session, disagreement_id: int, *, by: str, state: str | None = None, priority: int | None = None
) -> Disagreement:
    """Dismiss a disagreement or open a dismissed one again, and say how urgent it is. Repeating it changes nothing.

    What is said of a frame holds wherever it waits: in every review set of the same kind, for whichever version.

    Raises:
        NotFound: There is no such disagreement.
        Conflict: Somebody has settled it by a rating.
    """
    found = get_disagreement(session, disagreement_id)
    made = get_review_set(session, found.review_set_id)
    session.execute(text("SELECT 1 FROM webcam_snapshots WHERE id = :id FOR NO KEY UPDATE"), {"id": found.snapshot_id})
    session.refresh(found)
    if state is not None and found.state == "settled":
        raise Conflict(
            f"disagreement {disagreement_id} was settled by a rating of {found.closed_by}; take that rating back first, "
            "with DELETE /v1/snapshots/{snapshot_id}/ratings/{rater}, or leave it"
        )
    moment, label = database_time(session), label_now(session, found.snapshot_id)
    for each in _same_frame(session, found, made.kind):
        if priority is not None and each.state == "open":
            each.priority = priority
        if state is not None and each.state not in (state, "settled"):
            closes = state != "open"
            each.state, each.closed_by = state, by if closes else None
            each.closed_at, each.closed_label = (moment, label) if closes else (None, None)
    if priority is not None:
        found.priority = priority
    session.flush()
    return found


def _same_frame(session: Session, found: Disagreement, kind: str) -> Sequence[Disagreement]:
    return session.exec(
        select(Disagreement)
        .join(ReviewSet, col(ReviewSet.id) == col(Disagreement.review_set_id))
        .where(col(Disagreement.snapshot_id) == found.snapshot_id, col(ReviewSet.kind) == kind)
        .order_by(col(Disagreement.id))
    ).all()
