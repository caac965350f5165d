"""The stage chooses a review set from the rows as they are, and the next one knows what was answered."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlmodel import Session, col, select

from db.engine import session_scope
from db.errors import Conflict
from db.queries import disagreements, images, jobs, labels, models
from db.tables import Disagreement, Job, ReviewSet, SnapshotAiInference, WebcamSnapshot
from ml.images.decode import inspect
from ml.images.store import FileStore, image_key
from tests.builders import NOON, make_snapshot, make_webcam, put_into_split
from tests.tiny_model import DARK, YES, activate, picture, register_bundle
from tests.worker.test_verified import flipped
from worker.jobs import run_job
from worker.queue import submit, version_to_ask

SIZES = {"largest": 2, "flips": 5, "band": 3, "control": 4}


def checkered(level: int, pattern: int) -> bytes:
    """A picture of blocks whose mean is about `level`; of one pattern all are alike."""
    blocks = np.random.default_rng(pattern).permutation(np.repeat([-40, 40], 32)).reshape(8, 8)
    pixels = np.clip(level + blocks.repeat(8, axis=0).repeat(8, axis=1), 0, 255).astype(np.uint8)
    opened = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(opened, "PNG")
    return opened.getvalue()


def stored(session: Session, store: FileStore, data: bytes, **facts: Any) -> int:
    info = inspect(data)
    store.put_image(data)
    images.add_image(session, info.sha256, info.media_type, info.width, info.height, info.byte_size)
    snapshot = make_snapshot(session, image_key=f"sha256:{info.sha256}", image_sha256=info.sha256, **facts)
    assert snapshot.id is not None
    return snapshot.id


def _rate(session: Session, snapshot_id: int, rater: str, rating: int) -> None:
    labels.rate_snapshot(session, snapshot_id=snapshot_id, rater=rater, rating=rating, is_sunset=True,
                         label_source="test")  # fmt: skip


def _run(**params: Any) -> Job:
    given = {"kind": "rating", "model_version": None, "seed": 7, **SIZES, **params}
    with session_scope() as session:
        job, _ = submit(session, "find_disagreements", given)
    assert job.id is not None
    run_job(job.id, "test")
    with session_scope() as session:
        return jobs.get_job(session, job.id)


def _open(rows: dict[int, Disagreement]) -> set[int]:
    return {snapshot_id for snapshot_id, row in rows.items() if row.state == "open"}


def _rows(job: Job) -> dict[int, Disagreement]:
    assert job.state == "succeeded", job.reason
    assert job.result is not None
    with session_scope() as session:
        query = select(Disagreement).where(col(Disagreement.review_set_id) == job.result["review_set_id"])
        return {row.snapshot_id: row for row in session.exec(query.order_by(col(Disagreement.id)))}


@pytest.fixture(scope="module")
def frames(database: str, store: FileStore) -> dict[str, int]:
    """The tiny model's rating of a frame is its brightness: 5 stars are white."""
    with session_scope() as session:
        version = register_bundle(session, store)
        activate(session, version)
        webcam = make_webcam(session)
        found = {
            "bright, rated 1": stored(session, store, picture(240)),
            "dark, rated 5": stored(session, store, picture(20)),
            "agreed": stored(session, store, picture(150)),
            "learned": stored(session, store, picture(10)),
            "in test, rated 1": stored(session, store, picture(250)),
            "near the threshold": stored(session, store, picture(205)),
            "first of two": stored(session, store, checkered(100, 1), webcam_id=webcam.id, captured_at=NOON),
            "second of two": stored(session, store, checkered(104, 1), webcam_id=webcam.id,
                                     captured_at=NOON + timedelta(minutes=1)),
        }  # fmt: skip
        for name, rating in (
            ("bright, rated 1", 1),
            ("dark, rated 5", 5),
            ("agreed", 3),
            ("learned", 5),
            ("in test, rated 1", 1),
        ):
            _rate(session, found[name], "ann", rating)
            put_into_split(session, "test" if "in test" in name else "train", found[name])
        for rater in "bcd":
            _rate(session, found["dark, rated 5"], rater, 5)
        missing = make_snapshot(session)
        assert missing.id is not None
        found["not in the store"] = missing.id
        row = {"training_run_id": version.training_run_id, "snapshot_id": found["learned"], "label_source": "x",
               "label_value": 5.0, "split": "train", "image_sha256": "0" * 64}  # fmt: skip
        models.add_provenance(session, [row], [])
    return found


@pytest.fixture(scope="module")
def first(frames: dict[str, int]) -> Job:
    return _run(control=100)


def test_each_frame_is_there_for_its_reason_and_asks_for_what_it_needs(frames: dict[str, int], first: Job) -> None:
    rows = _rows(first)
    bright, dark = rows[frames["bright, rated 1"]], rows[frames["dark, rated 5"]]
    assert bright.reasons == dark.reasons == ["largest-disagreement", "flip", "control"]
    assert (bright.need, dark.need) == ("one-more-rating", "audit")
    assert dark.disagreement == pytest.approx(1 - 20 / 255, abs=0.01)
    assert dark.inclusion_probability == 1.0
    band = rows[frames["near the threshold"]]
    assert band.reasons == ["band", "control"]
    assert (band.need, band.label_value, band.disagreement) == ("first-rating", None, None)
    assert band.ai_rating == pytest.approx(5 * 205 / 255, abs=0.02)
    learned = rows[frames["learned"]]
    assert (learned.reasons, learned.disagreement, learned.label_value) == (["control"], None, 5.0)
    test = rows[frames["in test, rated 1"]]
    assert (test.reasons, test.disagreement, test.label_value) == (["control"], None, 1.0)
    assert {row.state for row in rows.values()} == {"open"}


def test_near_duplicates_and_unreadable_frames_are_left_out_and_counted(frames: dict[str, int], first: Job) -> None:
    rows = _rows(first)
    assert (frames["first of two"] in rows) != (frames["second of two"] in rows)
    assert frames["not in the store"] not in rows
    assert first.result is not None
    counts = first.result["counts"]
    assert (counts["frames"], counts["unreadable"], counts["near_duplicates"], counts["settled"]) == (8, 1, 1, 0)
    assert counts["ways"]["control"] == {"population": 7, "chosen": 7, "settled": 0}
    assert counts["ways"]["flip"] == {"population": 2, "chosen": 2, "settled": 0}


def test_what_the_version_had_not_scored_is_scored_and_kept_without_touching_the_latest_scores(
    frames: dict[str, int], first: Job
) -> None:
    with session_scope() as session:
        said = session.exec(
            select(SnapshotAiInference).where(col(SnapshotAiInference.snapshot_id).in_(frames.values()))
        ).all()
        assert {row.snapshot_id for row in said} == set(frames.values()) - {frames["not in the store"]}
        latest = session.exec(select(WebcamSnapshot.ai_rating).where(col(WebcamSnapshot.id).in_(frames.values()))).all()
        assert set(latest) == {None}


def test_the_same_seed_gives_the_same_set_and_the_set_says_how_it_was_made(frames: dict[str, int], first: Job) -> None:
    one, other = _run(control=3, seed=11), _run(control=3, seed=11)
    told = [[(row.snapshot_id, row.reasons, row.inclusion_probability) for row in _rows(job).values()]
            for job in (one, other)]  # fmt: skip
    assert told[0] == told[1] != []
    with session_scope() as session:
        assert other.result is not None
        made = disagreements.get_review_set(session, other.result["review_set_id"])
        assert isinstance(made, ReviewSet)
        assert (made.kind, made.seed, made.model_version) == ("rating", 11, other.result["model_version"])
        assert made.params["control"] == 3
        assert made.params["band"] == pytest.approx([3.7, 4.3])


def test_without_a_seed_the_jobs_number_is_one(frames: dict[str, int]) -> None:
    job = _run(seed=None)
    assert job.result is not None
    assert job.result["seed"] == job.id


def test_what_was_answered_does_not_come_back_for_this_version_and_does_for_one_that_errs_the_other_way(
    frames: dict[str, int], first: Job, store: FileStore
) -> None:
    bright, dark, band = (frames[name] for name in ("bright, rated 1", "dark, rated 5", "near the threshold"))
    before = _rows(first)
    assert {bright, dark, band} <= set(before)
    first_score = before[bright].raw_score
    assert first_score is not None
    with session_scope() as session:
        _rate(session, bright, "bob", 1)
        _rate(session, dark, "ann", 5)
        waiting = disagreements.list_disagreements(session, state="open", limit=1000)
        dismissed = next(each.id for each, _, _ in waiting if each.snapshot_id == band)
        disagreements.triage(session, dismissed, by="ann", state="dismissed")  # type: ignore[arg-type]
        other = register_bundle(session, store, DARK).model_version
    second = _run(control=100)
    again = _rows(second)
    assert not {bright, dark, band} & _open(again)
    inverted = _rows(_run(model_version=other, control=100))  # it rates darkness
    score = inverted[bright].raw_score
    assert score is not None and score < 0.2 < first_score  # less than people say, where the first said more
    assert bright in _open(inverted)
    assert not {dark, band} & _open(inverted)
    for each in (bright, dark, band):
        assert "control" in again[each].reasons  # chance draws from what is settled too, with what became of it
    told = [(again[each].state, again[each].closed_by, again[each].closed_label) for each in (bright, dark, band)]
    assert told == [("settled", "bob", 1.0), ("settled", "ann", 5.0), ("dismissed", "ann", None)]
    assert second.result is not None
    assert second.result["disagreements"] == len(_open(again)) == len(again) - 3


def test_the_controls_of_a_version_tell_how_it_does_on_what_it_did_not_learn_from(
    frames: dict[str, int], first: Job
) -> None:
    before = first.result["counts"]["control"]  # type: ignore[index]
    assert (before["drawn"], before["learned"], before["unanswered"], before["n"]) == (7, 1, 2, 4)
    errors = [5 * 240 / 255 - 1, 5 - 5 * 20 / 255, abs(5 * 150 / 255 - 3), 5 * 250 / 255 - 1]
    assert before["mean_absolute_error"]["value"] == pytest.approx(np.mean(errors), abs=0.02)
    assert (before["flips"]["n"], before["flips"]["share"]) == (3, 0.75)
    after = _run(control=0).result["counts"]["control"]  # type: ignore[index]
    assert after["drawn"] >= 7  # those of the sets before
    assert after["mean_absolute_error"]["value"] == pytest.approx(np.mean(errors), abs=1.0)


def test_an_unknown_version_ends_the_job_with_a_reason(frames: dict[str, int]) -> None:
    job = _run(model_version="nobody")
    assert job.state == "failed"
    assert "There is no model version nobody" in str(job.reason)


def test_a_version_of_another_kind_is_refused(frames: dict[str, int]) -> None:
    with session_scope() as session, pytest.raises(Conflict, match="no gloom model is active"):
        version_to_ask(session, "gloom", None)


def test_a_frame_whose_image_got_lost_or_damaged_is_left_out_though_its_fingerprint_is_in_the_cache(
    frames: dict[str, int], first: Job, store: FileStore
) -> None:
    with session_scope() as session:
        lost, damaged = (stored(session, store, picture(level)) for level in (33, 44))
        unscored = register_bundle(session, store, YES).model_version
    seen = _rows(_run(control=100))
    assert {lost, damaged} <= set(seen)
    with session_scope() as session:
        hashes = [str(session.get_one(WebcamSnapshot, each).image_sha256) for each in (lost, damaged)]
    store.delete_image(hashes[0])
    with flipped(Path(store.url) / image_key(hashes[1])):
        job = _run(model_version=unscored, control=100)
    rows = _rows(job)
    assert not {lost, damaged} & set(rows)
    assert frames["agreed"] in rows
    assert job.result is not None
    assert job.result["counts"]["unreadable"] == 3
