"""Queries on raters: what each did and when, and every verdict with whether it counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlmodel import Session

from db.queries.counting import COUNTS, excluded_as_of

PAUSE_S = 300.0
"""A longer gap between two ratings of a rater is a pause, and no matter of pace."""
MIN_GAPS = 5
"""Fewest gaps before a pace is named."""


@dataclass(frozen=True)
class RaterActivity:
    """What one rater did. Ratings that were taken back are not counted, but their times are."""

    id: int
    """Of the first rating event: raters are listed in this order."""
    rater: str
    num_ratings: int
    """Snapshots with a current verdict of this rater."""
    num_not_sunset: int
    first_at: datetime
    last_at: datetime
    """The time of an import for what it brought in."""
    per_minute: float | None
    """Ratings in a minute of work, by the median gap; None where they were imported or are few."""


@dataclass(frozen=True)
class CurrentVerdict:
    """One rater's current verdict on one snapshot."""

    snapshot_id: int
    rater: str
    rating: int | None
    counts: bool
    """Neither its rater nor its import is excluded."""


def list_raters(session: Session) -> list[RaterActivity]:
    """Everybody who ever rated, in order of their first rating event."""
    rows = session.execute(
        text(
            """
            WITH events AS (
                SELECT id, user_session_id, created_at, CASE WHEN import_id IS NULL AND action = 'rate' THEN
                    extract(epoch FROM created_at - lag(created_at) OVER (PARTITION BY user_session_id ORDER BY id))
                END AS gap_s FROM rating_events
            ), acts AS (
                SELECT user_session_id, min(id) AS id, min(created_at) AS first_at, max(created_at) AS last_at,
                       count(*) FILTER (WHERE gap_s > 0 AND gap_s <= :pause_s) AS num_gaps,
                       percentile_cont(0.5) WITHIN GROUP (ORDER BY gap_s) FILTER (WHERE gap_s > 0 AND gap_s <= :pause_s)
                           AS gap_s
                FROM events GROUP BY user_session_id
            ), verdicts AS (
                SELECT user_session_id, count(*) AS num, count(*) FILTER (WHERE NOT is_sunset_verdict) AS num_not_sunset
                FROM webcam_snapshot_ratings GROUP BY user_session_id
            )
            SELECT a.id, user_session_id AS rater, coalesce(v.num, 0) AS num_ratings,
                   coalesce(v.num_not_sunset, 0) AS num_not_sunset, a.first_at, a.last_at,
                   CASE WHEN a.num_gaps >= :min_gaps THEN 60 / a.gap_s END::float8 AS per_minute
            FROM acts a LEFT JOIN verdicts v USING (user_session_id) ORDER BY a.id
            """
        ),
        {"pause_s": PAUSE_S, "min_gaps": MIN_GAPS},
    )
    return [RaterActivity(**row) for row in rows.mappings()]


def current_verdicts(session: Session) -> list[CurrentVerdict]:
    """Every rater's current verdict on every snapshot, in order of snapshot and rater."""
    rows = session.execute(
        text(
            f"""
            WITH excluded AS ({excluded_as_of("'infinity'")})
            SELECT snapshot_id, user_session_id AS rater, rating, ({COUNTS}) AS counts
            FROM webcam_snapshot_ratings ORDER BY snapshot_id, user_session_id
            """
        )
    )
    return [CurrentVerdict(**row) for row in rows.mappings()]
