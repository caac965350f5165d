"""Rating a snapshot, and labels as they stood at a time."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import text
from sqlmodel import Session, col, select

from db.engine import session_scope
from db.errors import Conflict, NotFound
from db.queries import labels, webcams
from db.tables import RatingEvent, WebcamSnapshot
from ml.judgements.rating_labels import label_from_votes
from tests.builders import make_snapshot


def _rate(session: Session, snapshot: WebcamSnapshot, rater: str, rating: int | None) -> None:
    labels.rate_snapshot(
        session,
        snapshot_id=snapshot.id,  # type: ignore[arg-type]
        rater=rater,
        rating=rating,
        is_sunset=rating is not None,
        label_source="test",
    )


def _label(session: Session, snapshot: WebcamSnapshot, source: str = "calculated_rating") -> labels.LabelRow:
    now = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    return next(row for row in labels.LABEL_QUERIES[source](session, now) if row.snapshot_id == snapshot.id)


def test_the_mean_is_of_the_ratings_that_are_not_null(session: Session) -> None:
    snapshot = make_snapshot(session, initial_rating=1.0)
    for rater, rating in (("a", 4), ("b", 5), ("c", None)):
        _rate(session, snapshot, rater, rating)
    fresh = webcams.get_snapshot(session, snapshot.id)  # type: ignore[arg-type]
    assert (fresh.calculated_rating, fresh.rating_count) == (4.5, 2)
    row = _label(session, snapshot)
    assert (row.label_value, row.rating_count, row.num_verdicts) == (4.5, 2, 3)


@pytest.mark.parametrize("ratings", [[5, None], [5, None, None], [None]])
def test_most_verdicts_or_a_tie_saying_not_a_sunset_make_the_label_zero(
    session: Session, ratings: list[int | None]
) -> None:
    snapshot = make_snapshot(session)
    for number, rating in enumerate(ratings):
        _rate(session, snapshot, f"r{number}", rating)
    assert _label(session, snapshot).label_value == 0


def test_rating_again_replaces_the_verdict_and_keeps_both_events(session: Session) -> None:
    snapshot = make_snapshot(session)
    _rate(session, snapshot, "a", 2)
    _rate(session, snapshot, "a", 4)
    assert [r.rating for r in labels.list_ratings(session, snapshot.id)] == [4]  # type: ignore[arg-type]
    events = session.exec(select(RatingEvent).where(col(RatingEvent.snapshot_id) == snapshot.id)).all()
    assert [event.rating for event in events] == [2, 4]


def test_retracting_is_a_new_event_and_brings_the_rating_back_to_none(session: Session) -> None:
    snapshot = make_snapshot(session)
    _rate(session, snapshot, "a", 2)
    assert labels.retract_rating(session, snapshot_id=snapshot.id, rater="a")  # type: ignore[arg-type]
    assert not labels.retract_rating(session, snapshot_id=snapshot.id, rater="a")  # type: ignore[arg-type]
    fresh = webcams.get_snapshot(session, snapshot.id)  # type: ignore[arg-type]
    assert (fresh.calculated_rating, fresh.rating_count) == (None, 0)


def test_labels_as_of_a_time_do_not_know_what_came_later(database: str) -> None:
    with session_scope() as session:
        snapshot = make_snapshot(session)
        _rate(session, snapshot, "a", 2)
    with session_scope() as session:
        moment = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    with session_scope() as session:
        _rate(session, snapshot, "a", 5)
        _rate(session, snapshot, "b", 5)
    with session_scope() as session:
        then = [r for r in labels.LABEL_QUERIES["calculated_rating"](session, moment) if r.snapshot_id == snapshot.id]
        raw = [r for r in labels.raw_ratings(session, moment) if r.snapshot_id == snapshot.id]
        now = _label(session, snapshot)
    assert [(row.label_value, row.num_verdicts) for row in then] == [(2.0, 1)]
    assert [(one.user_session_id, one.rating) for one in raw] == [("a", 2)]
    assert now.label_value == 5.0


def test_a_seed_is_a_label_source_of_its_own(session: Session) -> None:
    snapshot = make_snapshot(session, initial_rating=3.5)
    row = _label(session, snapshot, "manual_seed")
    assert (row.label_value, row.num_verdicts) == (3.5, 0)


def test_a_sunset_without_a_rating_is_refused(session: Session) -> None:
    snapshot = make_snapshot(session)
    with pytest.raises(Conflict, match="1 to 5"):
        labels.rate_snapshot(
            session, snapshot_id=snapshot.id, rater="a", rating=None, is_sunset=True, label_source="t"  # type: ignore[arg-type]
        )  # fmt: skip


def test_an_unknown_snapshot_is_named(session: Session) -> None:
    with pytest.raises(NotFound, match="no snapshot 999999"):
        labels.rate_snapshot(session, snapshot_id=999999, rater="a", rating=3, is_sunset=True, label_source="t")


def test_a_rating_that_is_not_committed_yet_never_slips_into_the_past(database: str) -> None:
    with session_scope() as session:
        snapshot = make_snapshot(session)
    with session_scope() as late:
        _rate(late, snapshot, "late", 5)
        with session_scope() as session:
            moment = labels.settled_time(session)
            before = labels.LABEL_QUERIES["calculated_rating"](session, moment)
    with session_scope() as session:
        assert labels.LABEL_QUERIES["calculated_rating"](session, moment) == before
        assert labels.settled_time(session) > moment
        assert _label(session, snapshot).label_value == 5


def test_the_query_means_what_the_judgement_says(session: Session) -> None:
    rng = random.Random(4)
    votes = {
        make_snapshot(session).id: [rng.choice([1, 2, 3, 4, 5, None, None]) for _ in range(rng.randint(1, 7))]
        for _ in range(60)
    }
    for snapshot_id, given in votes.items():
        for number, rating in enumerate(given):
            labels.rate_snapshot(session, snapshot_id=snapshot_id, rater=f"r{number}", rating=rating,
                                 is_sunset=rating is not None, label_source="test")  # type: ignore[arg-type]  # fmt: skip
    now = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    rows = {row.snapshot_id: row for row in labels.LABEL_QUERIES["calculated_rating"](session, now)}
    for snapshot_id, given in votes.items():
        value, count, _ = label_from_votes(given)
        assert (rows[snapshot_id].label_value, rows[snapshot_id].rating_count) == (value, count), given
