"""Queries on webcams as people look through them: each with its newest frame and the last attempt to score it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlmodel import Session

from db.queries.counting import excluded_as_of, label_now


@dataclass(frozen=True)
class Sight:
    """A webcam, the newest frame of it that is kept and whose picture is there, and the last attempt to score it."""

    id: int
    title: str | None
    external_id: str
    city: str | None
    region: str | None
    country: str | None
    ai_rating: float | None
    """The last score of the webcam; the frame that had it need not be the kept one."""
    ai_model_version: str | None
    snapshot_id: int | None
    phase: str | None
    captured_at: datetime | None
    snapshot_rating: float | None
    """What a model said of the kept frame."""
    label: float | None
    """What people say of it, as a dataset would have it: 0 is no sunset; null where nobody has judged it."""
    unscored_reason: str | None
    """Why the last attempt gave no score; null where it gave one, or there was none."""
    scored_at: datetime | None
    """When that was."""


VERDICTS = ("good", "not-good", "none")
"""What people said of the newest frame: good, not good or not a sunset, or nothing yet."""


def list_sights(
    session: Session,
    *,
    region: str | None = None,
    phase: str | None = None,
    verdict: str | None = None,
    good_from: float = 4.0,
    unscored: bool = False,
    cursor: int | None = None,
    limit: int = 50,
) -> list[Sight]:
    """Webcams in order of id, from beyond `cursor`, narrowed by each filter that is given.

    Args:
        session: of the database.
        region: a region or a country.
        phase: of the newest frame.
        verdict: one of `VERDICTS`.
        good_from: the label from which on a frame is good.
        unscored: only those whose last attempt gave no score.
        cursor: the webcam before the first one.
        limit: how many at most.
    """
    rows = session.execute(
        text(
            f"""
            WITH excluded AS ({excluded_as_of("'infinity'")})
            SELECT w.id, w.title, w.external_id, w.city, w.region, w.country, w.ai_rating, w.ai_model_version,
                   s.id AS snapshot_id, s.phase, s.captured_at, s.ai_rating AS snapshot_rating,
                   s.label,
                   CASE e.path_taken WHEN 'unscored' THEN e.reason END AS unscored_reason, e.scored_at
            FROM webcams w
            LEFT JOIN LATERAL (
                SELECT *, {label_now("one.id")} AS label
                FROM webcam_snapshots one WHERE one.webcam_id = w.id AND one.image_state = 'present'
                ORDER BY one.captured_at DESC LIMIT 1) s ON true
            LEFT JOIN LATERAL (
                SELECT path_taken, reason, scored_at FROM scoring_events one WHERE one.webcam_id = w.id
                ORDER BY one.scored_at DESC, one.id DESC LIMIT 1) e ON true
            WHERE (CAST(:region AS text) IS NULL OR :region IN (w.region, w.country))
              AND (CAST(:phase AS text) IS NULL OR s.phase = :phase)
              AND (NOT :unscored OR e.path_taken = 'unscored')
              AND CASE CAST(:verdict AS text)
                  WHEN 'good' THEN s.label >= :good_from
                  WHEN 'not-good' THEN s.label < :good_from
                  WHEN 'none' THEN s.label IS NULL
                  ELSE true END
              AND (CAST(:cursor AS bigint) IS NULL OR w.id > :cursor)
            ORDER BY w.id LIMIT :limit
            """
        ),
        {"region": region, "phase": phase, "verdict": verdict, "good_from": good_from, "unscored": unscored,
         "cursor": cursor, "limit": limit},
    )  # fmt: skip
    return [Sight(**row) for row in rows.mappings()]


def regions(session: Session) -> list[str]:
    """Every region and country that a webcam has, in order."""
    rows = session.execute(
        text(
            "SELECT region AS name FROM webcams WHERE region IS NOT NULL "
            "UNION SELECT country FROM webcams WHERE country IS NOT NULL ORDER BY name"
        )
    )
    return [row.name for row in rows]
