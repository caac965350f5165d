"""Compare two training runs: their rows from provenance, their predictions from the evaluations in the store."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session

from db.errors import Conflict
from db.queries import evaluations, lineage, models
from db.tables import ModelTrainingRun
from ml.diff_page import pictured_images
from ml.diff_runs import Prediction, Side, UsedRow, diff_runs, read_predictions
from ml.frames import thumbnail
from ml.images.decode import ImageError
from ml.images.store import FileStore, StoreError
from ml.judgements import judgement
from worker.verified import read_evaluation_file

NUM_EVALUATIONS = 10
"""Newest evaluations of a version that are asked for predictions."""


def diff_two_runs(
    session: Session, store: FileStore, base: ModelTrainingRun, other: ModelTrainingRun, limit: int | None = None
) -> dict[str, Any]:
    """What changed from `base` to `other`, as `ml.diff_runs.diff_runs` says it.

    Raises:
        Conflict: They are one run, or of two kinds.
        StoreError: The predictions of an evaluation cannot be read, or are not those that it wrote.
    """
    if base.id == other.id:
        raise Conflict(f"run {base.id} is compared with itself: name two runs")
    if base.kind != other.kind:
        raise Conflict(f"{base.model_version} is a {base.kind} model and {other.model_version} a {other.kind} model")
    found = diff_runs(judgement(base.kind), _side(session, store, base), _side(session, store, other), limit)
    return {**found, "base_run": base.id, "other_run": other.id}


def pictures(store: FileStore, content: dict[str, Any]) -> dict[str, bytes]:
    """Thumbnails of the frames that a diff's page shows, by sha256; those that cannot be had are left out."""
    found = {}
    for sha256 in pictured_images(content):
        try:
            found[sha256] = thumbnail(store.image(sha256))
        except (StoreError, ImageError):
            continue  # the page says "no picture"
    return found


def _side(session: Session, store: FileStore, run: ModelTrainingRun) -> Side:
    assert run.id is not None
    rows = {
        row.snapshot_id: UsedRow(
            row.snapshot_id, row.image_sha256, row.label_value, row.label_source, row.split,
            {one.user_session_id: one.rating for one in row.ratings},
        )
        for row in lineage.run_rows(session, run.id)
    }  # fmt: skip
    version = models.find_version_of_run(session, run.id)
    if version is None:
        return Side(run.model_version, rows)
    return Side(
        run.model_version,
        rows,
        _predictions(session, store, run.model_version),
        version.head,
        version.threshold_policy,
        (version.scale_low, version.scale_high),
    )


def _predictions(session: Session, store: FileStore, model_version: str) -> dict[int, Prediction]:
    """Every prediction that evaluations of a version kept. The model never changes, so the newest word is as good as any."""
    found: dict[int, Prediction] = {}
    for evaluation in evaluations.list_evaluations(session, model_version, limit=NUM_EVALUATIONS):
        data = read_evaluation_file(store, evaluation, "predictions.csv")
        if data is not None:
            found = read_predictions(data) | found
    return found
