"""What the database itself refuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlmodel import Session

from db.engine import engine
from db.queries import disagreements, exclusions, jobs, labels, models, scoring, selections, shadows
from db.tables import APPEND_ONLY, ScoringEvent
from db.tables.jobs import FINAL_STATES, STATES, TRANSITIONS
from tests.builders import NOON, make_photo, make_project, make_snapshot, make_version


@pytest.fixture
def rolled_back(database: str) -> Iterator[Session]:
    with Session(engine()) as session:
        yield session
        session.rollback()


def _fill(session: Session) -> None:
    """One row in every append-only table."""
    snapshot = make_snapshot(session)
    labels.rate_snapshot(session, snapshot_id=snapshot.id, rater="r", rating=3, is_sunset=True, label_source="test")
    exclusions.exclude(session, exclusions.Subject(rater="r"), reason="test", by="test")
    session.add(ScoringEvent(kind="rating", path_taken="unscored", reason="test"))
    row = {"snapshot_id": snapshot.id, "label_source": "calculated_rating", "label_value": 3.0, "target_label": 3.0,
           "split": "train", "seen": True, "group_id": "g", "image_sha256": snapshot.image_sha256, "rating_count": 1,
           "exclusion_reason": None}  # fmt: skip
    dataset = models.add_dataset(session, [row], kind="rating", as_of=NOON, manifest_sha256="0" * 64, artifact_key="k")
    models.add_split_assignments(
        session, [{"kind": "rating", "group_id": f"g{snapshot.id}", "split": "train", "seen": True, "salt": "s"}]
    )
    version = make_version(session)
    models.add_provenance(
        session,
        [{"training_run_id": version.training_run_id, "snapshot_id": snapshot.id, "label_source": "x",
          "label_value": 3.0, "split": "train", "image_sha256": snapshot.image_sha256}],
        [{"training_run_id": version.training_run_id, "snapshot_id": snapshot.id, "user_session_id": "r",
          "rating": 3, "is_sunset_verdict": True, "label_source": "x"}],
    )  # fmt: skip
    models.add_activation(
        session, kind="rating", model_version=version.model_version, action="promote", verdict={}, activated_by="test"
    )
    shadows.choose_shadow(session, "rating", version.model_version, "test")
    from db.queries.evaluations import add_cycle, add_evaluation

    add_evaluation(session, model_version=version.model_version, kind="rating", manifest_sha256="0" * 64,
                   method="test", report={}, artifact_key="k")  # fmt: skip
    job, _ = jobs.add_job(session, "train", {}, queue="train", max_attempts=3)
    add_cycle(session, kind="rating", job_id=job.id, created_by="test", dataset_id=dataset.id, manifest_sha256="0" * 64,
              params={}, summary={}, started_at=NOON)  # fmt: skip
    disagreements.add_review_set(session, [], kind="rating", model_version=version.model_version, seed=1, as_of=NOON)
    said = {"snapshot_id": snapshot.id, "model_version": version.model_version, "raw_score": 0.5, "ai_rating": 2.5}
    scoring.add_inferences(session, [said])
    _fill_project(session)
    session.flush()


def _fill_project(session: Session) -> None:
    project = make_project(session)
    ids = [photo.id for photo in (make_photo(session, project), make_photo(session, project)) if photo.id is not None]
    group, _ = selections.find_or_add_group(session, project, ids, "stages")
    selections.choose(session, group_id=group, photo_id=ids[0], rater="r", label_source="test")
    selections.crop_photo(session, photo_id=ids[0], box=(0, 0, 0.5, 0.5), rater="r", label_source="test")


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize("statement", ["UPDATE {table} SET id = id", "DELETE FROM {table}", "TRUNCATE {table} CASCADE"])
def test_append_only_rows_are_never_changed_or_removed(rolled_back: Session, table: str, statement: str) -> None:
    _fill(rolled_back)
    assert rolled_back.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() > 0
    with pytest.raises(DBAPIError, match="append-only"):
        rolled_back.execute(text(statement.format(table=table)))


@pytest.mark.parametrize("statement", ["DELETE FROM model_training_runs", "TRUNCATE model_training_runs CASCADE"])
def test_a_training_run_is_never_removed(rolled_back: Session, statement: str) -> None:
    _fill(rolled_back)
    with pytest.raises(DBAPIError, match="append-only"):
        rolled_back.execute(text(statement))


def _put_in_state(session: Session, state: str) -> int:
    job, _ = jobs.add_job(session, "train", {}, queue="train", max_attempts=3)
    assert job.id is not None
    if state == "queued":
        return job.id
    if state == "cancelled":
        jobs.cancel_job(session, job.id)
        return job.id
    claim = jobs.claim_job(session, job.id, "w", 60)
    assert claim is not None
    if state != "running":
        assert jobs.finish_job(session, claim, state)
    return job.id


_SET = {
    "running": "state='running', lease_owner='w', lease_until=now(), finished_at=NULL, "
    "attempt=attempt + (state='queued')::int",
    "queued": "state='queued', lease_owner=NULL, lease_until=NULL, finished_at=NULL",
    **{s: f"state='{s}', lease_owner=NULL, lease_until=NULL, finished_at=now()" for s in FINAL_STATES},
}


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_a_job_only_takes_allowed_steps(rolled_back: Session, before: str, after: str) -> None:
    job_id = _put_in_state(rolled_back, before)
    statement = text(f"UPDATE jobs SET {_SET[after]} WHERE id = :id")
    if after in TRANSITIONS.get(before, ()) or (before == after and before not in FINAL_STATES):
        rolled_back.execute(statement, {"id": job_id})
    else:
        with pytest.raises(DBAPIError, match=r"cannot go from|does not change any more"):
            rolled_back.execute(statement, {"id": job_id})


@pytest.mark.parametrize(
    ("before", "change", "words"),
    [
        ("queued", "attempt = 1", "counts an attempt"),
        ("queued", "state = 'running', lease_owner = 'w', lease_until = now()", "counts an attempt"),
        ("queued", "state = 'running', lease_owner = 'w', lease_until = now(), attempt = 2", "counts an attempt"),
        ("running", "attempt = attempt + 1", "counts an attempt"),
        ("running", "attempt = attempt - 1", "counts an attempt"),
        ("running", f"{_SET['queued']}, attempt = 0", "counts an attempt"),
        ("running", f"{_SET['succeeded']}, attempt = attempt + 1", "counts an attempt"),
        ("queued", "max_attempts = 9", "gets one more attempt"),
        ("running", "max_attempts = max_attempts + 1", "gets one more attempt"),
        ("running", f"{_SET['queued']}, max_attempts = max_attempts + 2", "gets one more attempt"),
        ("queued", "lease_owner = 'w'", "only_running_is_leased"),
        ("queued", "lease_until = now()", "only_running_is_leased"),
        ("running", "lease_owner = 'thief'", "changes its owner"),
        ("running", "lease_owner = NULL", "running_is_leased"),
        ("running", "lease_until = NULL", "running_is_leased"),
        ("running", "state = 'succeeded', finished_at = now()", "running_is_leased"),
        ("running", "state = 'succeeded', lease_owner = NULL, lease_until = NULL", "final_is_finished"),
        ("running", "finished_at = now()", "final_is_finished"),
        ("queued", "cancel_requested = true", "neither waits nor starts"),
        ("stopping", "cancel_requested = false", "cannot be taken back"),
        ("stopping", _SET["queued"], "neither waits nor starts"),
        ("running", "progress = 1.5", "progress"),
        *((state, f"{column} = {value}", "stays what it was submitted as")
          for state in ("queued", "running")
          for column, value in (("kind", "'evaluate'"), ("queue", "'default'"), ("params", "'{\"a\": 1}'"),
                                ("priority", "1"), ("idempotency_key", "'k'"), ("retry_of", "id"),
                                ("parent_id", "id"), ("run_id", "1"), ("created_at", "now() - interval '1 day'"))),
    ],
)  # fmt: skip
def test_no_column_of_a_job_changes_but_by_the_rules(
    rolled_back: Session, before: str, change: str, words: str
) -> None:
    job_id = _put_in_state(rolled_back, "running" if before == "stopping" else before)
    if before == "stopping":
        jobs.cancel_job(rolled_back, job_id)
    with pytest.raises(DBAPIError, match=words):
        rolled_back.execute(text(f"UPDATE jobs SET {change} WHERE id = :id"), {"id": job_id})


@pytest.mark.parametrize("state", FINAL_STATES)
@pytest.mark.parametrize("change", ["reason = 'other'", "result = '{}'", "progress = 0", "cancel_requested = true"])
def test_a_finished_job_never_changes(rolled_back: Session, state: str, change: str) -> None:
    job_id = _put_in_state(rolled_back, state)
    with pytest.raises(DBAPIError, match="does not change any more"):
        rolled_back.execute(text(f"UPDATE jobs SET {change} WHERE id = :id"), {"id": job_id})


@pytest.mark.parametrize("statement", ["DELETE FROM jobs", "TRUNCATE jobs CASCADE"])
def test_a_job_is_never_removed(rolled_back: Session, statement: str) -> None:
    _put_in_state(rolled_back, "queued")
    with pytest.raises(DBAPIError, match="append-only"):
        rolled_back.execute(text(statement))


@pytest.mark.parametrize(
    "born",
    [
        "'running', 1, false, 'w', now(), NULL",
        "'succeeded', 0, false, NULL, NULL, now()",
        "'queued', 1, false, NULL, NULL, NULL",
        "'queued', 0, true, NULL, NULL, NULL",
    ],
)
def test_a_job_begins_queued(rolled_back: Session, born: str) -> None:
    with pytest.raises(DBAPIError, match="begins queued"):
        rolled_back.execute(
            text(
                "INSERT INTO jobs (kind, queue, priority, max_attempts, state, attempt, cancel_requested, lease_owner, "
                f"lease_until, finished_at) VALUES ('train', 'train', 1, 3, {born})"
            )
        )


def test_a_job_is_tried_again_by_one_other_at_most(rolled_back: Session) -> None:
    job_id = _put_in_state(rolled_back, "failed")
    jobs.add_job(rolled_back, "train", {}, queue="train", max_attempts=3, retry_of=job_id)
    with pytest.raises(IntegrityError, match="uq_jobs_retry_of"):
        jobs.add_job(rolled_back, "train", {}, queue="train", max_attempts=3, retry_of=job_id)


def test_the_identity_of_a_training_run_never_changes(rolled_back: Session) -> None:
    version = make_version(rolled_back)
    with pytest.raises(DBAPIError, match="keeps its version"):
        rolled_back.execute(
            text("UPDATE model_training_runs SET model_version = 'other' WHERE id = :id"),
            {"id": version.training_run_id},
        )


def test_an_unscored_event_never_carries_a_score(rolled_back: Session) -> None:
    rolled_back.add(ScoringEvent(kind="rating", path_taken="unscored", reason="no model", raw_score=0.5))
    with pytest.raises(IntegrityError, match="unscored_has_no_score"):
        rolled_back.flush()


def test_an_unscored_event_says_why(rolled_back: Session) -> None:
    rolled_back.add(ScoringEvent(kind="rating", path_taken="unscored"))
    with pytest.raises(IntegrityError, match="unscored_has_reason"):
        rolled_back.flush()
