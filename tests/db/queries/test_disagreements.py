"""Review sets in the database: what settles a disagreement, what waits, and what is new since the last training."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from db.engine import session_scope
from db.errors import Conflict, NotFound
from db.queries import disagreements, exclusions, labels, models, retention, scoring, webcams
from db.queries.backlog import backlog, open_frames
from db.queries.exclusions import Subject
from db.queries.settling import label_now
from db.tables import Disagreement, ReviewSet, WebcamSnapshot
from db.tables import disagreements as tables
from ml import disagreements as choosing
from tests.builders import NOON, make_snapshot, make_version


def add_set(session: Session, snapshots: list[WebcamSnapshot], *, kind: str = "rating", **facts: Any) -> ReviewSet:
    """A review set of these snapshots, of a version of its own."""
    row = {"reasons": ["control"], "inclusion_probability": 0.5, "num_verdicts": 0, "need": "first-rating", **facts}
    return disagreements.add_review_set(
        session,
        [{**row, "snapshot_id": snapshot.id} for snapshot in snapshots],
        kind=kind, model_version=make_version(session, kind).model_version, seed=1, as_of=NOON,
    )  # fmt: skip


def found(session: Session, snapshot: WebcamSnapshot) -> list[Disagreement]:
    session.expire_all()
    rows = disagreements.list_disagreements(session, limit=1000)
    return [each for each, _, _ in reversed(rows) if each.snapshot_id == snapshot.id]


def states(session: Session, snapshot: WebcamSnapshot) -> list[str]:
    return [each.state for each in found(session, snapshot)]


def rate(session: Session, snapshot: WebcamSnapshot, rater: str, rating: int | None) -> None:
    assert snapshot.id is not None
    labels.rate_snapshot(session, snapshot_id=snapshot.id, rater=rater, rating=rating, is_sunset=rating is not None,
                         label_source="test")  # fmt: skip


class TestSettling:
    def test_a_rating_settles_the_frame_in_every_set_and_notes_the_label_after_it(self, session: Session) -> None:
        snapshot, other = make_snapshot(session), make_snapshot(session)
        rate(session, snapshot, "ann", 2)
        add_set(session, [snapshot, other])
        add_set(session, [snapshot])
        rate(session, snapshot, "bob", 5)
        for each in found(session, snapshot):
            assert (each.state, each.closed_by, each.closed_label) == ("settled", "bob", 3.5)
        assert states(session, other) == ["open"]

    def test_a_rating_before_the_set_was_made_settles_nothing(self, session: Session) -> None:
        snapshot = make_snapshot(session)
        rate(session, snapshot, "ann", 2)
        add_set(session, [snapshot])
        assert states(session, snapshot) == ["open"]

    def test_a_second_answer_changes_the_label_alone(self, session: Session) -> None:
        snapshot = make_snapshot(session)
        add_set(session, [snapshot])
        rate(session, snapshot, "ann", 2)
        rate(session, snapshot, "bob", 5)
        (only,) = found(session, snapshot)
        assert (only.closed_by, only.closed_label) == ("ann", 3.5)

    def test_a_rating_that_does_not_count_settles_nothing(self, session: Session) -> None:
        mallory, first, second = f"mallory-{random.random()}", make_snapshot(session), make_snapshot(session)
        rate(session, first, mallory, 1)
        exclusions.exclude(session, Subject(rater=mallory), reason="test", by="test")
        add_set(session, [second])
        rate(session, second, mallory, 1)
        assert states(session, second) == ["open"]

    def test_what_is_taken_back_waits_again(self, session: Session) -> None:
        snapshot = make_snapshot(session)
        add_set(session, [snapshot])
        session.commit()
        rate(session, snapshot, "ann", 2)
        labels.retract_rating(session, snapshot_id=snapshot.id, rater="ann")
        (only,) = found(session, snapshot)
        assert (only.state, only.closed_by, only.closed_at, only.closed_label) == ("open", None, None, None)

    def test_what_somebody_else_has_answered_too_stays_settled_when_one_answer_is_taken_back(
        self, session: Session
    ) -> None:
        snapshot = make_snapshot(session)
        add_set(session, [snapshot])
        session.commit()
        rate(session, snapshot, "ann", 2)
        rate(session, snapshot, "bob", 3)
        labels.retract_rating(session, snapshot_id=snapshot.id, rater="ann")
        (only,) = found(session, snapshot)
        assert (only.state, only.closed_by, only.closed_label) == ("settled", "bob", 3.0)
        labels.retract_rating(session, snapshot_id=snapshot.id, rater="bob")
        assert states(session, snapshot) == ["open"]  # whose answer came first does not matter

    def test_an_answer_from_before_the_set_is_taken_back_without_a_trace(self, session: Session) -> None:
        snapshot = make_snapshot(session)
        rate(session, snapshot, "ann", 2)
        session.commit()
        add_set(session, [snapshot])
        session.commit()
        rate(session, snapshot, "bob", 3)
        labels.retract_rating(session, snapshot_id=snapshot.id, rater="ann")
        assert states(session, snapshot) == ["settled"]

    def test_what_was_settled_before_its_set_was_made_waits_once_that_answer_is_taken_back(
        self, session: Session
    ) -> None:
        snapshot = make_snapshot(session)
        rate(session, snapshot, "ann", 2)
        session.commit()
        at = webcams.database_time(session)
        add_set(session, [snapshot])
        session.commit()
        rate(session, snapshot, "bob", 3)
        session.commit()
        (before,) = found(session, snapshot)
        assert before.closed_at is not None and before.closed_at > at
        add_set(session, [snapshot], state="settled", closed_by="bob", closed_at=before.closed_at, closed_label=2.5)
        session.commit()
        labels.retract_rating(session, snapshot_id=snapshot.id, rater="ann")
        assert states(session, snapshot) == ["settled", "settled"]
        labels.retract_rating(session, snapshot_id=snapshot.id, rater="bob")
        assert states(session, snapshot) == ["open", "open"]

    def test_the_label_after_the_answers_follows_every_answer(self, session: Session) -> None:
        snapshot = make_snapshot(session)
        add_set(session, [snapshot])
        session.commit()
        for rater, rating, label in (("ann", 2, 2.0), ("bob", 3, 2.5), ("ann", 5, 4.0)):
            rate(session, snapshot, rater, rating)
            (only,) = found(session, snapshot)
            assert (only.state, only.closed_by, only.closed_label) == ("settled", "ann", label)

    @pytest.mark.parametrize("seed", range(5))
    def test_the_label_now_is_that_of_the_label_queries(self, session: Session, seed: int) -> None:
        chance = random.Random(seed)
        seeded = chance.choice([None, 3.0])
        snapshot = make_snapshot(session, initial_rating=seeded)
        for rater in "abcd"[: chance.randrange(5)]:
            rate(session, snapshot, rater, chance.choice([None, 1, 2, 3, 4, 5]))
        session.commit()
        now = webcams.database_time(session) + timedelta(seconds=1)
        rows = [row for source in ("calculated_rating", "manual_seed")
                for row in labels.LABEL_QUERIES[source](session, now) if row.snapshot_id == snapshot.id]  # fmt: skip
        assert label_now(session, snapshot.id) == (rows[0].label_value if rows else None)


class TestTriage:
    def test_dismissing_holds_in_every_set_of_the_kind_and_repeating_it_changes_nothing(self, session: Session) -> None:
        snapshot = make_snapshot(session, initial_rating=2.0)
        first, second = add_set(session, [snapshot]), add_set(session, [snapshot])
        other = add_set(session, [snapshot], kind="gloom")
        rows = {each.review_set_id: each for each in found(session, snapshot)}
        done = disagreements.triage(session, rows[first.id].id, by="ann", state="dismissed")
        assert (done.state, done.closed_by, done.closed_label) == ("dismissed", "ann", 2.0)
        at = done.closed_at
        again = disagreements.triage(session, rows[second.id].id, by="bob", state="dismissed")
        assert (again.closed_by, again.closed_at) == ("ann", at)
        by_set = {each.review_set_id: each.state for each in found(session, snapshot)}
        assert by_set == {first.id: "dismissed", second.id: "dismissed", other.id: "open"}

    def test_what_was_dismissed_can_be_opened_again(self, session: Session) -> None:
        snapshot = make_snapshot(session)
        add_set(session, [snapshot])
        (only,) = found(session, snapshot)
        for state in ("dismissed", "open", "open"):
            disagreements.triage(session, only.id, by="ann", state=state)
            assert states(session, snapshot) == [state]

    def test_what_a_rating_settled_is_refused(self, session: Session) -> None:
        snapshot = make_snapshot(session)
        add_set(session, [snapshot])
        rate(session, snapshot, "ann", 2)
        (only,) = found(session, snapshot)
        for state in ("dismissed", "open"):
            with pytest.raises(Conflict, match="settled by a rating of ann"):
                disagreements.triage(session, only.id, by="bob", state=state)

    def test_an_unknown_one_is_not_found(self, session: Session) -> None:
        with pytest.raises(NotFound, match="disagreement"):
            disagreements.triage(session, 10**9, by="ann", state="dismissed")


class TestOpenFrames:
    def test_the_urgent_come_first_then_the_newest_set_and_each_frame_once(self, session: Session) -> None:
        kind = f"queue-{random.random()}"
        first, second, third, gone = (make_snapshot(session) for _ in range(4))
        add_set(session, [first, second, gone], kind=kind)
        add_set(session, [third, second], kind=kind)
        disagreements.triage(session, found(session, first)[0].id, by="ann", priority=1)
        disagreements.triage(session, found(session, gone)[0].id, by="ann", state="dismissed")
        waiting = [each.snapshot_id for each in open_frames(session, kind, limit=9)]
        assert waiting == [first.id, third.id, second.id]
        assert len(open_frames(session, kind, limit=2)) == 2

    def test_one_more_rating_is_not_asked_of_who_gave_one(self, session: Session) -> None:
        kind = f"queue-{random.random()}"
        more, audit = make_snapshot(session), make_snapshot(session)
        for snapshot in (more, audit):
            rate(session, snapshot, "ann", 2)
        add_set(session, [more], kind=kind, need="one-more-rating")
        add_set(session, [audit], kind=kind, need="audit")
        asked = {rater: {each.snapshot_id for each in open_frames(session, kind, rater=rater, limit=9)}
                 for rater in ("ann", "bob", None)}  # fmt: skip
        assert asked == {"ann": {audit.id}, "bob": {more.id, audit.id}, None: {more.id, audit.id}}


class TestBacklog:
    def test_counts_what_was_settled_since_the_data_of_the_active_version(self, session: Session) -> None:
        kind = f"kind-{random.random()}"
        before, after, waits, dismissed = (make_snapshot(session) for _ in range(4))
        add_set(session, [before, after, waits, dismissed], kind=kind)
        add_set(session, [after], kind=kind)
        rate(session, before, "ann", 3)
        session.commit()
        nothing_active = backlog(session, kind)
        assert (nothing_active.model_version, nothing_active.settled, nothing_active.open) == (None, 1, 3)
        dataset = models.add_dataset(
            session, [], kind=kind, as_of=labels.settled_time(session), manifest_sha256="0" * 64, artifact_key="k"
        )
        version = make_version(session, kind)
        models.get_run(session, version.training_run_id).dataset_id = dataset.id
        models.add_activation(session, kind=kind, model_version=version.model_version, action="promote", verdict={},
                              activated_by="test")  # fmt: skip
        session.commit()
        assert backlog(session, kind).settled == 0
        rate(session, after, "ann", 3)
        disagreements.triage(session, found(session, dismissed)[0].id, by="ann", state="dismissed")
        now = backlog(session, kind)
        assert (now.model_version, now.dataset_id) == (version.model_version, dataset.id)
        assert (now.settled, now.open) == (1, 1)


def test_frames_are_those_with_an_image_beside_what_the_version_said_and_learned(session: Session) -> None:
    version = make_version(session)
    learned, copy, tested, scored, gone = (make_snapshot(session) for _ in range(5))
    gone.image_state = "removed"
    twin = make_snapshot(session, image_sha256=learned.image_sha256, image_key=f"sha256:{learned.image_sha256}")
    rows = [{"training_run_id": version.training_run_id, "snapshot_id": snapshot.id, "label_source": "x",
             "label_value": 3.0, "split": split, "image_sha256": snapshot.image_sha256}
            for snapshot, split in ((learned, "train"), (copy, "val"), (tested, "test"))]  # fmt: skip
    models.add_provenance(session, rows, [])
    said = {"snapshot_id": scored.id, "model_version": version.model_version, "raw_score": 0.5, "ai_rating": 2.5}
    scoring.add_inferences(session, [said])
    session.flush()
    frames = {each.snapshot_id: each for each in disagreements.stored_frames(session, version.model_version)}
    taught = {snapshot.id: frames[snapshot.id].learned for snapshot in (learned, copy, tested, scored, twin)}
    assert taught == {learned.id: True, copy.id: True, tested.id: False, scored.id: False, twin.id: True}
    assert gone.id not in frames
    assert frames[scored.id].raw_score == 0.5 and frames[tested.id].raw_score is None


def test_closed_ones_are_told_with_what_was_said(session: Session) -> None:
    kind, snapshot, other = f"kind-{random.random()}", make_snapshot(session), make_snapshot(session)
    made = add_set(session, [snapshot, other], kind=kind, raw_score=0.9)
    rate(session, snapshot, "ann", 2)
    (closed,) = disagreements.closed_before(session, kind)
    assert (closed.snapshot_id, closed.model_version, closed.head) == (snapshot.id, made.model_version, "regression")
    assert (closed.raw_score, closed.label, closed.state, closed.closed_by) == (0.9, 2.0, "settled", "ann")


def test_filters_narrow_the_list(session: Session) -> None:
    one, two = make_snapshot(session), make_snapshot(session)
    made = add_set(session, [one], reasons=["flip", "band"], inclusion_probability=1.0)
    other = add_set(session, [two])

    def ids(**filters: Any) -> set[int | None]:
        return {each.snapshot_id for each, _, _ in disagreements.list_disagreements(session, limit=1000, **filters)}

    assert ids(review_set_id=made.id) == ids(reason="band", model_version=made.model_version) == {one.id}
    assert ids(webcam_id=two.webcam_id) == {two.id}
    assert ids(review_set_id=other.id, reason="flip") == set()
    disagreements.triage(session, found(session, two)[0].id, by="ann", priority=5)
    assert ids(review_set_id=other.id, priority=5) == {two.id}
    assert ids(review_set_id=made.id, priority=5) == set()
    assert ids(review_set_id=made.id, state="settled") == set()


def test_an_open_disagreement_protects_the_image_and_a_dismissed_one_does_not(session: Session) -> None:
    snapshot = make_snapshot(session)
    add_set(session, [snapshot])
    session.commit()
    cutoff = webcams.database_time(session) + timedelta(days=1)

    def may_go() -> bool:
        return snapshot.id in retention.frames_to_remove(session, cutoff, after=0, limit=10_000)

    assert not may_go()
    reasons = {each.reason for each in retention.count_frames(session, cutoff)}
    assert "disagreement" in reasons
    disagreements.triage(session, found(session, snapshot)[0].id, by="ann", state="dismissed")
    assert may_go()


def test_a_frame_whose_image_was_just_removed_is_left_out(session: Session) -> None:
    kept, removed = make_snapshot(session), make_snapshot(session)
    removed.image_state = "removed"
    session.flush()
    made = add_set(session, [removed, kept])
    rows = disagreements.list_disagreements(session, review_set_id=made.id, limit=9)
    assert [each.snapshot_id for each, _, _ in rows] == [kept.id]


class TestWhatTheDatabaseRefuses:
    @pytest.mark.parametrize(
        "facts",
        [
            {"reasons": []},
            {"reasons": ["whim"]},
            {"inclusion_probability": 0.0},
            {"inclusion_probability": 1.1},
            {"reasons": ["flip"], "inclusion_probability": 0.5},
            {"disagreement": 0.5},
            {"disagreement": 1.5, "label_value": 3.0, "raw_score": 0.5},
            {"raw_score": 1.5},
            {"need": "anything"},
            {"priority": 0},
            {"state": "settled"},
            {"closed_by": "ann"},
        ],
    )
    def test_impossible_facts(self, database: str, facts: dict[str, Any]) -> None:
        with pytest.raises(IntegrityError), session_scope() as session:
            add_set(session, [make_snapshot(session)], **facts)

    def test_the_same_frame_twice_in_a_set(self, database: str) -> None:
        with pytest.raises(IntegrityError), session_scope() as session:
            add_set(session, [make_snapshot(session)] * 2)

    @pytest.mark.parametrize(
        ("statement", "says"),
        [
            ("UPDATE disagreements SET reasons = ARRAY['flip'] WHERE id = :id", "keeps what was seen"),
            ("UPDATE disagreements SET inclusion_probability = 1 WHERE id = :id", "keeps what was seen"),
            ("UPDATE disagreements SET state = 'dismissed' WHERE id = :id", "cannot go from settled to dismissed"),
            ("DELETE FROM disagreements WHERE id = :id", "append-only"),
        ],
    )
    def test_other_changes_of_a_row(self, database: str, statement: str, says: str) -> None:
        with session_scope() as session:
            snapshot = make_snapshot(session)
            add_set(session, [snapshot])
            rate(session, snapshot, "ann", 2)
            (only,) = found(session, snapshot)
        with pytest.raises(IntegrityError, match=says), session_scope() as session:
            session.execute(text(statement), {"id": only.id})


def test_the_words_of_the_tables_are_those_of_the_choice() -> None:
    assert tables.REASONS == choosing.REASONS
    assert tables.CERTAIN_REASONS == (choosing.LARGEST, choosing.FLIP)
    assert tables.NEEDS == choosing.NEEDS
