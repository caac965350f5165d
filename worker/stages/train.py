"""Train a model: dataset, images, provenance of exactly the rows used, then one supervised fresh process."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlmodel import Session

from db.engine import session_scope
from db.queries import jobs, labels, models
from db.tables import ModelTrainingRun
from ml.export_dataset import Gates, drop_images, summary, with_hashes
from ml.images.fingerprints import fingerprints_of
from ml.images.store import FileStore, directory_sha256
from ml.judgements import judgement
from ml.judgements.base import JudgementError
from ml.manifest import ManifestRow, manifest_bytes, manifest_sha256, parse_manifest
from ml.near_duplicates import NEAR_DUPLICATE_OF_TEST, NEAR_DUPLICATE_OF_VAL, without_near_duplicates
from ml.training.recipe import Recipe
from worker.checkpoints import StoredCheckpoints, attempt_name
from worker.job_context import FenceLost, Finish, JobContext, JobFailed
from worker.places import feature_cache, file_store, run_key, weights_key, work_directory
from worker.queue import submit
from worker.ratings_file import ratings_bytes, ratings_key, read_frozen_ratings
from worker.settings import worker_settings
from worker.stages.cache_images import cache_images
from worker.stages.export_dataset import export_dataset
from worker.training_process import present_flags, run_verb
from worker.verified import dataset_rows, manifest_key, read_active_manifest

RESULT_FACTS = ("method", "counts", "best_epoch", "val_metrics", "weights_sha256", "resumed_from", "notes", "seconds")
WEIGHTS_SUFFIXES = (".safetensors", ".pth")


def run(context: JobContext) -> Finish:
    """The job `train` of the run `run_id`.

    Another attempt, also of another job, reuses the run's dataset and active manifest and goes on from its checkpoints.
    """
    store = file_store()
    run_id = context.run_id
    training = _start(context, run_id)
    recipe = Recipe(**training.params_json["recipe"])
    directory = work_directory(context.claim.job_id, context.claim.attempt)
    manifest = directory / "manifest_full.csv"
    manifest.write_bytes(_active_manifest(context, store, training, recipe))
    frozen = frozen_ratings(store, run_id, directory / "ratings.csv")
    resolved = recipe.model_dump(mode="json")
    resolved["weights"] = resolve_weights(store, recipe.weights, directory)
    (directory / "recipe.json").write_text(json.dumps(resolved), encoding="utf-8")
    out = directory / "run"
    out.mkdir(exist_ok=True)
    checkpoints = StoredCheckpoints(context, store, run_id, directory / "resume")
    checkpoints.fetch()
    result = run_verb(
        context,
        "ml.train",
        ["--kind", training.kind, "--manifest", str(manifest), "--recipe", str(directory / "recipe.json"),
         "--store", store.url, "--cache", str(feature_cache()), "--out", str(out),
         "--resume", str(checkpoints.directory), "--attempt", attempt_name(context),
         "--checkpoint-s", str(worker_settings().checkpoint_s), *frozen],
        directory / "train.log",
        (0.3, 1.0),
        lambda event: _on_event(event, checkpoints, store),
    )  # fmt: skip
    key = run_key(context.claim.job_id, context.claim.attempt)
    store.put_directory(out, key)
    digest = directory_sha256(out)
    facts = json.loads((out / "training.json").read_text(encoding="utf-8"))

    def effects(session: Session) -> None:
        row = models.get_run(session, run_id)
        row.status, row.reason = "trained", None
        row.trained_at = datetime.now(UTC)
        row.artifact_path, row.artifact_sha256 = key, digest
        row.metrics = facts.get("val_metrics") or {}
        row.params_json = {**row.params_json, "training": {**_facts_to_keep(facts), "flags": present_flags()}}
        session.add(row)
        submit(session, "export_onnx", {}, parent_id=context.claim.job_id, run_id=run_id)

    shown = {key: result[key] for key in RESULT_FACTS if key in result}
    return Finish({"model_version": training.model_version, **shown}, effects)


def _on_event(event: dict[str, Any], checkpoints: StoredCheckpoints, store: FileStore) -> None:
    checkpoints.on_event(event)
    if event.get("event") == "downloaded":
        # A later training under the same weights, and the proof of this one, need no network then.
        store.put_file(Path(event["file"]), weights_key(event["sha256"], Path(event["file"]).suffix))


def _facts_to_keep(facts: dict[str, Any]) -> dict[str, Any]:
    """What of training.json goes into `params_json`: everything small."""
    return {key: value for key, value in facts.items() if key not in ("recipe", "epochs")}


def _start(context: JobContext, run_id: int) -> ModelTrainingRun:
    """Mark the run as running and give it its dataset, exported here if it names none, in one transaction."""
    with session_scope() as session:
        if not jobs.hold_fence(session, context.claim):
            raise FenceLost()
        training = models.get_run(session, run_id)
        training.status, training.reason = "running", None
        if training.dataset_id is None:
            recipe = Recipe(**training.params_json["recipe"])
            gates = Gates(min_rating_count=recipe.min_rating_count)
            dataset = export_dataset(session, file_store(), training.kind, recipe.head, gates)
        else:
            dataset = models.get_dataset(session, training.dataset_id)
        training.dataset_id = dataset.id
        training.params_json = {
            **training.params_json,
            "dataset": {"manifest_sha256": dataset.manifest_sha256, "counts": dataset.counts,
                        "params": dataset.params, "artifact_key": dataset.artifact_key},
        }  # fmt: skip
        session.add(training)
        session.flush()
    return training


def _active_manifest(context: JobContext, store: FileStore, training: ModelTrainingRun, recipe: Recipe) -> bytes:
    """The manifest after image caching; made once per run, with the provenance rows, and reused ever after."""
    if training.manifest_sha256 is not None:
        return read_active_manifest(store, training.manifest_sha256)
    assert training.id is not None and training.dataset_id is not None
    with session_scope() as session:
        dataset = models.get_dataset(session, training.dataset_id)
    rows = dataset_rows(store, dataset)
    hashes, failed = cache_images(store, rows, lambda part, text: context.progress(0.05 + 0.2 * part, text))
    exported = {row.snapshot_id for row in rows if row.split is not None}
    rows, alike = _without_near_duplicates(context, store, with_hashes(drop_images(rows, failed), hashes))
    kept = [row for row in rows if row.split is not None]
    _check(training.kind, recipe.head, kept, rows)
    data = manifest_bytes(rows)
    digest = manifest_sha256(rows)
    directory = work_directory(context.claim.job_id, context.claim.attempt)
    (directory / "manifest_full.csv").write_bytes(data)
    store.put_file(directory / "manifest_full.csv", manifest_key(digest))
    with session_scope() as session:
        if not jobs.hold_fence(session, context.claim):
            raise FenceLost()
        row = models.get_run(session, training.id)
        row.manifest_sha256 = digest
        about = {"sha256": digest, "counts": summary(rows), "dropped": _dropped(rows, exported), **alike}
        _write_provenance(session, training.id, kept, dataset.as_of)
        about["ratings_sha256"] = _freeze_ratings(session, store, training.id, directory / "ratings.csv")
        row.params_json = {**row.params_json, "active_manifest": about}
        session.add(row)
    context.log(f"{len(kept)} rows in the active manifest, {len(rows) - len(kept)} excluded")
    return data


def _freeze_ratings(session: Session, store: FileStore, run_id: int, path: Path) -> str:
    """Put the raw ratings of the provenance rows into the store; returns their sha256."""
    path.write_bytes(ratings_bytes(models.provenance_ratings(session, run_id)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    store.put_file(path, ratings_key(digest))
    return digest


def frozen_ratings(store: FileStore, run_id: int, path: Path) -> list[str]:
    """Write the raw ratings that were frozen with a run to `path`; returns the words that hand them to the verb.

    Without any, as in a run from before they were frozen, no words.
    """
    with session_scope() as session:
        digest = models.get_run(session, run_id).params_json["active_manifest"].get("ratings_sha256")
    if digest is None:
        return []
    path.write_bytes(read_frozen_ratings(store, digest))
    return ["--ratings", str(path)]


def _dropped(rows: list[ManifestRow], exported: set[int]) -> dict[str, list[int]]:
    """What this run left out of its dataset: reason -> snapshots."""
    dropped: dict[str, list[int]] = {}
    for row in rows:
        if row.snapshot_id in exported and row.exclusion_reason is not None:
            dropped.setdefault(row.exclusion_reason, []).append(row.snapshot_id)
    return dropped


def _without_near_duplicates(
    context: JobContext, store: FileStore, rows: list[ManifestRow]
) -> tuple[list[ManifestRow], dict[str, int]]:
    """The rows less those whose image is a near-duplicate of one in test (or val), and what else resembles them."""
    prints = fingerprints_of(
        store.image,
        [str(row.image_sha256) for row in rows if row.split is not None],
        feature_cache(),
        lambda done, total: context.progress(0.25 + 0.05 * done / total, f"looked for copies of image {done}/{total}"),
    )
    rows, found = without_near_duplicates(rows, prints)
    dropped = Counter(row.exclusion_reason for row in rows if row.split is None)
    context.log(
        f"near-duplicates: {dropped[NEAR_DUPLICATE_OF_TEST]} rows left train or val, as they are of test, and "
        f"{dropped[NEAR_DUPLICATE_OF_VAL]} left train, as they are of val; {found.num_look_alikes} pairs of one webcam "
        f"on different days are alike, which is no copy, and {found.num_flat} frames are flat and were not compared"
    )
    return rows, {"look_alikes": found.num_look_alikes, "flat_frames": found.num_flat}


def _check(kind: str, head: str, kept: list[ManifestRow], rows: list[ManifestRow]) -> None:
    try:
        for part in (kept, [row for row in kept if row.split == "train"]):
            judgement(kind).check_targets(np.array([row.target_label for row in part], dtype=np.float64), head)
    except JudgementError as error:
        counts = summary(rows)
        dropped = ", ".join(f"{reason}: {n}" for reason, n in sorted(counts["excluded"].items())) or "none"
        raise JobFailed(
            f"{error} ({len(kept)} of {len(rows)} rows kept, {counts['splits']['train']} of them train; dropped: {dropped})"
        ) from error


def _write_provenance(session: Session, run_id: int, kept: list[ManifestRow], as_of: datetime) -> None:
    used = {row.snapshot_id for row in kept}
    models.add_provenance(
        session,
        (
            {"training_run_id": run_id, "snapshot_id": row.snapshot_id, "label_source": row.label_source,
             "label_value": row.label_value, "split": row.split, "image_sha256": row.image_sha256}
            for row in kept
        ),
        (
            {"training_run_id": run_id, "snapshot_id": raw.snapshot_id, "user_session_id": raw.user_session_id,
             "rating": raw.rating, "is_sunset_verdict": raw.is_sunset_verdict, "label_source": raw.label_source,
             "import_id": raw.import_id}
            for raw in labels.raw_ratings(session, as_of)
            if raw.snapshot_id in used
        ),
    )  # fmt: skip


def run_manifest(store: FileStore, training: ModelTrainingRun) -> list[ManifestRow]:
    """The active manifest of a run."""
    if training.manifest_sha256 is None:
        raise JobFailed(f"run {training.id} has no active manifest: it was not trained here")
    return parse_manifest(read_active_manifest(store, training.manifest_sha256))


def resolve_weights(store: FileStore, weights: str, directory: Path) -> str:
    """`sha256:<hex>` becomes a file in `directory`; names and `none` stay as they are.

    Raises:
        JobFailed: The store has no such weights.
    """
    if not weights.startswith("sha256:"):
        return weights
    digest = weights.removeprefix("sha256:")
    for suffix in WEIGHTS_SUFFIXES:
        if store.has_file(weights_key(digest, suffix)):
            target = directory / f"weights{suffix}"
            target.write_bytes(store.read_file(weights_key(digest, suffix)))
            return str(target)
    raise JobFailed(f"the store has no weights {digest}: give the file once more with --set weights=/path/to/file.pth")
