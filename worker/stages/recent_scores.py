"""What the version that serves did of late, beside what it did before: drift of its scores, and coverage."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
from sqlmodel import Session

from db.queries.scored_windows import attempts_between, scores_between
from db.queries.webcams import database_time
from db.tables import ModelVersion
from ml.coverage import coverage
from ml.drift import Frames, score_drift

CURRENT, REFERENCE = timedelta(days=7), timedelta(days=28)
"""The last week, beside the four weeks before it."""


def recent_scores(session: Session, active: ModelVersion) -> dict[str, Any]:
    """`windows` (three moments, ISO 8601), `score_drift` of the version, and `coverage` of its kind."""
    now = database_time(session)
    middle, start = now - CURRENT, now - CURRENT - REFERENCE
    before, late = (
        _frames(scores_between(session, active.model_version, *window)) for window in ((start, middle), (middle, now))
    )
    return {
        "windows": [each.isoformat() for each in (start, middle, now)],
        "score_drift": score_drift(before, late),
        "coverage": coverage(
            attempts_between(session, active.kind, middle, now), attempts_between(session, active.kind, start, middle)
        ),
    }


def _frames(rows: Any) -> Frames:
    return Frames(
        np.array([row[2] for row in rows], dtype=np.float64),
        np.array([row[0] for row in rows], dtype=np.int64),
        [row[1] for row in rows],
    )
