"""Rows that tests need, made through the queries of the product."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlmodel import Session

from db.queries import images, models, photos, webcams
from db.tables import ModelTrainingRun, ModelVersion, Photo, Webcam, WebcamSnapshot
from ml.splits import local_day, webcam_group

_numbers = itertools.count(1)
NOON = datetime(2026, 2, 12, 17, 0, tzinfo=UTC)


def make_webcam(session: Session, **facts: Any) -> Webcam:
    """A webcam that nobody else has."""
    webcam, _ = webcams.find_or_add_webcam(session, "test", f"cam-{next(_numbers)}", **facts)
    return webcam


def make_snapshot(session: Session, webcam: Webcam | None = None, **facts: Any) -> WebcamSnapshot:
    """A snapshot with an image of its own (in the tables only, not in a store)."""
    number = next(_numbers)
    webcam = webcam or make_webcam(session)
    sha256 = f"{number:064x}"
    images.add_image(session, sha256, "image/jpeg", 32, 24, 1000)
    values = {
        "webcam_id": webcam.id,
        "phase": "sunset",
        "captured_at": NOON + timedelta(minutes=number),
        "image_key": f"sha256:{sha256}",
        "image_sha256": sha256,
        "image_state": "present",
        "image_known_at": webcams.database_time(session),
        "firebase_path": f"{number}.jpg",
        **facts,
    }
    return webcams.add_snapshot(session, **values)[0]


def make_version(session: Session, kind: str = "rating", **facts: Any) -> ModelVersion:
    """A registered version, without a bundle behind it."""
    number = next(_numbers)
    run: ModelTrainingRun = models.add_run(
        session, model_version=f"{kind}_test_{number}", kind=kind, status="registered"
    )
    values = {
        "model_version": run.model_version,
        "kind": kind,
        "head": "regression",
        "training_run_id": run.id,
        "bundle_key": f"bundles/{number:064x}",
        "bundle_sha256": f"{number:064x}",
        "scale_low": 0.0,
        "scale_high": 5.0,
        "threshold_policy": {"kind": "fixed", "threshold": 4.0, "on": "ai_rating", "scale": [0, 5]},
        **facts,
    }
    return models.add_version(session, **values)


def make_project(session: Session) -> int:
    """The id of a project that nobody else has."""
    project = photos.find_or_add_project(session, f"project-{next(_numbers)}")
    assert project.id is not None
    return project.id


def make_photo(session: Session, project_id: int, **facts: Any) -> Photo:
    """A photo with a content of its own (in the tables only, without a file)."""
    number = next(_numbers)
    values = {"sha256": f"{number:064x}", "media_type": "image/png", "width": 96, "height": 72, "byte_size": 1000,
              "orientation": 1, "phash": number, "name": f"{number}.png", "stage": None, "taken_at": None, **facts}  # fmt: skip
    ids, _ = photos.add_photos(session, project_id, [values])
    return session.get_one(Photo, ids[values["sha256"]])


def put_into_split(session: Session, split: str, *snapshot_ids: int) -> None:
    """Record in which split the webcams' days of these snapshots are, which their hashes would decide otherwise."""
    for snapshot_id in snapshot_ids:
        snapshot = webcams.get_snapshot(session, snapshot_id)
        group_id = f"{webcam_group(snapshot.webcam_id)}:{local_day(snapshot.captured_at, None)}"
        row = {"kind": "rating", "group_id": group_id, "split": split, "seen": True, "salt": "test"}
        models.add_split_assignments(session, [row])
