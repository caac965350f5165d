"""Queries on what waits in review sets for somebody's answer, and on what was answered since the last training."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlmodel import Session

from db.queries import models


@dataclass(frozen=True)
class Backlog:
    """What people have answered since the data of the active version, and what waits."""

    kind: str
    model_version: str | None
    """The active version; None where none is."""
    dataset_id: int | None
    """Which it was trained on; None where that is not known."""
    as_of: datetime | None
    """Labels later than this are new to it; None: all are."""
    settled: int
    """Frames that somebody settled since then: what a training now would have and that version had not."""
    open: int
    """Frames that wait for an answer."""


@dataclass(frozen=True)
class OpenFrame:
    """A frame that waits for somebody's answer."""

    disagreement_id: int
    snapshot_id: int
    need: str


def backlog(session: Session, kind: str) -> Backlog:
    """What a training now would have that the active version of a kind had not, and what waits for an answer."""
    active = models.active_version(session, kind)
    run = models.get_run(session, active.training_run_id) if active is not None else None
    dataset = models.get_dataset(session, run.dataset_id) if run is not None and run.dataset_id is not None else None
    as_of = dataset.as_of if dataset is not None else None
    row = session.execute(
        text(
            """
            SELECT count(DISTINCT d.snapshot_id) FILTER (WHERE d.state = 'open') AS waiting,
                   count(DISTINCT d.snapshot_id) FILTER (
                       WHERE d.state = 'settled' AND (CAST(:as_of AS timestamptz) IS NULL OR d.closed_at > :as_of)
                   ) AS settled
            FROM disagreements d JOIN review_sets r ON r.id = d.review_set_id WHERE r.kind = :kind
            """
        ),
        {"kind": kind, "as_of": as_of},
    ).one()
    return Backlog(
        kind, active.model_version if active else None, dataset.id if dataset else None, as_of, row.settled, row.waiting
    )


def open_frames(session: Session, kind: str, *, rater: str | None = None, limit: int) -> list[OpenFrame]:
    """Frames that wait for an answer, each once: the most urgent first, then those of the newest set, in its own order.

    With `rater`, without those that only somebody else can answer: one more rating is no second one by the same person.
    """
    rows = session.execute(
        text(
            """
            SELECT id AS disagreement_id, snapshot_id, need FROM (
                SELECT DISTINCT ON (d.snapshot_id) d.id, d.snapshot_id, d.need, d.priority, d.review_set_id
                FROM disagreements d JOIN review_sets r ON r.id = d.review_set_id
                JOIN webcam_snapshots s ON s.id = d.snapshot_id
                WHERE d.state = 'open' AND r.kind = :kind AND s.image_state = 'present'
                  AND (CAST(:rater AS text) IS NULL OR d.need = 'audit' OR NOT EXISTS (
                      SELECT 1 FROM webcam_snapshot_ratings v
                      WHERE v.snapshot_id = d.snapshot_id AND v.user_session_id = :rater
                  ))
                ORDER BY d.snapshot_id, d.priority, d.id DESC
            ) each_once ORDER BY priority, review_set_id DESC, id LIMIT :limit
            """
        ),
        {"kind": kind, "rater": rater, "limit": limit},
    )
    return [OpenFrame(**row) for row in rows.mappings()]
