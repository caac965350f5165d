"""A shadow scores what the active version has scored; nothing that is shown or answered changes by it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import Session, col, select

from db.engine import session_scope
from db.errors import Conflict
from db.queries import jobs, labels, models, scoring, shadows
from db.tables import Job, ModelVersion, SnapshotAiInference
from ml.images.store import FileStore
from tests.builders import NOON, make_snapshot, make_version, make_webcam
from tests.tiny_model import BRIGHT, DARK, activate, picture, register_bundle
from tests.worker.stages.test_find_disagreements import checkered, stored
from worker.jobs import run_job
from worker.places import bundle_cache
from worker.schedule import submit_shadows
from worker.settings import worker_settings
from worker.shadowing import start_shadow, stop_shadow
from worker.stages.score import Frame, record_score, score_pixels
from worker.stages.served import load_served

LEVELS = (10, 60, 110, 160, 210, 250)
SHOWN = ("webcams", "webcam_snapshots", "scoring_events", "model_activations", "images")
"""What people and the web app read."""


@pytest.fixture(scope="module")
def versions(database: str, store: FileStore) -> tuple[ModelVersion, ModelVersion]:
    """The active version, which likes it bright, and a candidate that likes it dark; six frames that the first scored."""
    with session_scope() as session:
        bright, dark = register_bundle(session, store, BRIGHT), register_bundle(session, store, DARK)
        activate(session, bright)
    served = load_served(bright, store, bundle_cache())
    for level in LEVELS:
        data = picture(level)
        with session_scope() as session:
            frame = Frame(make_webcam(session).id, "sunset", NOON)
            record_score(session, score_pixels(served, data), frame, kind="rating", store=store, data=data,
                         exploration_share=1.0, writes_snapshots=True)  # fmt: skip
    return bright, dark


def _run(job: Job) -> Job:
    assert job.id is not None
    run_job(job.id, f"test-{job.id}")
    with session_scope() as session:
        return jobs.get_job(session, job.id)


def _shadow(version: ModelVersion) -> dict[str, Any]:
    with session_scope() as session:
        job = start_shadow(session, version.model_version, by="test")
    done = _run(job)
    assert done.result is not None, done.reason
    return done.result


def _rows(tables: tuple[str, ...] = SHOWN) -> dict[str, list[Any]]:
    with session_scope() as session:
        return {table: list(session.execute(text(f"SELECT * FROM {table} ORDER BY 1")).all()) for table in tables}


def _said(session: Session, version: ModelVersion) -> dict[int, float]:
    query = select(SnapshotAiInference).where(col(SnapshotAiInference.model_version) == version.model_version)
    return {row.snapshot_id: row.raw_score for row in session.exec(query).all()}


def test_it_scores_the_same_frames_and_changes_nothing_that_is_shown(
    versions: tuple[ModelVersion, ModelVersion], store: FileStore
) -> None:
    bright, dark = versions
    before = _rows()
    result = _shadow(dark)
    assert (result["scored"], result["unreadable"], result["active"]) == (len(LEVELS), 0, bright.model_version)
    assert _rows() == before
    with session_scope() as session:
        theirs, mine = _said(session, bright), _said(session, dark)
    assert set(mine) == set(theirs)
    for snapshot_id, raw in theirs.items():
        assert mine[snapshot_id] == pytest.approx(1.0 - raw, abs=1e-6)
    found = result["comparison"]
    assert (found["n"], found["n_groups"], found["active"]) == (len(LEVELS), len(LEVELS), bright.model_version)
    expected = sum(5 * (1 - 2 * raw) for raw in theirs.values()) / len(theirs)
    assert found["difference"]["mean"] == pytest.approx(expected, abs=1e-5)
    good = [raw >= 0.8 for raw in theirs.values()], [1 - raw >= 0.8 for raw in theirs.values()]
    assert found["flips"]["n"] == sum(a != b for a, b in zip(*good, strict=True)) > 0


def test_what_it_has_scored_is_not_scored_again_and_new_frames_are(
    versions: tuple[ModelVersion, ModelVersion], store: FileStore
) -> None:
    bright, dark = versions
    _shadow(dark)
    assert _shadow(dark)["scored"] == 0
    with session_scope() as session:
        readable, lost = make_snapshot(session), make_snapshot(session)
        data = picture(77)
        sha256 = store.put_image(data)
        session.execute(
            text(
                "INSERT INTO images (sha256, media_type, width, height, byte_size) VALUES (:s, 'image/png', 40, 40, 9)"
            ),
            {"s": sha256},
        )
        session.execute(
            text("UPDATE webcam_snapshots SET image_sha256 = :s WHERE id = :id"), {"s": sha256, "id": readable.id}
        )
        scoring.add_inferences(
            session,
            [{"snapshot_id": each.id, "model_version": bright.model_version, "raw_score": 0.3, "ai_rating": 1.5}
             for each in (readable, lost)],
        )  # fmt: skip
        ids = readable.id, lost.id
    result = _shadow(dark)
    assert (result["scored"], result["unreadable"]) == (1, 1)
    with session_scope() as session:
        said = _said(session, dark)
        assert shadows.count_unshadowed(session, bright.model_version, dark.model_version) == 1
        session.execute(text("UPDATE webcam_snapshots SET image_state = 'removed' WHERE id = :id"), {"id": ids[1]})
        assert shadows.count_unshadowed(session, bright.model_version, dark.model_version) == 0
    assert (ids[0] in said, ids[1] in said) == (True, False)


def test_people_are_asked_only_of_frames_that_neither_learned_from(
    versions: tuple[ModelVersion, ModelVersion],
) -> None:
    bright, dark = versions
    _shadow(dark)
    with session_scope() as session:
        snapshot_ids = sorted(_said(session, dark))[:3]
        for snapshot_id in snapshot_ids:
            labels.rate_snapshot(
                session, snapshot_id=snapshot_id, rater="ann", rating=4, is_sunset=True, label_source="test"
            )
        sha256 = session.execute(
            text("SELECT image_sha256 FROM webcam_snapshots WHERE id = :id"), {"id": snapshot_ids[0]}
        ).scalar_one()
        models.add_provenance(
            session,
            [{"training_run_id": dark.training_run_id, "snapshot_id": snapshot_ids[0], "label_source": "x",
              "label_value": 4.0, "split": "train", "image_sha256": sha256}],
            [],
        )  # fmt: skip
    people = _shadow(dark)["comparison"]["people"]
    assert people["n"] == 2
    assert {row["name"] for row in people["rows"]} >= {bright.model_version, dark.model_version}


def test_people_are_not_asked_of_a_frame_that_resembles_one_that_was_learned_from(
    versions: tuple[ModelVersion, ModelVersion], store: FileStore
) -> None:
    bright, dark = versions
    before = _shadow(dark)["comparison"]["people"]["n"]
    with session_scope() as session:
        webcam = make_webcam(session)
        at = {"webcam_id": webcam.id, "captured_at": NOON}
        alike, other = (stored(session, store, checkered(100, pattern), **at) for pattern in (1, 2))
        for each in (alike, other):
            labels.rate_snapshot(session, snapshot_id=each, rater="ann", rating=4, is_sunset=True, label_source="test")
        scoring.add_inferences(
            session,
            [{"snapshot_id": each, "model_version": bright.model_version, "raw_score": 0.4, "ai_rating": 2.0}
             for each in (alike, other)],
        )  # fmt: skip
    assert _shadow(dark)["comparison"]["people"]["n"] == before + 2
    with session_scope() as session:
        at["captured_at"] = NOON + timedelta(minutes=1)
        learned = stored(session, store, checkered(104, 1), **at)
        sha256 = session.execute(
            text("SELECT image_sha256 FROM webcam_snapshots WHERE id = :id"), {"id": learned}
        ).scalar_one()
        models.add_provenance(
            session,
            [{"training_run_id": bright.training_run_id, "snapshot_id": learned, "label_source": "x",
              "label_value": 4.0, "split": "train", "image_sha256": sha256}],
            [],
        )  # fmt: skip
    assert _shadow(dark)["comparison"]["people"]["n"] == before + 1


def test_a_version_that_scored_along_is_shown_once_it_serves(
    versions: tuple[ModelVersion, ModelVersion], store: FileStore
) -> None:
    _, dark = versions
    _shadow(dark)
    served = load_served(dark, store, bundle_cache())
    with session_scope() as session:
        snapshot_id = min(_said(session, dark))
        row = session.execute(
            text("SELECT webcam_id, captured_at, image_sha256 FROM webcam_snapshots WHERE id = :id"),
            {"id": snapshot_id},
        ).one()
    data = store.image(row.image_sha256)
    with session_scope() as session:
        frame = Frame(row.webcam_id, "sunset", row.captured_at)
        record_score(session, score_pixels(served, data), frame, kind="rating", store=store, data=data,
                     exploration_share=0.0, writes_snapshots=True)  # fmt: skip
    with session_scope() as session:
        shown = session.execute(
            text("SELECT ai_model_version FROM webcam_snapshots WHERE id = :id"), {"id": snapshot_id}
        ).scalar_one()
    assert shown == dark.model_version


def test_the_active_version_does_not_shadow_itself(versions: tuple[ModelVersion, ModelVersion]) -> None:
    bright, _ = versions
    with session_scope() as session, pytest.raises(Conflict, match="is the active rating version itself"):
        start_shadow(session, bright.model_version, by="test")


def test_one_shadows_at_a_time_until_it_is_stopped(versions: tuple[ModelVersion, ModelVersion]) -> None:
    _, dark = versions
    with session_scope() as session:
        other = make_version(session).model_version
        for name in (dark.model_version, other, other):
            start_shadow(session, name, by="test")
        assert shadows.shadows(session)["rating"] == other
        stop_shadow(session, dark.model_version, by="test")  # it was not the shadow any more
        assert shadows.shadows(session)["rating"] == other
        stop_shadow(session, other, by="test")
        assert "rating" not in shadows.shadows(session)
        choice = shadows.shadow_of(session, "rating")
        assert choice is not None
        assert (choice.model_version, choice.chosen_by) == (None, "test")


def test_the_clock_lets_it_score_new_frames_once_a_slot_and_only_if_there_are_any(
    versions: tuple[ModelVersion, ModelVersion],
) -> None:
    bright, dark = versions
    _shadow(dark)
    now_s, every_s = 1e9, worker_settings().shadow_every_min * 60
    with session_scope() as session:
        snapshot = make_snapshot(session, captured_at=NOON + timedelta(days=1))
    assert submit_shadows(now_s) == []
    with session_scope() as session:
        scoring.add_inferences(
            session,
            [{"snapshot_id": snapshot.id, "model_version": bright.model_version, "raw_score": 0.3, "ai_rating": 1.5}],
        )
    (job_id,) = submit_shadows(now_s)
    assert submit_shadows(now_s + 1) == []
    assert len(submit_shadows(now_s + every_s)) == 1
    with session_scope() as session:
        job = jobs.get_job(session, job_id)
        assert (job.kind, job.params) == ("shadow", {"model_version": dark.model_version})
        stop_shadow(session, dark.model_version, by="test")
    assert submit_shadows(now_s + 2 * every_s) == []
