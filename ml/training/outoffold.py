"""Grouped K-fold: outputs for rows by models that never saw their group, for calibration and for small evaluations.

Legend: N rows. A group never straddles two folds, nor do groups that hold near-duplicates of each other.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ml.calibration import Calibration
from ml.events import Progress
from ml.splits import folds
from ml.training.dataset import Items
from ml.training.learner import Fit, Learner
from ml.training.loop import fit

# Calibration by fewer rows than this follows single labels.
MIN_CALIBRATION_ROWS = 30
# An inner validation part of fewer rows or from fewer groups says nothing about when to stop.
MIN_INNER_ROWS, MIN_INNER_GROUPS = 4, 5


@dataclass
class OutOfFold:
    """What models say of rows that they never saw."""

    rows: np.ndarray
    """Indices of the rows, int64 (N,)."""
    folds: np.ndarray
    """Fold of each row, int64 (N,)."""
    outputs: np.ndarray
    """Head outputs before calibration, float64 (N,)."""
    scores: np.ndarray
    """On the target's scale, calibrated without the row's fold, float64 (N,); NaN where calibration was not asked for."""
    best_epochs: list[int] = field(default_factory=list)
    """Of each fold's training."""
    named: dict[str, np.ndarray] = field(default_factory=dict)
    """The named outputs behind `scores`, each float64 (N,); NaN in folds that lack one."""


@dataclass(frozen=True)
class Calibrated:
    """A calibration and what it was fitted on, which a threshold is chosen on too."""

    calibration: Calibration
    rows: np.ndarray
    """Indices of the rows, int64 (M,); none where nothing could be fitted."""
    outputs: np.ndarray
    """Head outputs of models that did not learn from them, float64 (M,)."""


def fit_with_inner_val(
    learner: Learner, rows: np.ndarray, progress: Progress, name: str = ""
) -> tuple[Fit, np.ndarray]:
    """Train on `rows`, some of whose groups are kept aside to choose the epoch; returns the fit and the rows aside.

    Where there are too few groups nothing is kept aside, and training goes through all epochs.
    """
    groups = [learner.items.fold_groups[row] for row in rows]
    aside = np.zeros(len(rows), dtype=bool)
    if len(set(groups)) >= MIN_INNER_GROUPS:
        aside = folds(groups, MIN_INNER_GROUPS, f"inner-{learner.recipe.seed}") == 0
        if aside.sum() < MIN_INNER_ROWS or aside.all():
            aside[:] = False
    return fit(learner, rows[~aside], rows[aside], progress, name), rows[aside]


def predict_out_of_fold(
    learner: Learner, rows: np.ndarray, progress: Progress, calibrated: bool, name: str
) -> OutOfFold:
    """Train once a fold and predict what it left out.

    Args:
        learner: rows, inputs and recipe.
        rows: indices of the rows, from at least two groups.
        progress: of all these trainings.
        calibrated: also fit each fold's calibration, on rows that it did not train on, and fill `scores`.
        name: what this is for, said before each message.

    Raises:
        SplitError: All rows are of one group, so none can be held out.
    """
    recipe = learner.recipe
    groups = [learner.items.fold_groups[row] for row in rows]
    fold_of = folds(groups, recipe.folds, f"folds-{recipe.seed}")
    result = OutOfFold(rows, fold_of, np.full(len(rows), np.nan), np.full(len(rows), np.nan))
    numbers = sorted(set(fold_of.tolist()))
    for done, number in enumerate(numbers):
        part = progress.part(done / len(numbers), (done + 1) / len(numbers))
        label = f"{name}fold {done + 1}/{len(numbers)}, "
        held_out = fold_of == number
        fitted, inner = fit_with_inner_val(learner, rows[~held_out], part.part(0.0, 0.5 if calibrated else 1.0), label)
        outputs = learner.predict(fitted.model, rows[held_out])
        result.outputs[held_out] = outputs
        result.best_epochs.append(fitted.best_epoch)
        if calibrated:
            # Fine-tuning once more a fold would cost folds x folds trainings, so there the rows aside must do.
            calibration = calibrate(
                learner, fitted, rows[~held_out], inner, part.part(0.5, 1.0), retrain=learner.is_frozen, name=label
            ).calibration
            result.scores[held_out] = learner.scores(outputs, calibration)
            for output, values in learner.named(outputs, calibration).items():
                result.named.setdefault(output, np.full(len(rows), np.nan))[held_out] = values
    return result


def calibrate(
    learner: Learner,
    fitted: Fit,
    rows: np.ndarray,
    val_rows: np.ndarray,
    progress: Progress,
    retrain: bool,
    name: str = "",
    known: OutOfFold | None = None,
) -> Calibrated:
    """Fit the calibration on rows that the model was not trained on, to the plain labels, unweighted.

    A calibrated score is what people can be expected to say, which is what evaluation and thresholds compare with. Means
    freed of biases are right for the head, which must not learn who rated what; but they may leave the stars' range, and
    what is good is decided by labels. Biases are centred over ratings, so that both have the same level.

    Args:
        learner: rows, inputs and recipe.
        fitted: the model to calibrate.
        rows: all rows of its training, those of `val_rows` included.
        val_rows: rows that only chose its epoch; where nothing is known out of fold, they serve when there are at least 30.
        progress: of the trainings this may need.
        retrain: where `val_rows` are too few, train once a fold on `rows` and use the out-of-fold outputs.
        name: what this is for, said before each message.
        known: what an evaluation by K-fold said of all `rows`, in their order, and of others, which are left out: no test
            row is a point of the curve, though the models of its folds learned from some.

    Returns:
        The calibration, with the rows it was fitted on; the identity where there are none.
    """
    head, method = learner.recipe.head, learner.recipe.calibration
    if known is not None:
        outputs, used, fitted_on = known.outputs[np.searchsorted(known.rows, rows)], rows, "oof"
    elif len(val_rows) >= MIN_CALIBRATION_ROWS:
        outputs, used, fitted_on = learner.predict(fitted.model, val_rows), val_rows, "val"
    elif retrain and len({learner.items.fold_groups[row] for row in rows}) >= 2:
        found = predict_out_of_fold(learner, rows, progress, calibrated=False, name=f"{name}calibration ")
        outputs, used, fitted_on = found.outputs, rows, "oof"
    else:
        return Calibrated(learner.identity(), np.zeros(0, dtype=np.int64), np.zeros(0))
    calibration = learner.kind.fit_calibration(outputs, learner.items.encoded[used].astype(np.float64), head, method)
    good = calibration.good
    calibration = replace(
        calibration, fitted_on=fitted_on, good=None if good is None else replace(good, fitted_on=fitted_on)
    )
    return Calibrated(calibration, used, outputs)


def write_out_of_fold(path: Path, items: Items, oof: OutOfFold) -> None:
    """One line a row, `oof.csv`: its fold, group, target, score, and the named outputs behind it, empty where unknown."""
    with path.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(("snapshot_id", "fold", "group_id", "target", "score", *oof.named))
        for place, (row, fold, score) in enumerate(zip(oof.rows, oof.folds, oof.scores, strict=True)):
            known = (int(items.snapshot_ids[row]), int(fold), items.group_ids[row], float(items.targets[row]))
            named = [float(values[place]) for values in oof.named.values()]
            writer.writerow((*known, float(score), *("" if math.isnan(value) else value for value in named)))
