"""Whether stored files that must never change are as they were: their bytes are read and compared with the database."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from worker.cli.checks.finding import Finding, Place, ok, problem, unknown
from worker.cli.checks.services import NOT_RUNNING, plain_url

NEWEST = 20
"""Rows of each table whose files are read when not all of them are asked for."""
ALL_FILES = "afterglow doctor --files"

_BUNDLES = """
    SELECT model_version, bundle_key, bundle_sha256, count(*) OVER () AS num_all FROM model_versions
    ORDER BY model_version IN (SELECT DISTINCT ON (kind) model_version FROM model_activations ORDER BY kind, id DESC) DESC,
             id DESC LIMIT %s
"""
_DATASETS = """
    SELECT id, artifact_key, manifest_sha256, count(*) OVER () AS num_all FROM datasets ORDER BY id DESC LIMIT %s
"""
_RUNS = """
    SELECT id, manifest_sha256, count(*) OVER () AS num_all FROM model_training_runs WHERE manifest_sha256 IS NOT NULL
    ORDER BY id DESC LIMIT %s
"""


_RUN_FILES = """
    SELECT id, artifact_path, artifact_sha256, count(*) OVER () AS num_all FROM model_training_runs
    WHERE artifact_path IS NOT NULL AND artifact_sha256 IS NOT NULL ORDER BY id DESC LIMIT %s
"""
_EVALUATIONS = """
    SELECT id, artifact_key, files_sha256, count(*) OVER () AS num_all FROM evaluations WHERE files_sha256 IS NOT NULL
    ORDER BY id DESC LIMIT %s
"""
_IMAGES = """
    SELECT sha256, count(*) OVER () AS num_all FROM images
    WHERE EXISTS (SELECT FROM webcam_snapshots AS s WHERE s.image_sha256 = images.sha256 AND s.image_state = 'present')
    ORDER BY id DESC LIMIT %s
"""


def check_bundles(place: Place) -> Iterator[Finding]:
    """The bundles of model versions: those that are active, and the newest."""
    from db.tables import ModelVersion
    from worker.places import file_store
    from worker.verified import fetch_bundle

    store = file_store()

    def check(row: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory(prefix="afterglow-doctor-") as directory:
            fetch_bundle(store, ModelVersion(**row), Path(directory) / "bundle")

    yield from _checked(place, "bundles", _BUNDLES, check, lambda row: str(row["model_version"]))


def check_manifests(place: Place) -> Iterator[Finding]:
    """The manifests of datasets and of training runs, the newest first."""
    from db.tables import Dataset
    from worker.places import file_store
    from worker.verified import check_dataset, read_active_manifest

    store = file_store()
    yield from _checked(
        place,
        "datasets",
        _DATASETS,
        lambda row: check_dataset(store, Dataset(**row)),
        lambda row: f"dataset {row['id']}",
    )
    yield from _checked(
        place, "manifests", _RUNS, lambda row: read_active_manifest(store, row["manifest_sha256"]),
        lambda row: f"run {row['id']}",
    )  # fmt: skip


def check_results(place: Place) -> Iterator[Finding]:
    """What training runs wrote, the files of evaluations, and the images of frames, the newest first."""
    from db.tables import Evaluation, ModelTrainingRun
    from worker.places import file_store
    from worker.verified import check_evaluation, fetch_run

    store = file_store()

    def check_run(row: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory(prefix="afterglow-doctor-") as directory:
            fetch_run(store, ModelTrainingRun(**row), Path(directory) / "run")

    yield from _checked(place, "runs", _RUN_FILES, check_run, lambda row: f"run {row['id']}")
    yield from _checked(
        place, "evaluations", _EVALUATIONS, lambda row: check_evaluation(store, Evaluation(**row)),
        lambda row: f"evaluation {row['id']}",
    )  # fmt: skip
    yield from _checked(place, "images", _IMAGES, lambda row: store.image(row["sha256"]), lambda _: "an image")


def _checked(
    place: Place,
    about: str,
    query: str,
    check: Callable[[dict[str, Any]], object],
    name: Callable[[dict[str, Any]], str],
) -> Iterator[Finding]:
    """A finding for every row whose files are not as recorded, else one that says how many were read."""
    from ml.bundle import BundleError
    from ml.images.store import StoreError
    from ml.manifest import ManifestError

    rows, num_all = _rows(place, query)
    if rows is None:
        yield unknown(about, NOT_RUNNING if place.database_url is None else "The database has no such table yet.",
                      "afterglow migrate")  # fmt: skip
        return
    is_whole = True
    for row in rows:
        try:
            check(row)
        except (BundleError, ManifestError, StoreError) as error:
            is_whole = False
            yield problem(about, f"{name(row)}: {str(error).rstrip('.')}.", "put the files back from a backup")
    if is_whole:
        rest = f" of {num_all}, the newest" if num_all > len(rows) else ""
        yield ok(about, f"Read {len(rows)}{rest}: each byte is as it was recorded.", ALL_FILES if rest else None)


def _rows(place: Place, query: str) -> tuple[Sequence[dict[str, Any]] | None, int]:
    """The rows to look at and how many there are in all; None where there is no database or no table."""
    import psycopg
    from psycopg.rows import dict_row

    if place.database_url is None:
        return None, 0
    try:
        with psycopg.connect(plain_url(place.database_url), connect_timeout=5, row_factory=dict_row) as connection:
            rows = connection.execute(query, (None if place.every_file else NEWEST,)).fetchall()
    except psycopg.Error:
        return None, 0
    num_all = rows[0]["num_all"] if rows else 0
    return [{key: value for key, value in row.items() if key != "num_all"} for row in rows], num_all
