"""Queries on what was scored, and which frames were kept, in a window of time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

MAX_SCORES = 20_000
"""Scores of one window that are compared: of more, a sample that is the same for the same rows."""
MAX_FRAMES = 1000
"""Frames of one window, likewise: each image is read once."""
LOCAL_DAY = "to_char({moment} AT TIME ZONE 'UTC' + coalesce(webcam.lng, 0) / 15 * interval '1 hour', 'YYYY-MM-DD')"
"""The SQL of `ml.splits.local_day`: by UTC an evening in America would be two days, and blocks that depend."""


def attempts_between(
    session: Session, kind: str, since: datetime, until: datetime
) -> dict[tuple[int | None, str], int]:
    """(webcam, outcome) -> attempts to score, from `since` to before `until`; the outcome is the path, or why there is none.

    Of a reason only the part before its first colon: what follows names one picture or moment.
    """
    rows = session.execute(
        text(
            """
            SELECT webcam_id, count(*) AS number,
              CASE path_taken WHEN 'unscored' THEN 'unscored: ' || split_part(reason, ':', 1) ELSE path_taken END AS outcome
            FROM scoring_events WHERE kind = :kind AND scored_at >= :since AND scored_at < :until GROUP BY webcam_id, outcome
            """
        ),
        {"kind": kind, "since": since, "until": until},
    )
    return {(row.webcam_id, row.outcome): row.number for row in rows}


def scores_between(session: Session, model_version: str, since: datetime, until: datetime) -> Sequence[Any]:
    """(webcam, local day, raw score) of new frames that a version scored, from `since` to before `until`; at most MAX_SCORES."""
    day = LOCAL_DAY.format(moment="event.scored_at")
    return session.execute(
        text(
            f"""
            SELECT event.webcam_id, {day}, event.raw_score
            FROM scoring_events AS event JOIN webcams AS webcam ON webcam.id = event.webcam_id
            WHERE event.model_version = :version AND event.path_taken = 'onnx'
              AND event.scored_at >= :since AND event.scored_at < :until
            ORDER BY md5(event.id::text) LIMIT :most
            """
        ),
        {"version": model_version, "since": since, "until": until, "most": MAX_SCORES},
    ).all()


def frames_between(session: Session, since: datetime, until: datetime) -> Sequence[Any]:
    """(snapshot, webcam, local day, image sha256) of frames with an image, captured from `since` to before `until`; at most
    MAX_FRAMES.
    """
    day = LOCAL_DAY.format(moment="snapshot.captured_at")
    return session.execute(
        text(
            f"""
            SELECT snapshot.id, snapshot.webcam_id, {day}, snapshot.image_sha256
            FROM webcam_snapshots AS snapshot JOIN webcams AS webcam ON webcam.id = snapshot.webcam_id
            WHERE snapshot.image_state = 'present'
              AND snapshot.captured_at >= :since AND snapshot.captured_at < :until
            ORDER BY md5(snapshot.id::text) LIMIT :most
            """
        ),
        {"since": since, "until": until, "most": MAX_FRAMES},
    ).all()
