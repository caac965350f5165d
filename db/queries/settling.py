"""What a rating does to the review sets that its frame waits in."""

from __future__ import annotations

from sqlalchemy import text
from sqlmodel import Session

from db.queries import counting
from db.queries.counting import COUNTS, excluded_as_of

_EXCLUDED = f"""excluded AS ({excluded_as_of("'infinity'")})"""
_LABEL_NOW = counting.label_now(":id")


def label_now(session: Session, snapshot_id: int) -> float | None:
    """What people say of a snapshot: what the label queries give, ratings before a seed; None where nobody has."""
    label: float | None = session.execute(
        text(f"WITH {_EXCLUDED} SELECT {_LABEL_NOW}"), {"id": snapshot_id}
    ).scalar_one()
    return label


_ANSWERS = """
    snapshot_id = :id AND action = 'rate' AND (
        created_at > r.created_at OR d.closed_at < r.created_at AND created_at >= d.closed_at
    )
"""
"""The SQL condition that a rating event answers the disagreement `d` of the review set `r`; one that was settled before its
set was made was answered then.
"""


def settle(session: Session, snapshot_id: int, rater: str) -> None:
    """A rating that counts answers every review set that the frame waits in; where somebody did so before, the label after
    the answers is another one now.
    """
    session.execute(
        text(
            f"""
            WITH {_EXCLUDED}
            UPDATE disagreements SET state = 'settled', closed_label = {_LABEL_NOW},
                closed_by = coalesce(closed_by, :rater), closed_at = coalesce(closed_at, now())
            WHERE snapshot_id = :id AND state <> 'dismissed' AND EXISTS (
                SELECT 1 FROM webcam_snapshot_ratings
                WHERE snapshot_id = :id AND user_session_id = :rater AND {COUNTS}
            )
            """
        ),
        {"id": snapshot_id, "rater": rater},
    )


def open_again(session: Session, snapshot_id: int, rater: str) -> None:
    """What nobody answers any more, now that this rater's answer is taken back, waits again."""
    session.execute(
        text(
            f"""
            WITH {_EXCLUDED}, answered AS (
                SELECT d.id, (
                    SELECT user_session_id FROM webcam_snapshot_ratings
                    WHERE snapshot_id = :id AND user_session_id <> :rater AND {COUNTS} AND user_session_id IN (
                        SELECT user_session_id FROM rating_events WHERE {_ANSWERS}
                    ) ORDER BY user_session_id <> d.closed_by, id LIMIT 1
                ) AS other
                FROM disagreements d JOIN review_sets r ON r.id = d.review_set_id
                WHERE d.snapshot_id = :id AND d.state = 'settled' AND EXISTS (
                    SELECT 1 FROM rating_events WHERE user_session_id = :rater AND {_ANSWERS}
                )
            )
            UPDATE disagreements d SET closed_by = other,
                state = CASE WHEN other IS NULL THEN 'open' ELSE 'settled' END,
                closed_at = CASE WHEN other IS NOT NULL THEN closed_at END,
                closed_label = CASE WHEN other IS NOT NULL THEN {_LABEL_NOW} END
            FROM answered WHERE answered.id = d.id
            """
        ),
        {"id": snapshot_id, "rater": rater},
    )
