"""Who says what of which rows: the model, the active one and the baselines, each beside the others on the same rows."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ml import report as reports
from ml import simple_models
from ml.baselines import Baseline, Baselines
from ml.evaluated import Evaluated
from ml.events import Progress
from ml.images.decode import ImageError
from ml.images.store import FileStore, StoreError
from ml.inference import Scorer
from ml.judgements.base import Judgement
from ml.manifest import ManifestError, ManifestRow
from ml.suspects import Unlearned
from ml.training.recipe import HANDMADE, Recipe

TEST, KFOLD = "test", "kfold"
IN_SAMPLE = "in sample, not comparable: the active model may have learned from these very rows"
BATCH = 16
MAX_THREADS = 4


def num_threads() -> int:
    """Threads of one model: a few, since a worker may have a neighbour."""
    return min(MAX_THREADS, os.cpu_count() or 1)


def method_of(run: Path | None) -> str:
    """How the run says that it is to be evaluated: `test` or `kfold`.

    Raises:
        ManifestError: The directory is not a finished run.
    """
    if run is None:
        return TEST
    try:
        return KFOLD if json.loads((run / "training.json").read_text(encoding="utf-8"))["method"] == KFOLD else TEST
    except (OSError, ValueError, KeyError) as error:
        raise ManifestError(f"{run} is not a finished run: {error!r}") from error


def with_target(row: ManifestRow, judgement: Judgement, head: str) -> ManifestRow:
    """The row with the target of this bundle's head, whichever head the manifest was exported for."""
    if row.label_value is None:
        raise ManifestError(f"snapshot {row.snapshot_id} is in a split but has no label; export the dataset again")
    return replace(row, target_label=judgement.target(row.label_value, head))


def active_of(directory: Path | None, scorer: Scorer) -> tuple[Scorer | None, list[str]]:
    """The active model, where its scores can be compared at all."""
    if directory is None:
        return None, []
    active = Scorer.load(directory, threads=num_threads())
    mine, theirs = scorer.bundle, active.bundle
    if mine.model_version == theirs.model_version:
        return None, [f"{mine.model_version} is the active model itself, so it is compared with baselines only"]
    if (mine.kind, mine.kind_version, mine.head) == (theirs.kind, theirs.kind_version, theirs.head):
        return active, []
    return None, [
        f"the active model {theirs.model_version} ({theirs.kind}, {theirs.head} head) answers another question than "
        f"{mine.model_version} ({mine.kind}, {mine.head} head), so the two are not compared"
    ]


def _images(store: FileStore, rows: Sequence[ManifestRow], progress: Progress, what: str) -> Iterator[bytes]:
    for done, row in enumerate(rows, start=1):
        if row.image_sha256 is None:
            raise ManifestError(f"snapshot {row.snapshot_id} has no image sha256; cache the images first")
        try:
            yield store.image(row.image_sha256)
        except StoreError as error:
            raise ManifestError(f"the image of snapshot {row.snapshot_id} cannot be read: {error}") from error
        progress.report(done / len(rows), f"{what}: image {done}/{len(rows)}")


def _serve(scorer: Scorer, store: FileStore, rows: Sequence[ManifestRow], progress: Progress) -> dict[str, np.ndarray]:
    """The bundle's named outputs for these rows, each (N,)."""
    try:
        return dict(scorer.score_images(_images(store, rows, progress, scorer.bundle.model_version), BATCH))
    except ImageError as error:
        raise ManifestError(f"an image of the manifest cannot be decoded: {error}") from error


def on_test_rows(
    scorer: Scorer,
    active: Scorer | None,
    store: FileStore,
    rows: list[ManifestRow],
    progress: Progress,
) -> Evaluated:
    """What the bundle, as it would be served, and the active model say of test rows."""
    judgement, head = scorer.judgement, scorer.bundle.head
    outputs = _serve(scorer, store, rows, progress.part(0.0, 0.5))
    entries = [reports.Scores(scorer.bundle.model_version, reports.MODEL, judgement.scores(outputs, head))]
    active_outputs: dict[str, np.ndarray] = {}
    if active is not None:
        active_outputs = _serve(active, store, rows, progress.part(0.5, 1.0))
        theirs = judgement.scores(active_outputs, head)
        entries.append(reports.Scores(active.bundle.model_version, reports.ACTIVE, theirs))
    return Evaluated(rows, entries, outputs, active_outputs)


def entries_of(baselines: Sequence[Baseline]) -> list[reports.Scores]:
    """Baselines as lines of a table."""
    return [reports.Scores(each.name, reports.BASELINE, each.scores, "", each.detail, each.knows) for each in baselines]


def sky_features(
    store: FileStore, rows: Sequence[ManifestRow], cache: Path | None, progress: Progress
) -> dict[str, np.ndarray]:
    """Hand-made features of these rows' images, by sha256."""
    from ml.training.frozen import frozen_features  # loads torch, which a fault above need not wait for

    return frozen_features(Recipe(backbone=HANDMADE, threads=num_threads()), store, rows, cache, progress)


def network_features(
    recipe: Recipe | None, store: FileStore, rows: Sequence[ManifestRow], cache: Path | None, progress: Progress
) -> dict[str, np.ndarray]:
    """Features of these rows' images by the recipe's network before any training, by sha256; none without a network."""
    if recipe is None or recipe.backbone == HANDMADE:
        return {}
    from ml.training.frozen import frozen_features

    return frozen_features(recipe, store, rows, cache, progress)


def out_of_fold(
    scorer: Scorer,
    active: Scorer | None,
    store: FileStore,
    run: Path,
    kept: Sequence[ManifestRow],
    baselines: Baselines,
    progress: Progress,
) -> Evaluated:
    """The run's out-of-fold scores of all kept rows, and what baselines say out of the same folds.

    Raises:
        ManifestError: `oof.csv` does not fit the manifest.
    """
    judgement, head = scorer.judgement, scorer.bundle.head
    by_snapshot = {row.snapshot_id: row for row in kept}
    rows, folds, scores = [], [], []
    named: dict[str, list[float]] = {name: [] for name in scorer.bundle.outputs}
    try:
        with (run / "oof.csv").open(encoding="utf-8", newline="") as opened:
            for cells in csv.DictReader(opened):
                rows.append(by_snapshot[int(cells["snapshot_id"])])
                folds.append(int(cells["fold"]))
                scores.append(float(cells["score"]))
                for name, values in named.items():
                    values.append(float(cells.get(name) or "nan"))
    except (OSError, KeyError, ValueError) as error:
        raise ManifestError(f"{run / 'oof.csv'} does not fit the manifest: {error!r}") from error
    if not np.isfinite(scores).all() or len(rows) != len(kept):
        raise ManifestError(f"{run / 'oof.csv'} has {len(rows)} of {len(kept)} rows, or scores that are not numbers")
    entries = [reports.Scores(scorer.bundle.model_version, reports.MODEL, np.array(scores))]
    if active is not None:
        theirs = judgement.scores(_serve(active, store, rows, progress), head)
        entries.append(reports.Scores(active.bundle.model_version, reports.ACTIVE, theirs, IN_SAMPLE))
    whole = {name: np.array(values) for name, values in named.items() if np.isfinite(values).all()}
    fold_of = {row.snapshot_id: fold for row, fold in zip(rows, folds, strict=True)}
    entries += entries_of(baselines.out_of_fold(rows, np.array(folds)))
    return Evaluated(rows, entries, whole, folds=fold_of)


def unlearned(
    tested: Evaluated | None,
    folded: Evaluated | None,
    learned: Sequence[ManifestRow],
    features: Mapping[str, np.ndarray],
) -> list[Unlearned]:
    """Scores of all rows by models that did not learn from them, to look for wrong labels.

    The model's own: out of fold, or on test rows. Of the rows that it learned from, where it has none out of fold, a ridge
    on hand-made features speaks, out of fold by group.
    """
    if folded is not None:
        return [Unlearned(folded.rows, folded.model, "the model, out of fold")]
    found = [] if tested is None else [Unlearned(tested.rows, tested.model, "the model, on test rows")]
    numbers = np.stack([features[str(row.image_sha256)] for row in learned])
    targets = np.array([row.target_label for row in learned], dtype=np.float64)
    scores = simple_models.out_of_fold(
        simple_models.ridge, numbers, targets, [row.group_id for row in learned], "suspects"
    )
    if scores is not None:
        found.append(Unlearned(learned, scores, "a ridge on hand-made features, out of fold"))
    return found
