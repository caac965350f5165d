"""Baselines out of fold. Which predictors need no model is said by the kind (`Judgement.baselines`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ml.judgements.base import Judgement
from ml.manifest import ManifestRow


def baseline_scores_out_of_fold(
    judgement: Judgement, rows: Sequence[ManifestRow], folds: np.ndarray, head: str
) -> dict[str, np.ndarray]:
    """Name -> scores (N,) where each fold's come from baselines fitted on the other folds, as the model's do.

    A baseline that one fold lacks (say, no webcam of it is known) falls back there to the kind's first one. A
    baseline that says the same of every row becomes one constant, its mean over folds: the other folds' mean is low
    where a fold is high, so left alone a constant would rank the rows, backwards, and look worse than chance.
    """
    parts = []
    for fold in np.unique(folds):
        inside = folds == fold
        others = [row for row, is_inside in zip(rows, inside, strict=True) if not is_inside]
        held_out = [row for row, is_inside in zip(rows, inside, strict=True) if is_inside]
        parts.append((inside, judgement.baselines(others, held_out, head)))
    on_everything = judgement.baselines(rows, rows, head)
    found: dict[str, np.ndarray] = {}
    for name in dict.fromkeys(name for _, part in parts for name in part):
        scores = np.empty(len(rows), dtype=np.float64)
        for inside, part in parts:
            scores[inside] = part.get(name, next(iter(part.values())))
        is_constant = name in on_everything and np.ptp(on_everything[name]) == 0.0
        found[name] = np.full(len(rows), scores.mean()) if is_constant else scores
    return found
