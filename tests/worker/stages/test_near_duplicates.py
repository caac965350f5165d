"""A picture that stands twice among the labels, under two webcams, is trained on or tested on, never both."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from PIL import Image

from db.engine import session_scope
from db.queries import jobs, models
from db.tables import ModelTrainingRun
from ml.images.fingerprints import fingerprints_of
from ml.images.store import FileStore
from ml.near_duplicates import NEAR_DUPLICATE_OF_TEST, find_near_duplicates, near_split
from tests.worker.conftest import debug_recipe, write_generated_labels
from worker.importers.snapshots import import_snapshots
from worker.jobs import run_job
from worker.queue import submit_training
from worker.stages.train import run_manifest


def _encoded_again(path: Path) -> bytes:
    written = io.BytesIO()
    with Image.open(path) as opened:
        opened.save(written, "JPEG", quality=70)
    return written.getvalue()


@pytest.fixture(scope="module")
def trained(database: str, store: FileStore, tmp_path_factory: pytest.TempPathFactory) -> ModelTrainingRun:
    """A run on forty-eight frames and copies of them all, encoded again, which somebody sent in for other webcams."""
    folder = tmp_path_factory.mktemp("frames")
    labels = write_generated_labels(folder, num_webcams=12, num_days=4)
    with labels.open(newline="", encoding="utf-8") as file:
        header, *lines = list(csv.reader(file))
    for line in list(lines):
        copy = f"copy-{line[0]}"
        (folder / copy).write_bytes(_encoded_again(folder / line[0]))
        lines.append([copy, f"copy of {line[1]}", *line[2:]])
    with labels.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *lines])
    import_snapshots(labels, folder, store)
    with session_scope() as session:
        run, job = submit_training(session, "rating", debug_recipe())
    assert job.id is not None and run.id is not None
    assert run_job(job.id, "test") == "succeeded"
    with session_scope() as session:
        logged = [str(event.message) for event in jobs.job_events(session, job.id) if event.event == "log"]
        assert any(line.startswith("near-duplicates: ") for line in logged)
        return models.get_run(session, run.id)


def test_copies_of_test_images_leave_training_and_every_row_is_counted(
    trained: ModelTrainingRun, store: FileStore
) -> None:
    rows = run_manifest(store, trained)
    counts = trained.params_json["active_manifest"]["counts"]
    assert counts["kept"] + counts["num_excluded"] == counts["total"] == len(rows) == 96
    assert counts["excluded"][NEAR_DUPLICATE_OF_TEST] > 0
    kept = [row for row in rows if row.split is not None]
    prints = fingerprints_of(store.image, [str(row.image_sha256) for row in kept], None)
    twins = find_near_duplicates(kept, prints).twins
    assert len(twins) > 0  # those within one split stay
    assert near_split(kept, twins, ("train", "val"), "test") == near_split(kept, twins, ("train",), "val") == []
