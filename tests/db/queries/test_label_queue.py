"""Which frames a rater is given, and that nobody else is given them meanwhile."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlmodel import Session

from db.engine import session_scope
from db.errors import Conflict
from db.queries import disagreements, labels
from db.queries.label_queue import LEASE_TIME, QueuedFrame, Seat, count_queue, lease_frames
from db.tables import RatingEvent, WebcamSnapshot
from tests.builders import NOON, make_snapshot, make_version

BAND = (3.7, 4.3)
ANN, BEN = Seat("ann", "a"), Seat("ben", "b")


@pytest.fixture
def frames(session: Session) -> list[int]:
    """Twelve frames that nobody has labelled, those with an even place near the threshold; no others, no leases."""
    session.execute(text("DELETE FROM label_leases"))
    session.execute(
        text("UPDATE disagreements SET state = 'dismissed', closed_by = 'x', closed_at = now() WHERE state = 'open'")
    )
    session.execute(text("UPDATE webcam_snapshots SET image_state = 'removed' WHERE image_state = 'present'"))
    made = [make_snapshot(session, ai_rating=4.1 if place % 2 == 0 else 1.0) for place in range(12)]
    session.commit()
    return [int(each.id or 0) for each in made]


def ids(found: list[QueuedFrame]) -> list[int]:
    return [each.snapshot_id for each in found]


def rate(session: Session, snapshot_id: int, rater: str = "ann", key: str | None = None, rating: int = 4) -> None:
    labels.rate_snapshot(
        session, snapshot_id=snapshot_id, rater=rater, rating=rating, is_sunset=True, label_source="test",
        idempotency_key=key,
    )  # fmt: skip


def expire(session: Session) -> None:
    session.execute(text("UPDATE label_leases SET expires_at = now() - interval '1 second'"))


def test_half_are_unsure_half_are_drawn_and_one_sort_fills_up_for_the_other(
    session: Session, frames: list[int]
) -> None:
    first = lease_frames(session, ANN, count=4, kind="rating", band=BAND)
    assert sorted(each.reason for each in first) == ["random", "random", "unsure", "unsure"]
    unsure = [each.snapshot_id for each in first if each.reason == "unsure"]
    drawn = [each.snapshot_id for each in first if each.reason == "random"]
    left = [each for each in frames[::2] if each not in drawn]  # chance may take one that is unsure too
    assert sorted(unsure) == left[-2:], "the newest first"
    everything = lease_frames(session, ANN, count=50, kind="rating", band=BAND)
    assert sorted(ids(everything)) == frames
    assert lease_frames(session, BEN, count=1, kind="rating", band=BAND) == []


def test_asking_again_gives_the_same_in_the_same_order_and_renews_them(session: Session, frames: list[int]) -> None:
    first = lease_frames(session, ANN, count=5, kind="rating", band=BAND)
    session.execute(text("UPDATE label_leases SET expires_at = now() + interval '1 second'"))
    again = lease_frames(session, ANN, count=5, kind="rating", band=BAND)
    assert ids(again) == ids(first)
    assert all(each.expires_at - datetime.now(UTC) > LEASE_TIME - timedelta(minutes=1) for each in again)
    assert ids(lease_frames(session, ANN, count=2, kind="rating", band=BAND)) == ids(first)[:2]


def test_two_raters_and_two_pages_of_one_are_given_different_frames(session: Session, frames: list[int]) -> None:
    given = [
        ids(lease_frames(session, seat, count=4, kind="rating", band=BAND)) for seat in (ANN, BEN, Seat("ann", "other"))
    ]
    assert sorted(each for some in given for each in some) == frames


def test_what_is_rated_is_not_given_again_to_anybody_and_stays_kept_for_who_takes_it_back(
    session: Session, frames: list[int]
) -> None:
    first, *rest = ids(lease_frames(session, ANN, count=3, kind="rating", band=BAND))
    rate(session, first)
    assert first not in ids(lease_frames(session, ANN, count=50, kind="rating", band=BAND))
    labels.retract_rating(session, snapshot_id=first, rater="ann")
    assert first not in ids(lease_frames(session, BEN, count=50, kind="rating", band=BAND))
    assert ids(lease_frames(session, ANN, count=3, kind="rating", band=BAND)) == [first, *rest]


def test_what_is_put_off_is_not_given_again_here_nor_to_others_while_it_is_kept(
    session: Session, frames: list[int]
) -> None:
    first = ids(lease_frames(session, ANN, count=3, kind="rating", band=BAND))[0]
    skipping = Seat("ann", "a", skipped=[first])
    assert first not in ids(lease_frames(session, skipping, count=50, kind="rating", band=BAND))
    assert first not in ids(lease_frames(session, BEN, count=50, kind="rating", band=BAND))
    expire(session)
    assert first not in ids(lease_frames(session, skipping, count=1, kind="rating", band=BAND))
    assert first in ids(lease_frames(session, BEN, count=50, kind="rating", band=BAND))


def test_a_lease_that_ran_out_goes_to_whoever_asks(session: Session, frames: list[int]) -> None:
    given = ids(lease_frames(session, ANN, count=50, kind="rating", band=BAND))
    expire(session)
    assert sorted(ids(lease_frames(session, BEN, count=50, kind="rating", band=BAND))) == sorted(given)
    assert lease_frames(session, ANN, count=50, kind="rating", band=BAND) == []


@pytest.mark.parametrize("state", ["unfetched", "dead-url", "unreadable"])
def test_a_frame_without_an_image_is_not_given(session: Session, frames: list[int], state: str) -> None:
    facts = {"image_state": state, "image_sha256": None, "image_known_at": None}
    without = make_snapshot(session, **facts)
    assert without.id not in ids(lease_frames(session, ANN, count=50, kind="rating", band=BAND))


def test_raters_who_ask_at_the_same_time_are_given_different_frames(session: Session, frames: list[int]) -> None:
    given: dict[str, list[int]] = {}
    barrier = threading.Barrier(6)

    def ask(rater: str) -> None:
        with session_scope() as own:
            own.execute(text("SELECT 1"))
            barrier.wait()
            given[rater] = ids(lease_frames(own, Seat(rater, "s"), count=2, kind="rating", band=BAND))

    threads = [threading.Thread(target=ask, args=(f"rater{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [each for some in given.values() for each in some]
    assert len(given) == 6
    assert len(everything) == len(set(everything))


def test_every_free_frame_may_be_drawn(session: Session, frames: list[int]) -> None:
    drawn = set()
    for _ in range(200):
        session.execute(text("DELETE FROM label_leases"))
        drawn |= set(ids(lease_frames(session, ANN, count=1, kind="rating", band=(9, 9))))
    assert drawn == set(frames), "200 draws of 12 miss one of them once in 3 million runs"


def test_the_counts_are_of_the_raters_verdicts_and_of_frames_without_any(session: Session, frames: list[int]) -> None:
    before = count_queue(session, "counted")
    rate(session, frames[0], "counted")
    rate(session, frames[0], "somebody")
    labels.rate_snapshot(
        session, snapshot_id=frames[1], rater="counted", rating=None, is_sunset=False, label_source="test"
    )
    after = count_queue(session, "counted")
    assert (after.rated - before.rated, before.waiting - after.waiting) == (2, 2)


class TestActsSentTwice:
    def events(self, session: Session, snapshot_id: int) -> list[str]:
        rows = session.execute(
            text("SELECT action FROM rating_events WHERE snapshot_id = :id ORDER BY id"), {"id": snapshot_id}
        )
        return [row.action for row in rows]

    def test_add_nothing(self, session: Session, frames: list[int]) -> None:
        for _ in range(2):
            rate(session, frames[0], key="k1")
        assert self.events(session, frames[0]) == ["rate"]
        for _ in range(2):
            assert labels.retract_rating(session, snapshot_id=frames[0], rater="ann", idempotency_key="k2")
        assert self.events(session, frames[0]) == ["rate", "retract"]

    def test_do_not_bring_back_what_was_taken_back(self, session: Session, frames: list[int]) -> None:
        rate(session, frames[0], key="k3")
        labels.retract_rating(session, snapshot_id=frames[0], rater="ann")
        rate(session, frames[0], key="k3")
        assert session.get_one(WebcamSnapshot, frames[0]).rating_count == 0

    def test_are_refused_when_they_are_something_else(self, session: Session, frames: list[int]) -> None:
        rate(session, frames[0], key="k4")
        for snapshot_id, rating in ((frames[0], 5), (frames[1], 4)):
            with pytest.raises(Conflict, match="another rating"):
                rate(session, snapshot_id, key="k4", rating=rating)
        with pytest.raises(Conflict, match="another rating"):
            labels.retract_rating(session, snapshot_id=frames[0], rater="ann", idempotency_key="k4")
        rate(session, frames[1], rater="ben", key="k4")

    def test_every_event_without_a_key_counts(self, session: Session, frames: list[int]) -> None:
        for _ in range(2):
            rate(session, frames[0])
        assert self.events(session, frames[0]) == ["rate", "rate"]
        assert RatingEvent.model_fields["idempotency_key"].default is None


class TestReviewSets:
    def review(self, session: Session, snapshot_ids: list[int], need: str = "audit") -> None:
        rows = [
            {"snapshot_id": each, "reasons": ["control"], "inclusion_probability": 0.5, "num_verdicts": 1, "need": need}
            for each in snapshot_ids
        ]
        disagreements.add_review_set(
            session, rows, kind="rating", model_version=make_version(session).model_version, seed=1, as_of=NOON
        )
        session.commit()  # an event carries the time at which its transaction began

    def test_every_second_frame_is_one_that_waits_there(self, session: Session, frames: list[int]) -> None:
        for each in frames[:4]:
            rate(session, each)
        self.review(session, frames[:4])
        given = lease_frames(session, ANN, kind="rating", count=8, band=BAND)
        assert [each.reason for each in given] == ["review", "unsure", "review", "random"] * 2
        assert {each.snapshot_id for each in given if each.reason == "review"} == set(frames[:4])

    def test_one_more_rating_is_asked_of_somebody_else_and_an_audit_of_anybody(
        self, session: Session, frames: list[int]
    ) -> None:
        rate(session, frames[0])
        rate(session, frames[1])
        self.review(session, frames[:1], "one-more-rating")
        self.review(session, frames[1:2], "audit")
        assert {frames[0], frames[1]} & set(ids(lease_frames(session, ANN, kind="rating", count=50, band=BAND))) == {
            frames[1]
        }
        assert ids(lease_frames(session, BEN, kind="rating", count=50, band=BAND)) == [frames[0]]

    def test_a_frame_that_the_rater_judged_before_is_his_until_he_judges_it_again(
        self, session: Session, frames: list[int]
    ) -> None:
        rate(session, frames[0], rating=2)
        self.review(session, frames[:1])

        def first() -> tuple[int, str]:
            frame = lease_frames(session, ANN, kind="rating", count=1, band=BAND)[0]
            session.commit()
            return frame.snapshot_id, frame.reason

        assert first() == first() == (frames[0], "review")
        rate(session, frames[0], rating=5)
        session.commit()
        assert first() != (frames[0], "review")
        labels.retract_rating(session, snapshot_id=frames[0], rater="ann", restore=True)
        session.commit()
        assert session.get_one(WebcamSnapshot, frames[0]).calculated_rating == 2.0


class TestRestoring:
    def verdict(self, session: Session, snapshot_id: int) -> tuple[float | None, int]:
        fresh = session.get_one(WebcamSnapshot, snapshot_id)
        return fresh.calculated_rating, fresh.rating_count

    def undo(self, session: Session, snapshot_id: int, key: str | None = None) -> bool:
        return labels.retract_rating(session, snapshot_id=snapshot_id, rater="ann", restore=True, idempotency_key=key)

    def test_the_verdict_that_was_replaced_counts_once_more(self, session: Session, frames: list[int]) -> None:
        rate(session, frames[0], rating=2)
        rate(session, frames[0], rating=5)
        assert self.undo(session, frames[0], "u1") and self.undo(session, frames[0], "u1")
        assert self.verdict(session, frames[0]) == (2.0, 1)
        rate(session, frames[0], rating=4)
        assert self.undo(session, frames[0])
        assert self.verdict(session, frames[0]) == (2.0, 1)

    def test_where_there_was_none_none_is_left(self, session: Session, frames: list[int]) -> None:
        rate(session, frames[0], rating=5)
        assert self.undo(session, frames[0])
        assert self.verdict(session, frames[0]) == (None, 0)
        rate(session, frames[0], rating=4)
        assert self.undo(session, frames[0])
        assert self.verdict(session, frames[0]) == (None, 0)
        assert not self.undo(session, frames[0])

    def test_what_the_answer_had_settled_waits_again(self, session: Session, frames: list[int]) -> None:
        rate(session, frames[0], rating=2)
        TestReviewSets().review(session, frames[:1])
        rate(session, frames[0], rating=5)
        session.commit()
        state = text("SELECT state FROM disagreements WHERE snapshot_id = :id ORDER BY id DESC LIMIT 1")
        assert session.execute(state, {"id": frames[0]}).scalar_one() == "settled"
        self.undo(session, frames[0])
        assert session.execute(state, {"id": frames[0]}).scalar_one() == "open"
