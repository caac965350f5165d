"""The stage `evaluate` gives the verb what it needs: raw ratings as of the dataset's time, places, and a cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, col, select

from db.engine import session_scope
from db.queries import evaluations, labels
from db.tables import WebcamSnapshot
from ml.baselines import BOOSTING, RIDGE, SINGLE, TIME
from ml.export_dataset import Gates
from ml.images.store import FileStore
from ml.manifest import ManifestRow
from tests.tiny_model import register_bundle
from tests.worker.conftest import write_generated_labels
from worker.importers.snapshots import import_snapshots
from worker.jobs import run_job
from worker.places import feature_cache
from worker.queue import submit
from worker.stages import evaluate
from worker.stages.export_dataset import export_now
from worker.verified import dataset_rows


def _rate_again(session: Session, rater: str, shift: int) -> None:
    """A second opinion on every rated frame: the first one and `shift` more, within 1 to 5."""
    for snapshot in session.exec(select(WebcamSnapshot).order_by(col(WebcamSnapshot.id))).all():
        assert snapshot.id is not None
        first = labels.list_ratings(session, snapshot.id)[0]
        stars = None if first.rating is None else min(max(first.rating + shift, 1), 5)
        labels.rate_snapshot(
            session,
            snapshot_id=snapshot.id,
            rater=rater,
            rating=stars,
            is_sunset=stars is not None,
            label_source="test",
        )


@pytest.fixture(scope="module")
def labelled(database: str, store: FileStore, tmp_path_factory: pytest.TempPathFactory) -> FileStore:
    """Sixty generated frames, each rated by ann, and by bob who gives a star more."""
    folder = tmp_path_factory.mktemp("frames")
    import_snapshots(write_generated_labels(folder), folder, store)
    with session_scope() as session:
        _rate_again(session, "bob", 1)
    return store


@pytest.fixture(scope="module")
def report(labelled: FileStore) -> dict[str, Any]:
    """What an evaluation of the tiny bundle, trained elsewhere, reports."""
    with session_scope() as session:
        version = register_bundle(session, labelled).model_version
        job, _ = submit(session, "evaluate", {"model_version": version})
    assert job.id is not None
    assert run_job(job.id, "test") == "succeeded"
    with session_scope() as session:
        evaluation = evaluations.latest_evaluation(session, version)
    assert evaluation is not None
    content: dict[str, Any] = evaluation.report
    return content


def test_the_report_knows_the_raters_and_the_floor(report: dict[str, Any]) -> None:
    noise = report["noise"]
    assert noise["known"] is True
    assert [each["rater"] for each in noise["raters"]] == ["ann", "bob"]
    biases = {each["rater"]: each["bias"] for each in noise["raters"]}
    assert biases["bob"] - biases["ann"] > 0.5
    assert noise["subsets"][report["headline"]]["mae_floor"] > 0.0
    assert noise["sentence"] in report["notes"]


def test_the_model_stands_beside_baselines_that_look_at_frames_and_at_the_sun(report: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in report["subsets"][report["headline"]]["rows"]}
    assert {TIME, SINGLE, RIDGE, BOOSTING} <= set(rows)
    assert rows[TIME]["detail"].startswith("local hour")  # the import names longitudes only
    assert report["skill"]["against"] in rows
    assert len(list(feature_cache().rglob("*.npy"))) > 0
    places = report["gate"]["simplicity"]  # a bundle from elsewhere may say of itself what it likes
    assert places["model"] == len(places["order"]) - 1


def test_ratings_are_those_of_the_kept_rows_as_of_the_dataset(labelled: FileStore, tmp_path: Path) -> None:
    dataset = export_now("rating", "regression", Gates())
    rows: list[ManifestRow] = dataset_rows(labelled, dataset)
    left_out = next(row for row in rows if row.split is not None)
    rows = [row.excluded("for this test") if row is left_out else row for row in rows]
    evaluate._write_ratings(tmp_path / "before.csv", rows, dataset.id)
    with session_scope() as session:
        _rate_again(session, "late", 0)
    evaluate._write_ratings(tmp_path / "after.csv", rows, dataset.id)
    text = (tmp_path / "before.csv").read_text()
    assert (tmp_path / "after.csv").read_text() == text
    lines = [line.split(",") for line in text.splitlines()]
    assert lines[0] == ["snapshot_id", "rater", "rating", "verdict", "label_source"]
    assert {int(line[0]) for line in lines[1:]} == {row.snapshot_id for row in rows if row.split is not None}
    assert {line[1] for line in lines[1:]} == {"ann", "bob"}
    assert {line[3] for line in lines[1:] if line[2] == ""} <= {"not_a_sunset"}


def test_without_a_dataset_no_ratings_are_given(labelled: FileStore, tmp_path: Path) -> None:
    evaluate._write_ratings(tmp_path / "ratings.csv", [], None)
    assert not (tmp_path / "ratings.csv").exists()
