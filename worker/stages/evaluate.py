"""Evaluate a model version: its bundle on frozen test rows, or its out-of-fold scores, beside baselines and the active."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from sqlmodel import Session

from db.engine import session_scope
from db.queries import evaluations, labels, models, webcams
from db.tables import ModelTrainingRun, ModelVersion
from ml.images.decode import sha256_of
from ml.images.store import FileStore
from ml.manifest import ManifestRow, manifest_bytes, manifest_sha256
from worker.jobs import Finish, JobContext
from worker.places import feature_cache, file_store, report_key, work_directory
from worker.ratings_file import ratings_bytes
from worker.retraining import submit_gate
from worker.stages.fresh_rows import fresh_rows
from worker.stages.train import resolve_weights, run_manifest
from worker.training_process import run_verb
from worker.verified import fetch_bundle, fetch_run


def run(context: JobContext) -> Finish:
    """The job `evaluate`: parameters `model_version`, and `fresh` for current labels in place of the run's own rows."""
    store = file_store()
    name = str(context.params["model_version"])
    with session_scope() as session:
        version = models.get_version(session, name)
        training = models.get_run(session, version.training_run_id)
        active = models.active_version(session, version.kind)
    fresh = bool(context.params.get("fresh")) or training.manifest_sha256 is None
    dataset_id: int | None
    if fresh:
        found = fresh_rows(context, store, [version])
        rows, dataset_id = found.rows, found.dataset_id
    else:
        rows, dataset_id = run_manifest(store, training), training.dataset_id
    judged = Judged(rows, dataset_id, fresh, active)
    facts = measure(context, store, version, judged, span=(0.3, 1.0) if fresh else (0.0, 1.0))
    report = facts["report"]
    result: dict[str, object] = {
        "model_version": name, "headline": report["headline"], "report_key": facts["artifact_key"],
    }  # fmt: skip

    def effects(session: Session) -> None:
        row = evaluations.add_evaluation(session, **facts)
        result["evaluation_id"] = row.id
        submit_gate(session, context.claim.job_id, row)

    return Finish(result, effects)


@dataclass(frozen=True)
class Judged:
    """What versions are measured on."""

    rows: list[ManifestRow]
    dataset_id: int | None
    fresh: bool
    """Whether these are rows of now, not those of the version's own run."""
    active: ModelVersion | None
    """The version that serves, measured beside others."""


def measure(
    context: JobContext,
    store: FileStore,
    version: ModelVersion,
    judged: Judged,
    *,
    span: tuple[float, float],
    place: str = "",
    cycle: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Run the verb and store its report; returns what `db.queries.evaluations.add_evaluation` takes.

    Args:
        context: of the job.
        store: where bundle, images and report are.
        version: what is measured.
        judged: on what, and beside what.
        span: of the job's progress.
        place: where its files go within the attempt's, for a job that measures several versions.
        cycle: what the evaluation cycle knows beside these rows, for the report.

    Raises:
        BundleError: The version's files are not those that were registered.
        JobFailed: The verb failed.
    """
    with session_scope() as session:
        training = models.get_run(session, version.training_run_id)
    active = judged.active
    if active is not None and active.model_version == version.model_version:
        active = None
    directory = work_directory(context.claim.job_id, context.claim.attempt) / place
    directory.mkdir(exist_ok=True)
    manifest = directory / "manifest_full.csv"
    manifest.write_bytes(manifest_bytes(judged.rows))
    _write_webcams(directory / "webcams.csv", judged.rows)
    _write_ratings(directory / "ratings.csv", judged.rows, judged.dataset_id)
    _write_dataset(directory / "dataset.json", judged)
    if cycle is not None:
        (directory / "cycle.json").write_text(json.dumps(cycle), encoding="utf-8")
    out = directory / "report"
    out.mkdir(exist_ok=True)
    arguments = _arguments(store, version, training, active, directory, manifest, out, judged.fresh)
    run_verb(context, "ml.evaluate", arguments, directory / "evaluate.log", span)
    key = report_key(context.claim.job_id, context.claim.attempt) + (f"/{place}" if place else "")
    store.put_directory(out, key)
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return {
        "model_version": version.model_version,
        "kind": version.kind,
        "dataset_id": judged.dataset_id,
        "manifest_sha256": manifest_sha256(judged.rows),
        "method": report["method"],
        "compared_with": active.model_version if active else None,
        "report": report,
        "artifact_key": key,
        "files_sha256": {path.name: sha256_of(path.read_bytes()) for path in sorted(out.iterdir())},
    }


def _arguments(
    store: FileStore,
    version: ModelVersion,
    training: ModelTrainingRun,
    active: ModelVersion | None,
    directory: Path,
    manifest: Path,
    out: Path,
    fresh: bool,
) -> list[str]:
    bundle = fetch_bundle(store, version, directory / "bundle")
    arguments = ["--bundle", str(bundle), "--manifest", str(manifest), "--store", store.url, "--out", str(out)]
    arguments += ["--webcams", str(directory / "webcams.csv"), "--cache", str(feature_cache())]
    if (directory / "ratings.csv").exists():
        arguments += ["--ratings", str(directory / "ratings.csv")]
    for name in ("dataset", "cycle"):
        if (directory / f"{name}.json").exists():
            arguments += [f"--{name}", str(directory / f"{name}.json")]
    if training.artifact_path is not None:  # what a model from elsewhere says of itself is not believed
        recipe, source = dict(training.params_json["recipe"]), training.params_json["training"]["weights_source"]
        if source["kind"] in ("imagenet", "file"):  # as they were when it was trained, and without a network
            recipe["weights"] = resolve_weights(store, f"sha256:{source['sha256']}", directory)
        (directory / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
        arguments += ["--recipe", str(directory / "recipe.json")]
    if training.artifact_path is not None and not fresh:
        arguments += ["--run", str(fetch_run(store, training, directory / "run"))]
    if active is not None:
        arguments += ["--active", str(fetch_bundle(store, active, directory / "active"))]
    return arguments


def _write_webcams(path: Path, rows: list[ManifestRow]) -> None:
    """Where the webcams of these rows are, for slices by region, source and local time, and for the sun."""
    with session_scope() as session:
        facts = webcams.webcam_facts(session, sorted({row.webcam_id for row in rows}))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("webcam_id", "lat", "lng", "region", "source", "title"))
        writer.writerows(
            (one.id, _cell(one.lat), _cell(one.lng), one.region or "", one.source, one.title or "") for one in facts
        )


def _cell(number: float | None) -> float | str:
    return "" if number is None else number


def _write_ratings(path: Path, rows: list[ManifestRow], dataset_id: int | None) -> None:
    """The raw verdicts behind the kept rows' labels, as they stood when the dataset was exported.

    Those of all kept rows, trained ones too: what raters do is the same everywhere. Without a dataset no file is
    written, since nothing says as of when.
    """
    if dataset_id is None:
        return
    kept = {row.snapshot_id for row in rows if row.split is not None}
    with session_scope() as session:
        raw = labels.raw_ratings(session, models.get_dataset(session, dataset_id).as_of)
    path.write_bytes(ratings_bytes(one for one in raw if one.snapshot_id in kept))


def _write_dataset(path: Path, judged: Judged) -> None:
    """Which dataset the rows were frozen as, for the data card; no file where there is none."""
    if judged.dataset_id is None:
        return
    with session_scope() as session:
        as_of = models.get_dataset(session, judged.dataset_id).as_of
    facts = {"id": judged.dataset_id, "as_of": as_of.astimezone(UTC).isoformat(), "fresh": judged.fresh}
    path.write_text(json.dumps(facts), encoding="utf-8")
