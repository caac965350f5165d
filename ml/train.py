"""The verb `train`: a manifest and a recipe in, a run's directory out.

    python -m ml.train --kind K --manifest manifest_full.csv --recipe recipe.json --store URL --cache DIR --out RUN_DIR
        [--ratings FILE] [--readers N] [--resume DIR --attempt NAME --checkpoint-s SECONDS]

Writes weights.safetensors, epochs.jsonl, oof.csv (when evaluated by K-fold) and, last, training.json. With `--resume`
it goes on from the checkpoints in that directory, keeps its own there, and ends with the weights of a training that
was never stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ml.events import Progress, emit, finite, run_verb
from ml.features.backbones import LoadedBackbone, downloaded_file, load_backbone
from ml.images.decode import PREPROCESSING_VERSION
from ml.images.store import FileStore
from ml.judgements import judgement
from ml.judgements.base import Judgement, Scale
from ml.manifest import manifest_sha256, read_manifest
from ml.noise import read_ratings
from ml.threshold_fit import policy_note
from ml.training.checkpoints import FIRST_ATTEMPT, SECONDS_BETWEEN_CHECKPOINTS, Checkpoints
from ml.training.dataset import FeatureInputs, ImageInputs, ImageReader, Inputs, Items, cached_features, load_items
from ml.training.fold_groups import with_fold_groups
from ml.training.heads import (
    EPOCHS_FILE,
    OOF_FILE,
    TRAINING_FILE,
    WEIGHTS_FILE,
    ImageModel,
    StandardisedHead,
    write_weights,
)
from ml.training.label_noise import LABELS_FILE, with_label_noise, write_labels
from ml.training.learner import Fit, Learner
from ml.training.loop import fit, make_deterministic
from ml.training.outoffold import Calibrated, OutOfFold, calibrate, predict_out_of_fold, write_out_of_fold
from ml.training.recipe import MAX_THREADS, Recipe, RecipeError, read_resolved_recipe
from ml.training.surroundings import surroundings
from ml.training.threshold import choose_threshold


def train(
    kind_name: str,
    manifest: Path,
    recipe_path: Path,
    store: str,
    cache: Path,
    out: Path,
    resume: Path | None = None,
    attempt: str = FIRST_ATTEMPT,
    checkpoint_s: float = SECONDS_BETWEEN_CHECKPOINTS,
    ratings: Path | None = None,
    readers: int | None = None,
) -> dict[str, Any]:
    """Train, calibrate, and evaluate out of fold where the test split is too small; returns training.json's content.

    Args:
        kind_name: the judgement.
        manifest: manifest_full.csv of a dataset.
        recipe_path: JSON file of recipe keys.
        store: address of the image store.
        cache: directory of cached features.
        out: directory of the run.
        resume: directory of the run's checkpoints, read and written; None for none.
        attempt: which attempt at the run this is, for the log of epochs.
        checkpoint_s: seconds between two checkpoints at least; 0 for one after every epoch.
        ratings: CSV of the raw verdicts behind the labels; without it the noise of the labels is unknown.
        readers: images that are read at once, 0 for one after the other in this thread; by default the recipe's threads.
            It changes nothing but the time, so no recipe names it.
    """
    started = time.monotonic()
    kind = judgement(kind_name)
    recipe = read_resolved_recipe(recipe_path)
    if recipe.head not in kind.heads:
        raise RecipeError(f"head: the kind {kind.name!r} has no head {recipe.head!r}; it has {', '.join(kind.heads)}")
    readers = recipe.threads if readers is None else readers
    rows = read_manifest(manifest)
    plain = load_items(rows, kind, recipe.head)
    votes = None if ratings is None else read_ratings(ratings)
    items, label_noise = with_label_noise(plain, rows, kind, recipe.head, votes, recipe.label_noise)
    ratings_sha256 = None if ratings is None else hashlib.sha256(ratings.read_bytes()).hexdigest()
    method = evaluation_method(items, recipe)
    pool = items.rows("train", "val")
    kind.check_targets(items.targets[items.rows("train")], recipe.head)
    make_deterministic(recipe.seed, recipe.threads)
    out.mkdir(parents=True, exist_ok=True)
    (out / TRAINING_FILE).unlink(missing_ok=True)

    around = surroundings()
    emit({"event": "surroundings", **around})
    backbone = load_backbone(recipe.backbone, recipe.weights, recipe.seed)
    if backbone.source.kind == "imagenet":
        emit({"event": "downloaded", "file": str(downloaded_file(recipe.backbone)), "sha256": backbone.source.sha256})
    progress = Progress()
    needed = np.arange(len(items)) if method == "kfold" else pool
    items, joined = with_fold_groups(items, rows, needed, FileStore(store), cache, readers)
    notes = [*_notes(backbone, recipe), label_noise["sentence"], *([joined] if joined else [])]
    reading = 0.6 if recipe.trainable == "head" else 0.1
    reader = ImageReader(FileStore(store), recipe.image_size, readers=readers)
    inputs = _inputs(items, needed, recipe, backbone, reader, cache, progress.part(0.0, reading))
    scale = kind.scale
    if recipe.scale_low is not None and recipe.scale_high is not None:
        scale = Scale(recipe.scale_low, recipe.scale_high)
    identity = _identity(kind, recipe, scale, manifest_sha256(rows), ratings_sha256, backbone)
    checkpoints = Checkpoints(resume, identity, attempt, checkpoint_s, around["libraries"])
    learner = Learner(kind, recipe, scale, items, inputs, backbone, checkpoints)
    fitted, calibrated, oof = _fit_all(learner, method, progress.part(reading, 1.0), notes)
    calibration = calibrated.calibration
    policy = choose_threshold(learner, calibrated, rows)
    notes += [note] if (note := policy_note(policy)) else []

    weights_sha256 = write_weights(_whole_model(learner, fitted.model), out / WEIGHTS_FILE)
    (out / EPOCHS_FILE).write_text("".join(json.dumps(finite(each)) + "\n" for each in fitted.epochs), encoding="utf-8")
    if oof is not None:
        write_out_of_fold(out / OOF_FILE, items, oof)
    write_labels(out / LABELS_FILE, items)
    facts = {
        **_recipe_facts(kind, recipe, scale),
        "normalisation": backbone.normalisation(),
        "calibration": calibration.to_json(),
        "threshold_policy": policy,
        "method": method,
        "counts": {split: len(items.rows(split)) for split in ("train", "val", "test")},
        "groups": {split: items.num_groups(items.rows(split)) for split in ("train", "val", "test")},
        "best_epoch": fitted.best_epoch,
        "val_metrics": fitted.val_metrics,
        "weights_source": asdict(backbone.source),
        "manifest_sha256": manifest_sha256(rows),
        "label_noise": {**label_noise, "ratings_sha256": ratings_sha256},
        "weights_sha256": weights_sha256,
        **around,
        "resumed_from": checkpoints.resumed_from,
        "notes": [*notes, *checkpoints.notes],
        "seconds": round(time.monotonic() - started, 3),
    }
    text = json.dumps(finite(facts), indent=2, sort_keys=True, allow_nan=False)
    (out / TRAINING_FILE).write_text(text + "\n", encoding="utf-8")
    return facts


def evaluation_method(items: Items, recipe: Recipe) -> str:
    """`test`, or `kfold` where it is asked for or the test split has too few rows or groups.

    Raises:
        RecipeError: `test` is asked for and there are no test rows.
    """
    test = items.rows("test")
    if recipe.evaluation == "test" and not len(test):
        raise RecipeError("evaluation=test was asked for, but no row is in the test split; use kfold or auto")
    if recipe.evaluation != "auto":
        return recipe.evaluation
    too_small = len(test) < recipe.min_test_rows or items.num_groups(test) < recipe.min_test_groups
    return "kfold" if too_small else "test"


def _identity(
    kind: Judgement, recipe: Recipe, scale: Scale, manifest: str, ratings: str | None, backbone: LoadedBackbone
) -> str:
    """What a checkpoint must have been made from to be gone on from, as one sha256."""
    known = {
        # The weights count by their content: the path of the same file is another one in each attempt.
        **recipe.model_dump(mode="json", exclude={"weights"}),
        "weights_sha256": backbone.content_sha256,
        "kind": [kind.name, kind.version],
        "scale": [scale.low, scale.high],
        "manifest_sha256": manifest,
        "ratings_sha256": ratings,
        "preprocessing_version": PREPROCESSING_VERSION,
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _notes(backbone: LoadedBackbone, recipe: Recipe) -> list[str]:
    notes = []
    if backbone.source.kind == "none":
        how = "random and frozen" if recipe.trainable == "head" else "trained from random weights"
        notes.append(f"the backbone is {how}: no pretrained weights were given")
    if backbone.source.batch_norm_folded:
        notes.append("batch norm is folded into the weights, so it stays in eval mode")
    return notes


def _inputs(
    items: Items,
    needed: np.ndarray,
    recipe: Recipe,
    backbone: LoadedBackbone,
    reader: ImageReader,
    cache: Path,
    progress: Progress,
) -> Inputs:
    if recipe.trainable != "head":
        images = ImageInputs(reader, items.image_sha256, recipe.crop, recipe.flip, recipe.color_jitter)
        images.load(needed, progress)
        return images
    hashes = [items.image_sha256[row] for row in needed]
    found = cached_features(backbone, reader, hashes, cache, recipe.threads, progress)
    features = torch.zeros(len(items), backbone.num_features)
    features[torch.from_numpy(needed)] = found
    return FeatureInputs(features)


def _fit_all(
    learner: Learner, method: str, progress: Progress, notes: list[str]
) -> tuple[Fit, Calibrated, OutOfFold | None]:
    """K-fold evaluation where it is the method, then the final model on train and val rows, then its calibration."""
    items, recipe = learner.items, learner.recipe
    train_rows, val_rows, pool = items.rows("train"), items.rows("val"), items.rows("train", "val")
    oof: OutOfFold | None = None
    final_share = 0.0
    if method == "kfold":
        final_share = 0.7
        message = f"evaluating by {recipe.folds}-fold"
        if not learner.is_frozen:
            message += f", which takes {recipe.folds} more trainings"
        emit({"event": "progress", "fraction": round(progress.low, 4), "message": message})
        everything = np.arange(len(items))
        oof = predict_out_of_fold(learner, everything, progress.part(0.0, final_share), True, "evaluation ")
    epochs = None
    if not len(val_rows):
        # Nothing tells when to stop, unless the folds' trainings did.
        epochs = int(np.median(oof.best_epochs)) if oof is not None else recipe.epochs
        notes.append(f"there are no validation rows, so training went on for a fixed number of epochs, {epochs}")
    last = progress.part(final_share, 1.0)
    fitted = fit(learner, train_rows, val_rows, last.part(0.0, 0.6), epochs=epochs)
    calibrated = calibrate(learner, fitted, pool, val_rows, last.part(0.6, 1.0), retrain=True, known=oof)
    if not calibrated.calibration.fitted_on:
        notes.append("there are too few groups to fit a calibration out of fold; scores are not calibrated")
    elif calibrated.calibration.good_missing:
        notes.append(f"there is no probability of good: {calibrated.calibration.good_missing}")
    return fitted, calibrated, oof


def _whole_model(learner: Learner, model: nn.Module) -> ImageModel:
    if isinstance(model, ImageModel):
        return model
    assert isinstance(model, StandardisedHead)
    return ImageModel(learner.backbone.encoder, model)


def _recipe_facts(kind: Judgement, recipe: Recipe, scale: Scale) -> dict[str, Any]:
    return {
        "kind": kind.name,
        "kind_version": kind.version,
        "head": recipe.head,
        "recipe": recipe.model_dump(),
        "scale": [scale.low, scale.high],
        "preprocessing_version": PREPROCESSING_VERSION,
        "input_size": [recipe.image_size, recipe.image_size],
        "threads": recipe.threads,
        "seed": recipe.seed,
    }


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > MAX_THREADS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {MAX_THREADS}")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line and train; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ml.train", description="Train a model on a manifest.")
    parser.add_argument("--kind", required=True, help="name of the judgement, e.g. rating")
    parser.add_argument("--manifest", required=True, type=Path, help="manifest_full.csv of a dataset")
    parser.add_argument("--recipe", required=True, type=Path, help="JSON file of recipe keys")
    parser.add_argument("--store", required=True, help="address of the image store")
    parser.add_argument("--cache", required=True, type=Path, help="directory of cached features")
    parser.add_argument("--out", required=True, type=Path, help="directory of the run")
    parser.add_argument("--resume", type=Path, help="directory of the run's checkpoints: go on from them, add to them")
    parser.add_argument("--attempt", default=FIRST_ATTEMPT, help="which attempt at the run this is, for its log")
    parser.add_argument("--checkpoint-s", type=float, default=SECONDS_BETWEEN_CHECKPOINTS,
                        help="seconds between two checkpoints at least; 0 for one after every epoch")  # fmt: skip
    parser.add_argument("--ratings", type=Path, help="CSV snapshot_id, rater, rating, verdict, label_source")
    parser.add_argument("--readers", type=_count, metavar="N",
                        help="images read at once, 0 for one after the other; by default the recipe's threads")  # fmt: skip
    given = parser.parse_args(arguments)
    return run_verb(
        lambda: train(given.kind, given.manifest, given.recipe, given.store, given.cache, given.out,
                      given.resume, given.attempt, given.checkpoint_s, given.ratings, given.readers)
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
