"""What was scored in a window of time."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from sqlmodel import Session

from db.queries.scored_windows import attempts_between, scores_between
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


def test_reasons_are_counted_without_what_names_one_picture_or_moment(session: Session) -> None:
    webcam = make_webcam(session)
    for number, (path, reason) in enumerate(
        [
            ("onnx", None), ("unscored", "backoff: failed 1 times, the last time with timeout; asked again from 10:00 on"),
            ("unscored", "backoff: failed 2 times, the last time with timeout; asked again from 10:20 on"),
            ("unscored", "no active model: train and promote one first"),
        ]
    ):  # fmt: skip
        moment = NOON + timedelta(minutes=number)
        session.add(ScoringEvent(kind="counted", webcam_id=webcam.id, scored_at=moment, path_taken=path, reason=reason,
                                 raw_score=0.5 if path == "onnx" else None,
                                 model_version="v" if path == "onnx" else None))  # fmt: skip
    session.flush()
    assert attempts_between(session, "counted", NOON, NOON + timedelta(hours=1)) == {
        (webcam.id, "onnx"): 1, (webcam.id, "unscored: backoff"): 2, (webcam.id, "unscored: no active model"): 1,
    }  # fmt: skip
