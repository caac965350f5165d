"""Retention takes what is old and needed by nobody, and nothing else, whoever comes in between."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import Session, col, select

from api.ingest import CheckedFrame, keep_frame
from api.schemas.webcams import SnapshotFields
from db.engine import session_scope
from db.queries import exclusions, images, jobs, labels, models, retention, webcams
from db.queries.jobs import Claim
from db.tables import ImageRemoval, ScoringEvent, WebcamSnapshot
from ml.export_dataset import Gates
from ml.images.decode import inspect
from ml.images.store import FileStore
from tests.builders import NOON, make_snapshot, make_version, make_webcam
from tests.tiny_model import picture
from worker.job_context import JobContext
from worker.schedule import submit_retention
from worker.stages import retain as stage
from worker.stages.export_dataset import export_now
from worker.stages.retain import Ages, plan, retain
from worker.verified import dataset_rows

AGES = Ages(frames_days=30, events_days=30)
OLD = datetime.now(UTC) - timedelta(days=40)


def stored_snapshot(session: Session, store: FileStore, data: bytes | None = None, **facts: Any) -> WebcamSnapshot:
    """A snapshot whose image lies in the store; old unless `created_at` says otherwise."""
    data = data or picture(random.randrange(256))
    info = inspect(data)
    store.put_image(data)
    images.add_image(session, info.sha256, info.media_type, info.width, info.height, info.byte_size)
    return make_snapshot(session, image_key=f"sha256:{info.sha256}", image_sha256=info.sha256,
                         **{"created_at": OLD, **facts})  # fmt: skip


def rate(session: Session, snapshot: WebcamSnapshot, rater: str = "ann") -> None:
    assert snapshot.id is not None
    labels.rate_snapshot(session, snapshot_id=snapshot.id, rater=rater, rating=4, is_sunset=True, label_source="human")


def states(ids: list[int]) -> dict[int, tuple[str, str | None]]:
    with session_scope() as session:
        rows = session.exec(select(WebcamSnapshot).where(col(WebcamSnapshot.id).in_(ids))).all()
        return {row.id: (row.image_state, row.image_sha256) for row in rows if row.id is not None}


def name_in_dataset(session: Session, snapshot: WebcamSnapshot) -> None:
    row = {"snapshot_id": snapshot.id, "label_source": "x", "label_value": 3.0, "target_label": None, "split": None,
           "seen": None, "group_id": "g", "image_sha256": None, "rating_count": 1, "exclusion_reason": "x"}  # fmt: skip
    models.add_dataset(session, [row], kind="rating", as_of=NOON, manifest_sha256="0" * 64, artifact_key="k")


def name_in_training(session: Session, snapshot: WebcamSnapshot) -> None:
    run_id = make_version(session).training_run_id
    label = {"training_run_id": run_id, "snapshot_id": snapshot.id, "label_source": "x", "label_value": 3.0,
             "split": "train", "image_sha256": snapshot.image_sha256}  # fmt: skip
    models.add_provenance(session, [label], [])


def take_back(session: Session, snapshot: WebcamSnapshot) -> None:
    rate(session, snapshot)
    assert snapshot.id is not None
    labels.retract_rating(session, snapshot_id=snapshot.id, rater="ann")


ACTS = {"rated": rate, "taken-back": take_back, "in-dataset": name_in_dataset, "in-training": name_in_training}


@pytest.mark.parametrize("seed", range(4))
def test_over_random_histories_nothing_that_somebody_needs_is_ever_removed(
    database: str, store: FileStore, seed: int
) -> None:
    chance = random.Random(seed)
    contents = [picture(level) for level in range(40)]
    needed: dict[int, bool] = {}
    content_of: dict[int, str] = {}
    with session_scope() as session:
        imported = exclusions.begin_import(session, file_name="x.csv", file_sha256="0" * 64, by="test")
        for _ in range(60):
            facts: dict[str, Any] = {}
            if recent := chance.random() < 0.2:
                facts["created_at"] = datetime.now(UTC) - timedelta(days=chance.uniform(0, 29))
            if seeded := chance.random() < 0.15:
                facts["initial_rating"] = 3.0
            if brought := chance.random() < 0.1:
                facts["import_id"] = imported
            snapshot = stored_snapshot(session, store, chance.choice(contents), **facts)
            acts = [act for act in ACTS if chance.random() < 0.15]
            for act in acts:
                ACTS[act](session, snapshot)
            assert snapshot.id is not None and snapshot.image_sha256 is not None
            needed[snapshot.id] = bool(recent or seeded or brought or acts)
            content_of[snapshot.id] = snapshot.image_sha256
        planned = plan(session, AGES)
    frames = planned["frames"]
    for unit in ("frames", "bytes"):
        parts = sum(each[unit] for each in frames["kept"].values())
        assert parts + frames["removed"][unit] == frames["total"][unit]
    assert states(list(needed)) == {id_: ("present", content_of[id_]) for id_ in needed}  # a plan changes nothing
    done = retain(store, AGES)
    assert done["frames"] == frames["removed"]["frames"] == sum(not each for each in needed.values())
    after = states(list(needed))
    for id_, is_needed in needed.items():
        assert after[id_] == ("present" if is_needed else "removed", content_of[id_])
    for sha256 in set(content_of.values()):
        assert store.has_image(sha256) == any(needed[id_] for id_ in needed if content_of[id_] == sha256)
    assert retain(store, AGES) == {"frames": 0, "images": 0, "bytes": 0, "events": 0}


KILLED = """
import os, signal, sys
from worker.places import file_store
from worker.stages import retain as stage
store, seen = file_store(), []
def between(message):
    seen.append(message)
    if len(seen) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
delete = store.delete_image
def slow(sha256):
    delete(sha256)
    between("one file")
store.delete_image = slow
stage.retain(store, stage.Ages(30, 30), between)
"""


def test_a_retention_that_is_killed_anywhere_leaves_no_row_that_names_missing_bytes_and_is_finished_later(
    database: str, store: FileStore
) -> None:
    with session_scope() as session:
        ids = [stored_snapshot(session, store).id for _ in range(4)]
    contents = {sha256 for _, sha256 in states(ids).values()}  # type: ignore[arg-type]
    for step in (1, 3):  # between rows and files; in the middle of the files
        ended = subprocess.run([sys.executable, "-c", KILLED, str(step)], env=os.environ, capture_output=True)
        assert ended.returncode == -9, ended.stderr.decode()
        for state, sha256 in states(ids).values():  # type: ignore[arg-type]
            assert state == "removed" or store.has_image(str(sha256))
    with session_scope() as session:
        assert session.exec(select(ImageRemoval)).all()
    retain(store, AGES)
    assert not any(store.has_image(str(sha256)) for sha256 in contents)
    with session_scope() as session:
        assert not session.exec(select(ImageRemoval)).all()


def test_a_frame_that_is_being_rated_is_left_alone(database: str, store: FileStore) -> None:
    with session_scope() as session:
        snapshot = stored_snapshot(session, store)
    with session_scope() as rating:
        rate(rating, snapshot)  # not committed yet
        assert retain(store, AGES)["frames"] == 0
    assert retain(store, AGES)["frames"] == 0
    assert states([snapshot.id]) == {snapshot.id: ("present", snapshot.image_sha256)}  # type: ignore[list-item]
    assert store.has_image(str(snapshot.image_sha256))


def test_a_frame_that_was_rated_after_it_was_chosen_is_seen_under_the_lock(database: str, store: FileStore) -> None:
    with session_scope() as session:
        snapshot = stored_snapshot(session, store)
        cutoff = webcams.database_time(session) - timedelta(days=30)
    with session_scope() as session:
        chosen = retention.frames_to_remove(session, cutoff, after=0, limit=1000)
    assert snapshot.id in chosen
    with session_scope() as session:
        rate(session, snapshot)
    with session_scope() as session:
        retention.remove_frames(session, chosen, cutoff)
    assert states([snapshot.id])[snapshot.id][0] == "present"  # type: ignore[list-item,index]


def test_a_rating_that_comes_too_late_is_kept_and_the_export_says_why_it_is_left_out(
    database: str, store: FileStore
) -> None:
    with session_scope() as session:
        snapshot = stored_snapshot(session, store)
    assert snapshot.id is not None

    def rate_in_a_thread() -> None:
        with session_scope() as session:
            rate(session, snapshot, "late")

    rater = threading.Thread(target=rate_in_a_thread)
    with session_scope() as session:
        cutoff = webcams.database_time(session) - timedelta(days=30)
        assert retention.remove_frames(session, [snapshot.id], cutoff) == 1
        rater.start()
        rater.join(0.5)
        assert rater.is_alive()  # it waits for the lock
    rater.join(30)
    retain(store, AGES)
    with session_scope() as session:
        assert webcams.get_snapshot(session, snapshot.id).rating_count == 1
    row = next(row for row in dataset_rows(store, export_now("rating", "regression", Gates()))
               if row.snapshot_id == snapshot.id)  # fmt: skip
    assert (row.exclusion_reason, row.split) == ("image-removed", None)


def test_a_new_frame_of_a_content_that_is_being_removed_gets_its_bytes_anew(database: str, store: FileStore) -> None:
    data = picture(7)
    with session_scope() as session:
        old, webcam = stored_snapshot(session, store, data), make_webcam(session)
        cutoff = webcams.database_time(session) - timedelta(days=30)
    assert old.id is not None and webcam.id is not None
    with session_scope() as session:
        retention.remove_frames(session, [old.id], cutoff)
    fields = SnapshotFields(webcam_id=webcam.id, phase="sunset", captured_at=NOON)
    kept: list[bool] = []

    def keep_in_a_thread() -> None:
        with session_scope() as session:
            kept.append(keep_frame(session, store, CheckedFrame(data, inspect(data), fields))[1])

    keeper = threading.Thread(target=keep_in_a_thread)
    with session_scope() as session:
        free = retention.release_images(session, [str(old.image_sha256)])
        assert list(free) == [old.image_sha256]
        keeper.start()
        keeper.join(0.5)
        assert keeper.is_alive()  # its row waits for the lock, and its bytes come after the row
        store.delete_image(str(old.image_sha256))
    keeper.join(30)
    assert kept == [True] and store.has_image(str(old.image_sha256))
    assert retain(store, AGES)["images"] == 0


def test_a_removed_frame_that_is_sent_again_stays_removed(database: str, store: FileStore) -> None:
    data = picture(9)
    with session_scope() as session:
        webcam = make_webcam(session)
        snapshot = stored_snapshot(session, store, data, webcam_id=webcam.id, captured_at=NOON)
    retain(store, AGES)
    fields = SnapshotFields(webcam_id=webcam.id, phase="sunset", captured_at=NOON)
    with session_scope() as session:
        again, is_new = keep_frame(session, store, CheckedFrame(data, inspect(data), fields))
    assert (again.id, is_new, again.image_state) == (snapshot.id, False, "removed")
    assert not store.has_image(str(snapshot.image_sha256))


def test_old_attempts_go_in_batches_but_those_that_name_a_snapshot_stay(
    database: str, store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "EVENTS_AT_ONCE", 3)
    with session_scope() as session:
        snapshot = stored_snapshot(session, store, created_at=datetime.now(UTC))
        facts = {"kind": "rating", "path_taken": "unscored", "reason": "test"}
        session.add_all([ScoringEvent(**facts, scored_at=OLD) for _ in range(7)])
        session.add_all([ScoringEvent(**facts), ScoringEvent(**facts, scored_at=OLD, snapshot_id=snapshot.id)])
        session.flush()
        found = plan(session, AGES)["events"]
    assert found["removed"] == 7 and sum(found["kept"].values()) + 7 == found["total"]
    assert retain(store, AGES)["events"] == 7
    with session_scope() as session:
        left = plan(session, AGES)["events"]
        assert (left["removed"], left["total"]) == (0, found["total"] - 7)


def test_the_job_counts_and_removes_only_when_it_is_told_to(database: str, store: FileStore) -> None:
    with session_scope() as session:
        snapshot = stored_snapshot(session, store)

    def run(**params: Any) -> dict[str, Any]:
        claim = Claim(1, "retain", {"frames_days": 30.0, "events_days": None, **params}, 1, "w", None)
        return stage.run(JobContext(claim)).result

    counted = run(dry_run=True)
    assert counted["frames"]["removed"]["frames"] == 1 and "done" not in counted
    assert states([snapshot.id])[snapshot.id][0] == "present"  # type: ignore[list-item,index]
    assert run(dry_run=False)["done"]["frames"] == 1
    assert states([snapshot.id])[snapshot.id][0] == "removed"  # type: ignore[list-item,index]


@pytest.fixture
def every_day(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from worker.settings import worker_settings

    monkeypatch.setenv("AFTERGLOW_RETAIN_EVERY_H", "24")
    worker_settings.cache_clear()
    yield
    worker_settings.cache_clear()


def test_the_clock_starts_it_once_a_slot_and_only_if_a_setting_says_so(database: str) -> None:
    assert submit_retention(now_s=1e9) is None


def test_the_clock_submits_one_a_slot(every_day: None) -> None:
    job_id = submit_retention(now_s=1e9)
    assert job_id is not None and submit_retention(now_s=1e9 + 1) is None
    with session_scope() as session:
        job = jobs.get_job(session, job_id)
    assert (job.kind, job.params["dry_run"]) == ("retain", False)
    assert submit_retention(now_s=1e9 + 86400) not in (None, job_id)
