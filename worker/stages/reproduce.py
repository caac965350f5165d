"""Prove a model version's provenance: rebuild its manifest from the rows, train it again, and say how far both are apart.

Nothing is registered and nothing of the recorded run is taken for granted: the rows come from the database, the weights
to start from from the store by their hash, and features are computed anew. No network is needed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlmodel import Session

from db.engine import session_scope
from db.errors import Conflict
from db.queries import models
from db.tables import DatasetRow, ModelTrainingRun, ModelVersion, WebcamSnapshot
from ml.bundle import BundleError
from ml.compare_models import TOLERANCE
from ml.export_dataset import DUPLICATE_OF_TEST
from ml.images.store import FileStore, StoreError
from ml.judgements import judgement
from ml.manifest import ManifestError, ManifestRow, first_differences, manifest_bytes, manifest_sha256
from ml.training.surroundings import differences
from worker.jobs import Finish, JobContext, JobFailed
from worker.places import file_store, work_directory
from worker.queue import check_reproducible
from worker.ratings_file import ratings_bytes
from worker.stages.train import resolve_weights, run_manifest
from worker.training_process import run_verb
from worker.verified import fetch_bundle, fetch_run

NOT_RECORDED = "reason-not-recorded"
IDENTICAL, SAME_PREDICTIONS, NOT_REPRODUCED = "identical", "same-predictions", "not-reproduced"


@dataclass(frozen=True)
class Recorded:
    """What is known of the version that is reproduced."""

    version: ModelVersion
    training: ModelTrainingRun
    run: Path
    """Directory of its finished run."""
    bundle: Path
    rows: list[ManifestRow]
    """Its manifest, rebuilt."""
    ratings: bytes | None
    """The raw ratings it learned from, rebuilt; None where none were frozen with it."""

    @property
    def facts(self) -> dict[str, Any]:
        """What its training left in training.json, and the flags of its process."""
        facts: dict[str, Any] = self.training.params_json["training"]
        return facts


@dataclass
class Retrained:
    """What the second training left."""

    run: Path
    bundle: Path
    warnings: list[str] = field(default_factory=list)
    """How its surroundings differ from the recorded ones."""


def run(context: JobContext) -> Finish:
    """The job `reproduce`: parameter `model_version`. Its result is a `verdict`, with what was compared."""
    store = file_store()
    directory = work_directory(context.claim.job_id, context.claim.attempt)
    context.progress(0.0, "rebuilding the manifest from provenance")
    try:
        recorded = _recorded(store, str(context.params["model_version"]), directory)
        compared: dict[str, Any] = {"manifest": _compare_manifests(store, recorded)}
        for line in compared["manifest"]["differences"]:
            context.log(f"the manifest differs: {line}")
        (directory / "manifest_full.csv").write_bytes(manifest_bytes(recorded.rows))
        again = _train_again(context, store, recorded, directory)
    except (StoreError, BundleError, Conflict) as error:
        raise JobFailed(f"{context.params['model_version']} cannot be reproduced: {error}") from error
    compared |= run_verb(
        context,
        "ml.compare_models",
        ["--recorded", str(recorded.run), str(recorded.bundle), "--again", str(again.run), str(again.bundle),
         "--manifest", str(directory / "manifest_full.csv"), "--store", store.url],
        directory / "compare_models.log",
        (0.9, 1.0),
    )  # fmt: skip
    if compared["self_test"] is not None:
        again.warnings.append(f"the recorded bundle scores its golden images otherwise here: {compared['self_test']}")
    result = {"model_version": recorded.version.model_version, **verdict(compared), "warnings": again.warnings}
    context.log(result["sentence"])
    return Finish({**result, **compared})


def _recorded(store: FileStore, model_version: str, directory: Path) -> Recorded:
    with session_scope() as session:
        check_reproducible(session, model_version)
        version = models.get_version(session, model_version)
        training = models.get_run(session, version.training_run_id)
        rows = rebuild_manifest(session, training)
        ratings = rebuild_ratings(session, training)
    run = fetch_run(store, training, directory / "recorded-run")
    bundle = fetch_bundle(store, version, directory / "recorded-bundle")
    return Recorded(version, training, run, bundle, rows, ratings)


def rebuild_ratings(session: Session, training: ModelTrainingRun) -> bytes | None:
    """The file of raw ratings of a run, from its provenance; None where it learned without them."""
    assert training.id is not None
    if training.params_json.get("active_manifest", {}).get("ratings_sha256") is None:
        return None
    return ratings_bytes(models.provenance_ratings(session, training.id))


def rebuild_manifest(session: Session, training: ModelTrainingRun) -> list[ManifestRow]:
    """The active manifest of a run, from its dataset's rows and its provenance; nothing is read from the store."""
    assert training.id is not None and training.dataset_id is not None
    used = {row.snapshot_id: row for row in models.provenance(session, training.id)}
    recorded = training.params_json.get("active_manifest", {}).get("dropped", {})
    dropped = {int(snapshot_id): str(reason) for reason, ids in recorded.items() for snapshot_id in ids}
    rows = []
    for candidate, snapshot in models.dataset_candidates(session, training.dataset_id):
        row = _manifest_row(training.kind, candidate, snapshot)
        if (label := used.get(row.snapshot_id)) is not None:
            row = replace(row, label_source=label.label_source, label_value=label.label_value, split=label.split,
                          image_sha256=label.image_sha256)  # fmt: skip
        elif row.split is not None:
            reason = dropped.get(row.snapshot_id, NOT_RECORDED)
            if reason == DUPLICATE_OF_TEST:  # found out by its image, so that was there
                row = replace(row, image_sha256=snapshot.image_sha256)
            row = row.excluded(reason)
        rows.append(row)
    return rows


def _manifest_row(kind: str, candidate: DatasetRow, snapshot: WebcamSnapshot) -> ManifestRow:
    value = candidate.label_value
    return ManifestRow(
        snapshot_id=candidate.snapshot_id,
        webcam_id=snapshot.webcam_id,
        label_source=candidate.label_source,
        label_value=value,
        target_label=candidate.target_label,
        is_good=None if value is None else judgement(kind).is_good(value),
        split=candidate.split,
        seen=candidate.seen,
        image_path_or_url=snapshot.firebase_url if snapshot.firebase_url is not None else snapshot.firebase_path or "",
        phase=snapshot.phase,
        captured_at=snapshot.captured_at,
        rating_count=candidate.rating_count,
        image_sha256=candidate.image_sha256,
        group_id=candidate.group_id,
        exclusion_reason=candidate.exclusion_reason,
    )


def _compare_manifests(store: FileStore, recorded: Recorded) -> dict[str, Any]:
    now = manifest_sha256(recorded.rows)
    was = recorded.training.manifest_sha256
    found: list[str] = []
    if now != was:
        try:
            found = first_differences(run_manifest(store, recorded.training), recorded.rows)
        except (StoreError, ManifestError) as error:
            found = [f"the recorded one cannot be read, so nothing says where: {error}"]
    frozen = recorded.training.params_json.get("active_manifest", {}).get("ratings_sha256")
    same_ratings = recorded.ratings is None or hashlib.sha256(recorded.ratings).hexdigest() == frozen
    if not same_ratings:
        found.append("the raw ratings behind the labels are not those that were frozen with it")
    return {
        "recorded": was,
        "again": now,
        "identical": now == was and same_ratings,
        "rows": len(recorded.rows),
        "differences": found,
    }


def _train_again(context: JobContext, store: FileStore, recorded: Recorded, directory: Path) -> Retrained:
    """Train and export with the recorded recipe, seed, threads and flags, from the weights of the recorded hash."""
    facts, training = recorded.facts, recorded.training
    again = Retrained(directory / "run", directory / "bundle")
    recipe = dict(training.params_json["recipe"])
    source = facts["weights_source"]
    if source["kind"] in ("imagenet", "file"):  # others have no file of weights
        recipe["weights"] = resolve_weights(store, f"sha256:{source['sha256']}", directory)
    (directory / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")

    def on_event(event: dict[str, Any]) -> None:
        if event.get("event") == "surroundings":
            again.warnings += differences(facts, event)
            for line in again.warnings:
                context.log(f"differs from what was recorded: {line}")

    ratings = []
    if recorded.ratings is not None:
        (directory / "ratings.csv").write_bytes(recorded.ratings)
        ratings = ["--ratings", str(directory / "ratings.csv")]
    flags = facts.get("flags")
    manifest = str(directory / "manifest_full.csv")
    run_verb(
        context,
        "ml.train",
        ["--kind", training.kind, "--manifest", manifest, "--recipe", str(directory / "recipe.json"),
         "--store", store.url, "--cache", str(directory / "features"), "--out", str(again.run), *ratings],
        directory / "train.log",
        (0.02, 0.8),
        on_event,
        flags,
    )  # fmt: skip
    run_verb(
        context,
        "ml.export_onnx",
        ["--run", str(again.run), "--version", training.model_version, "--store", store.url,
         "--manifest", manifest, "--out", str(again.bundle)],
        directory / "export_onnx.log",
        (0.8, 0.9),
        flags=flags,
    )  # fmt: skip
    return again


def verdict(compared: dict[str, Any]) -> dict[str, Any]:
    """Which promise holds: `promise`, whether any does (`holds`), and a sentence with the figures.

    `identical`: manifest, weights, out-of-fold scores, threshold and graph. `same-predictions`: the manifest, and all predictions
    within a thousandth. Else `not-reproduced`.
    """
    weights, predictions, graph = compared["weights"], compared["predictions"], compared["graph"]
    folded = compared["out_of_fold"]
    apart = [
        name
        for name, same in (
            ("weights", weights["identical"]),
            ("graph", graph["identical"]),
            ("out-of-fold scores", folded is None or folded["identical"]),
            ("threshold", compared["threshold"]["identical"]),
            ("predictions", predictions["identical"]),
        )
        if not same
    ]
    n = f"{predictions['n_golden']} golden and {predictions['n_images']} other images"
    largest = predictions["max_abs_difference"]
    figures = _figures(compared, n)
    if not compared["manifest"]["identical"]:
        where = "; ".join(compared["manifest"]["differences"])
        rest = f"; and so do {figures}" if apart else "; everything else is identical all the same"
        return _verdict(NOT_REPRODUCED, f"not reproduced: the manifest differs: {where}{rest}")
    if not apart:
        return _verdict(IDENTICAL, f"identical: manifest, weights, threshold, graph and the predictions on {n}")
    if largest is not None and largest <= TOLERANCE:
        return _verdict(SAME_PREDICTIONS, f"same predictions within {TOLERANCE:g} of a rating: {figures}")
    return _verdict(NOT_REPRODUCED, f"not reproduced: {figures}")


def _verdict(promise: str, sentence: str) -> dict[str, Any]:
    return {"promise": promise, "holds": promise != NOT_REPRODUCED, "sentence": sentence}


def _figures(compared: dict[str, Any], n: str) -> str:
    weights, predictions, folded = compared["weights"], compared["predictions"], compared["out_of_fold"]
    parts = []
    if not weights["identical"]:
        by = weights["max_abs_difference"]
        how = "have other shapes" if by is None else f"differ by up to {by:.3g}"
        parts.append(f"weights {how} (in {weights['tensor']})")
    if folded is not None and not folded["identical"]:
        parts.append("out-of-fold scores differ")
    parts += [f"{name}s differ" for name in ("graph", "threshold") if not compared[name]["identical"]]
    by = predictions["max_abs_difference"]
    if by is None:
        parts.append("the outputs have other names")
    elif by:
        parts.append(f"predictions differ by up to {by:.3g} in {predictions['output']} of {predictions['image']} ({n})")
    else:
        parts.append(f"predictions are equal on {n}")
    return ", ".join(parts)
