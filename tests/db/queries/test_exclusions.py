"""Exclusions: labels of a rater or an import stop counting, from then on and not before, and nothing is deleted."""

from __future__ import annotations

import random
import threading
from datetime import datetime

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, col, select

from db.engine import session_scope
from db.errors import Conflict, NotFound
from db.queries import exclusions, labels, webcams
from db.queries.exclusions import Subject
from db.tables import RatingEvent, WebcamSnapshot, WebcamSnapshotRating
from tests.builders import make_snapshot


def _rate(
    session: Session, snapshot: WebcamSnapshot, rater: str, rating: int | None, import_id: int | None = None
) -> None:
    labels.rate_snapshot(
        session,
        snapshot_id=snapshot.id,  # type: ignore[arg-type]
        rater=rater,
        rating=rating,
        is_sunset=rating is not None,
        label_source="test",
        import_id=import_id,
    )


def _import(session: Session) -> int:
    return exclusions.begin_import(session, file_name="labels.csv", file_sha256="0" * 64, by="test")


def _now(session: Session) -> datetime:
    moment: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    return moment


def _mean(snapshot: WebcamSnapshot) -> tuple[float | None, int]:
    with session_scope() as session:
        fresh = webcams.get_snapshot(session, snapshot.id)  # type: ignore[arg-type]
        return fresh.calculated_rating, fresh.rating_count


def _labels(session: Session, moment: datetime) -> dict[int, float | None]:
    return {row.snapshot_id: row.label_value for row in labels.LABEL_QUERIES["calculated_rating"](session, moment)}


def test_an_excluded_raters_votes_do_not_count_and_stay_in_the_record(database: str) -> None:
    with session_scope() as session:
        shared, alone = make_snapshot(session), make_snapshot(session)
        for snapshot, rater, rating in ((shared, "vandal", 1), (shared, "fair", 5), (alone, "vandal", 1)):
            _rate(session, snapshot, rater, rating)
    assert (_mean(shared), _mean(alone)) == ((3.0, 2), (1.0, 1))
    with session_scope() as session:
        exclusions.exclude(session, Subject(rater="vandal"), reason="rates all 1", by="test")
    assert (_mean(shared), _mean(alone)) == ((5.0, 1), (None, 0))
    with session_scope() as session:
        found = _labels(session, _now(session))
        assert (found[shared.id], alone.id in found) == (5.0, False)  # type: ignore[index]
        raters = {one.user_session_id for one in labels.raw_ratings(session, _now(session))}
        assert raters & {"vandal", "fair"} == {"fair"}
        assert len(labels.list_ratings(session, shared.id)) == 2  # type: ignore[arg-type]
        events = session.exec(select(RatingEvent).where(col(RatingEvent.user_session_id) == "vandal")).all()
        assert len(events) == 2


def test_what_an_excluded_rater_says_later_does_not_count_either(database: str) -> None:
    with session_scope() as session:
        first, second = make_snapshot(session), make_snapshot(session)
        _rate(session, first, "late vandal", 1)
        exclusions.exclude(session, Subject(rater="late vandal"), reason="a bot", by="test")
        _rate(session, second, "late vandal", 1)
        _rate(session, second, "fair", 4)
    assert (_mean(first), _mean(second)) == ((None, 0), (4.0, 1))


def test_lifting_brings_everything_back_and_all_events_stay(database: str) -> None:
    subject = Subject(rater="pardoned")
    with session_scope() as session:
        snapshot = make_snapshot(session)
        _rate(session, snapshot, "pardoned", 2)
    with session_scope() as session:
        exclusions.exclude(session, subject, reason="a suspicion", by="test")
    assert _mean(snapshot) == (None, 0)
    with session_scope() as session:
        exclusions.lift(session, subject, reason="it was wrong", by="test")
    assert _mean(snapshot) == (2.0, 1)
    with session_scope() as session:
        assert subject not in exclusions.excluded_now(session)
        events = [each for each in exclusions.list_exclusions(session) if each.rater == "pardoned"]
        assert [(each.action, each.reason) for each in events] == [("lift", "it was wrong"), ("exclude", "a suspicion")]


def test_labels_as_of_a_time_follow_the_exclusions_of_that_time(database: str) -> None:
    moments, before = [], []
    subject = Subject(rater="comes and goes")

    def look() -> None:
        with session_scope() as session:
            moments.append(_now(session))
            before.append((_labels(session, moments[-1]), labels.raw_ratings(session, moments[-1])))

    with session_scope() as session:
        snapshot = make_snapshot(session)
        _rate(session, snapshot, "comes and goes", 2)
    look()
    with session_scope() as session:
        exclusions.exclude(session, subject, reason="x", by="test")
    look()
    with session_scope() as session:
        exclusions.lift(session, subject, reason="x", by="test")
    look()
    assert [snapshot.id in found for found, _ in before] == [True, False, True]
    with session_scope() as session:
        exclusions.exclude(session, subject, reason="x", by="test")
        assert [(_labels(session, each), labels.raw_ratings(session, each)) for each in moments] == before


def test_an_excluded_imports_ratings_and_seeds_do_not_count_and_others_on_its_snapshots_do(database: str) -> None:
    with session_scope() as session:
        wrong = _import(session)
        seeded = make_snapshot(session, initial_rating=3.0, import_id=wrong)
        rated = make_snapshot(session, import_id=wrong)
        _rate(session, rated, "ann", 1, wrong)
        _rate(session, rated, "bob", 5)
        corrected = make_snapshot(session, import_id=wrong)
        _rate(session, corrected, "ann", 1, wrong)
        _rate(session, corrected, "ann", 4)  # over HTTP, in place of what the import said
    assert _mean(rated) == (3.0, 2)
    with session_scope() as session:
        exclusions.exclude(session, Subject(import_id=wrong), reason="columns were swapped", by="test")
    assert (_mean(rated), _mean(corrected)) == ((5.0, 1), (4.0, 1))
    with session_scope() as session:
        found = _labels(session, _now(session))
        assert (found[rated.id], found[corrected.id]) == (5.0, 4.0)  # type: ignore[index]
        seeds = {row.snapshot_id for row in labels.LABEL_QUERIES["manual_seed"](session, _now(session))}
        assert seeded.id not in seeds


@pytest.mark.parametrize("subject", [Subject(rater="nobody at all"), Subject(import_id=999_999)])
def test_who_never_gave_a_label_cannot_be_excluded(session: Session, subject: Subject) -> None:
    with pytest.raises(NotFound, match=r"nobody at all|no import 999999"):
        exclusions.exclude(session, subject, reason="x", by="test")


def test_excluding_twice_and_lifting_what_is_not_excluded_are_refused(database: str) -> None:
    with session_scope() as session:
        _rate(session, make_snapshot(session), "twice", 3)
        exclusions.exclude(session, Subject(rater="twice"), reason="x", by="test")
    with session_scope() as session, pytest.raises(Conflict, match="rater twice is excluded already"):
        exclusions.exclude(session, Subject(rater="twice"), reason="x", by="test")
    with session_scope() as session, pytest.raises(Conflict, match="nothing to lift"):
        exclusions.lift(session, Subject(rater="fine"), reason="x", by="test")


def test_a_rating_that_is_under_way_is_not_missed_by_an_exclusion(database: str) -> None:
    with session_scope() as session:
        snapshot, other = make_snapshot(session), make_snapshot(session)
        _rate(session, other, "racer", 1)

    def exclude() -> None:
        with session_scope() as session:
            exclusions.exclude(session, Subject(rater="racer"), reason="x", by="test")

    thread = threading.Thread(target=exclude)
    with session_scope() as session:
        _rate(session, snapshot, "racer", 1)
        thread.start()
        thread.join(0.3)  # it waits for this transaction, or would not see its rating
    thread.join(30)
    assert (_mean(snapshot), _mean(other)) == ((None, 0), (None, 0))


def test_means_and_label_queries_agree_whatever_was_excluded(database: str) -> None:
    rng = random.Random(7)
    raters = [f"any {number}" for number in range(4)]
    with session_scope() as session:
        imports = [_import(session) for _ in range(2)]
        snapshots = [make_snapshot(session) for _ in range(12)]
        for snapshot in snapshots:
            for rater in rng.sample(raters, rng.randint(1, 4)):
                _rate(session, snapshot, rater, rng.randint(1, 5), rng.choice([None, *imports]))
        for rater in raters:
            _rate(session, snapshots[0], rater, 3)
    subjects = [Subject(rater=each) for each in raters] + [Subject(import_id=each) for each in imports]
    for _ in range(12):
        subject = rng.choice(subjects)
        with session_scope() as session:
            act = exclusions.lift if subject in exclusions.excluded_now(session) else exclusions.exclude
            act(session, subject, reason="x", by="test")
            _rate(session, rng.choice(snapshots), rng.choice(raters), rng.randint(1, 5), rng.choice([None, *imports]))
        with session_scope() as session:
            found = _labels(session, _now(session))
        for snapshot in snapshots:
            assert _mean(snapshot)[0] == found.get(snapshot.id)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE label_imports SET file_sha256 = repeat('1', 64)", "kept as it was recorded"),
        ("UPDATE label_imports SET finished_at = now()", "finished_has_counts"),
        ("DELETE FROM label_imports", "append-only"),
        ("TRUNCATE label_imports CASCADE", "append-only"),
    ],
)
def test_an_import_stays_as_it_was_recorded(database: str, change: str, words: str) -> None:
    with session_scope() as session:
        _import(session)
    with pytest.raises(DBAPIError, match=words), session_scope() as session:
        session.execute(text(change))


def test_an_import_ends_once(database: str) -> None:
    with session_scope() as session:
        import_id = _import(session)
    with session_scope() as session:
        exclusions.end_import(session, import_id, {"rows": 3})
    with session_scope() as session:
        row = exclusions.get_import(session, import_id)
        assert (row.counts, row.finished_at is not None) == ({"rows": 3}, True)
    with pytest.raises(DBAPIError, match="kept as it was recorded"), session_scope() as session:
        exclusions.end_import(session, import_id, {"rows": 4})


def test_a_rating_names_its_import_until_the_rater_says_it_anew(database: str) -> None:
    with session_scope() as session:
        import_id, snapshot = _import(session), make_snapshot(session)
        _rate(session, snapshot, "ann", 2, import_id)
    for again in (import_id, None):
        with session_scope() as session:
            row = session.exec(
                select(WebcamSnapshotRating).where(col(WebcamSnapshotRating.snapshot_id) == snapshot.id)
            ).one()
            assert row.import_id == again
            _rate(session, snapshot, "ann", 3)
