"""What a rating does to the review sets that its frame waits in."""

from __future__ import annotations

from sqlalchemy import text
from sqlmodel import Session

from db.queries.counting import COUNTS, excluded_as_of, import_counts

_EXCLUDED = f"""excluded AS ({excluded_as_of("'infinity'")})"""
_LABEL_NOW = f"""(
    SELECT CASE
        WHEN count(*) = 0 THEN (
            SELECT initial_rating FROM webcam_snapshots WHERE id = :id AND {import_counts("import_id")}
        )
        WHEN 2 * count(*) FILTER (WHERE NOT is_sunset_verdict) >= count(*) THEN 0
        ELSE round(avg(rating), 2)
    END::float8 FROM webcam_snapshot_ratings WHERE snapshot_id = :id AND {COUNTS}
)"""
"""The SQL of what people say of the snapshot `:id` now, as the label queries have it; null where nobody has judged it."""


def label_now(session: Session, snapshot_id: int) -> float | None:
    """What people say of a snapshot: what the label queries give, ratings before a seed; None where nobody has."""
    label: float | None = session.execute(
        text(f"WITH {_EXCLUDED} SELECT {_LABEL_NOW}"), {"id": snapshot_id}
    ).scalar_one()
    return label


def settle(session: Session, snapshot_id: int, rater: str) -> None:
    """A rating that counts answers every review set that the frame waits in."""
    session.execute(
        text(
            f"""
            WITH {_EXCLUDED}
            UPDATE disagreements SET state = 'settled', closed_by = :rater, closed_at = now(), closed_label = {_LABEL_NOW}
            WHERE snapshot_id = :id AND state = 'open' AND EXISTS (
                SELECT 1 FROM webcam_snapshot_ratings
                WHERE snapshot_id = :id AND user_session_id = :rater AND {COUNTS}
            )
            """
        ),
        {"id": snapshot_id, "rater": rater},
    )


def open_again(session: Session, snapshot_id: int, rater: str) -> None:
    """What only the rating that is taken back had settled waits again."""
    session.execute(
        text(
            """
            UPDATE disagreements d SET state = 'open', closed_by = NULL, closed_at = NULL, closed_label = NULL
            FROM review_sets r
            WHERE r.id = d.review_set_id AND d.snapshot_id = :id AND d.state = 'settled' AND d.closed_by = :rater
              AND NOT EXISTS (
                SELECT 1 FROM rating_events e WHERE e.snapshot_id = :id AND e.user_session_id <> :rater
                AND e.action = 'rate' AND e.created_at > r.created_at
            )
            """
        ),
        {"id": snapshot_id, "rater": rater},
    )
