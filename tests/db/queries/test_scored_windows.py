"""What was scored in a window of time."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from sqlmodel import Session

from db.queries.scored_windows import scores_between
from db.tables import ScoringEvent
from ml.splits import local_day
from tests.builders import NOON, make_webcam

MIDNIGHT = NOON.replace(hour=0)


@pytest.mark.parametrize("lng", [-122.4, 151.2, 180.0, -180.0, 0.0, None])
def test_an_evening_is_one_day_wherever_the_webcam_is_though_midnight_in_utc_falls_within_it(
    session: Session, lng: float | None
) -> None:
    webcam, version = make_webcam(session, lng=lng), f"version at {lng}"
    moments = [MIDNIGHT + timedelta(days=day, hours=hour) for day in range(3) for hour in range(-2, 3)]
    for moment in moments:
        session.add(
            ScoringEvent(
                kind="rating", webcam_id=webcam.id, scored_at=moment, model_version=version, path_taken="onnx",
                raw_score=0.5,
            )
        )  # fmt: skip
    session.flush()
    rows = scores_between(session, version, MIDNIGHT - timedelta(days=1), MIDNIGHT + timedelta(days=4))
    assert Counter(day for _, day, _ in rows) == Counter(local_day(moment, lng) for moment in moments)
    assert {camera for camera, *_ in rows} == {webcam.id}
    assert len({day for _, day, _ in rows}) == (4 if not lng else 3)
